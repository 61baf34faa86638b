"""Scores a run: its method over a sweep of budgets, the baselines, then the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from vgf.config import Config, MethodConfig
from vgf.environments import EnvironmentPool
from vgf.evaluation import evaluate
from vgf.methods import budget_at, knob_of, load_method
from vgf.policy import Policy, load
from vgf.progress import progress_bar
from vgf.report import write_report
from vgf.rundir import RunDirectory

__all__ = ["score_run"]


def score_run(config: Config, run: RunDirectory, make_environment: Callable[[], Any], device: torch.device) -> None:
    """Evaluate the run's newest checkpoint, add to ``eval.csv`` point by point, write and print the report.

    Args:
        config: names the method, the budgets, the episodes.
        run: where the checkpoint is and results go.
        make_environment: picklable factory of one environment.
        device: where the policy runs.
    """
    policy = load(run.path, device=device)
    points = _points(config)
    bar = progress_bar("evaluating", len(points) * config.eval.episodes, "episode")
    slots = min(config.eval.environments, config.eval.episodes)
    with bar, EnvironmentPool(make_environment, slots=slots, processes=config.eval.processes) as pool:
        for method, knob in points:
            bar.set_postfix_str(f"{method.method} at {knob:g}")
            episodes = evaluate(
                _decide(policy, method, knob),
                pool,
                noise_shape=policy.noise_shape(method),
                episodes=config.eval.episodes,
                seed=config.eval.seed,
                progress=bar.update,
            )
            run.add_evaluation(policy.step, method.method, knob, episodes)
    table = write_report(run.path, title=config.env, configured=(config.method, knob_of(config)))
    print(f"\n{table}\n\nreport: {run.path / 'report.html'}\ncurve:  {run.path / 'curve.png'}")


def _points(config: Config) -> list[tuple[MethodConfig, float]]:
    """What to evaluate: the configured method over its budgets, then each baseline at its own."""
    budgets = config.eval.budgets if config.eval.budgets is not None else config.sweep
    knobs = sorted({float(b) for b in budgets} | {knob_of(config)})
    points: list[tuple[MethodConfig, float]] = [(config, knob) for knob in knobs]
    baselines = [load_method(name) for name in config.eval.baselines if name != config.method]
    return points + [(method, knob_of(method)) for method in baselines]


def _decide(policy: Policy, method: MethodConfig, knob: float) -> Callable[..., Any]:
    budget = budget_at(method, knob)
    return lambda observations, noise: policy.decide(observations, noise, budget, method)
