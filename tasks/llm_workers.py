"""Evaluates a language run on every core (:mod:`vgf.language.processes`).

The rows are the same whatever the number of processes, because a particle's noise does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from vgf.config import Config
from vgf.language.evaluation import evaluate
from vgf.language.loading import load_heads, text_policy
from vgf.language.policy import Values
from vgf.language.problem import TextProblem
from vgf.language.processes import share_out
from vgf.rundir import RunDirectory
from vgf.tasks.llm_adapters import adapter_points
from vgf.tasks.llm_points import points_of

__all__ = ["evaluate_run", "jobs_of"]

Found = tuple[list[dict[str, Any]], list[dict[str, Any]]]  # rows of eval.csv and of samples.json
Prepare = Callable[[Config, torch.device], TextProblem]


def jobs_of(config: Config, problem: TextProblem) -> int:
    """How many (seed, batch of prompts) there are; the first seed's, which take longest, come first."""
    return -(-len(problem.held_out) // config.text.batch) * config.text.seeds


def evaluate_run(
    config: Config, problem: TextProblem, run: RunDirectory, device: torch.device, prepare: Prepare, processes: int
) -> Iterator[Found]:
    """Evaluate method, controls and adapter on the held-out prompts, one (seed, batch of prompts) at a time.

    Args:
        prepare: makes the problem anew in a process; a function at the top of a module.
        processes: see :func:`vgf.language.processes.useful_processes`.

    Raises:
        UserError: what keeps a process from its work.
    """
    if processes == 1:
        return _evaluated(config, problem, run.path, device, range(jobs_of(config, problem)))
    return share_out("the evaluation", _share, (config, run.path, prepare), jobs_of(config, problem), processes)


def _share(config: Config, run_dir: Path, prepare: Prepare, places: Iterable[int]) -> Iterator[Found]:
    """What one process does: the jobs that it is given, on a problem of its own."""
    device = torch.device("cpu")
    return _evaluated(config, prepare(config, device), run_dir, device, places)


def _evaluated(
    config: Config, problem: TextProblem, run_dir: Path, device: torch.device, places: Iterable[int]
) -> Iterator[Found]:
    heads, run = load_heads(run_dir, device), RunDirectory(run_dir)
    policy = text_policy(config, problem.reference, Values(problem.reward, heads.get("heads"), heads.get("tokens")))
    return evaluate(
        policy,
        problem.held_out,
        points_of(config, heads) + adapter_points(config, problem, run, device),
        problem.judges,
        seeds=[config.eval.seed + k for k in range(config.text.seeds)],
        particles=config.transport.particles,
        chosen=problem.chosen,
        places=places,
    )
