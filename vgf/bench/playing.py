"""Evaluation: environments stepped in parallel processes with batched policy calls, against one after the other.

The episodes are those of ``vgf.evaluation``, on OGBench's cube-single, with the default networks and method=qgf. The
share of time is the main process's: in the policy, waiting for environments, and in everything else (noise, rows).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from vgf import evaluation
from vgf.bench.item import Item, Row
from vgf.bench.problems import Case, trainer
from vgf.bench.timing import Side, Speed, Steps, race
from vgf.config import Config
from vgf.cores import cores
from vgf.environments import EnvironmentPool, Outcome
from vgf.methods import load_method
from vgf.policy import Policy
from vgf.tasks.ogbench import environment_factory

__all__ = ["evaluate"]

_EPISODES = 4
_PARALLEL, _SERIAL = "ours, {} slots over {} processes", "one environment after the other"


def evaluate(speed: Speed) -> Item:
    """Environment steps a second, and where the time goes."""
    processes = min(2, len(cores()))
    ours = _PARALLEL.format(_EPISODES, processes)
    run = race(
        [Side(_playing, (ours, _EPISODES, processes)), Side(_playing, (_SERIAL, 1, 1))],
        Speed(max(2, speed.turns // 3), 0.0, warm_up=0),  # a call plays whole episodes
        threads=processes,
    )
    rates = {name: times.reports[0]["steps"] / times.seconds for name, times in run.times.items()}
    faster = run.times[ours].times_faster(run.times[_SERIAL])
    rows = [
        Row(
            "cube-single, qgf",
            name,
            rates[name],
            times.spread,
            faster if name == ours else None,
            peak_mb=run.peak_mb[name],
            note=", ".join(f"{share:.0%} {part}" for part, share in _shares(times.reports).items()),
        )
        for name, times in run.times.items()
    ]
    shares = {name: _shares(times.reports) for name, times in run.times.items()}
    return Item("environment steps/s", "higher", rates[ours], rates[_SERIAL], faster, ours, _SERIAL, rows, shares)


def _shares(reports: list[dict[str, float]]) -> dict[str, float]:
    seconds = {part: statistics.median(report[part] for report in reports) for part in _PARTS}
    return {part: spent / sum(seconds.values()) for part, spent in seconds.items()}


_PARTS = ("environment", "policy", "data")


class _TimedPool(EnvironmentPool):
    """A pool that adds up the time the main process waits for it."""

    waited = 0.0

    def reset(self, episodes: Mapping[int, tuple[int, int]]) -> dict[int, np.ndarray]:
        began = time.perf_counter()
        answer = super().reset(episodes)
        self.waited += time.perf_counter() - began
        return answer

    def play(self, chunks: Mapping[int, np.ndarray]) -> dict[int, Outcome]:
        began = time.perf_counter()
        answer = super().play(chunks)
        self.waited += time.perf_counter() - began
        return answer


def _playing(name: str, slots: int, processes: int) -> Steps:
    import torch

    torch.set_num_threads(1)  # as a run does while it evaluates: the other cores step environments
    pool = _TimedPool(environment_factory(Config()), slots=slots, processes=processes)
    networks = trainer(Case("qgf"), rows=2000).networks
    method = load_method("qgf")
    policy = Policy(networks, method, flow_steps=10)

    def step() -> dict[str, Any]:
        spent, pool.waited = [0.0], 0.0

        def decide(obs: np.ndarray, noise: np.ndarray) -> evaluation.Decision:
            began = time.perf_counter()
            decision = policy.decide(obs, noise, None, method)
            spent[0] += time.perf_counter() - began
            return decision

        began = time.perf_counter()
        noise_shape = policy.noise_shape(method)
        records = evaluation.evaluate(decide, pool, noise_shape=noise_shape, episodes=_EPISODES, seed=0)
        total = time.perf_counter() - began
        return {
            "steps": sum(record.length for record in records),
            "environment": pool.waited,
            "policy": spent[0],
            "data": total - pool.waited - spent[0],
        }

    return {name: step}
