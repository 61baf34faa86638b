"""Scores a run: its method over a sweep of budgets, the baselines, then the report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from vgf.checkpoint import point_to_best
from vgf.config import Config, MethodConfig
from vgf.environments import EnvironmentPool
from vgf.errors import UserError
from vgf.evaluation import TimeSpent, evaluate
from vgf.films import film_episodes
from vgf.methods import ALL, budget_at, knob_of, load_method, method_names, named_point, with_knob
from vgf.played import Played, played_with
from vgf.policy import Policy, load
from vgf.probe import measure, particle_clouds, read_probe, trusted
from vgf.progress import progress_bar
from vgf.provenance import command_line
from vgf.report.clouds import write_clouds
from vgf.report.control_report import write_report
from vgf.report.measurements import add_measurements
from vgf.rundir import RunDirectory

__all__ = ["Point", "pick_budget", "play_points", "points_of", "score_run"]

Point = tuple[MethodConfig, float]  # a method, and a value of its knob


def score_run(
    config: Config, run: RunDirectory, make_environment: Callable[[], Any] | None, device: torch.device
) -> None:
    """Evaluate the run's newest checkpoint, add to ``eval.csv`` point by point, write and print the report.

    Args:
        config: names the method, the budgets, the episodes.
        run: where the checkpoint is and results go.
        make_environment: picklable factory of one environment; None: nothing is played, the report is what was
            measured on held-out states.
        device: where the policy runs.
    """
    policy = load(run.path, method=config, device=device)
    if config.budget.auto:
        config = pick_budget(config, policy, read_probe(run.path))
        run.note_auto_budget(config.method, config.budget)
    points = points_of(config, policy)
    if make_environment is None:
        _measure_points(run, policy, points)
    else:
        spent = play_points(config, run, policy, points, make_environment)
        if spent.total:
            print(f"time of the evaluation: {spent}")
        point_to_best(run.path, policy.step)
        film_episodes(config, run.path, policy, make_environment)
    states = read_probe(run.path)
    if states is not None and config.method != ALL:
        write_clouds(run.path, particle_clouds(policy, states, config, knob_of(config)))
    run.note("last evaluation", command_line())
    configured = None if config.method == ALL else (config.method, knob_of(config))
    title = config.env or config.task
    knob, played = config.transport.knob, make_environment is not None
    table = write_report(run.path, title=title, configured=configured, knob=knob, played=played)
    print(f"\n{table}\n\nreport: {run.path / 'report.html'}\ncurve:  {run.path / 'curve.png'}")


def play_points(
    config: Config, run: RunDirectory, policy: Policy, points: list[Point], make_environment: Callable[[], Any]
) -> TimeSpent:
    """Play and measure methods at budgets, and keep the results of each as soon as it is done.

    A training command that goes on leaves out points that it has played before; ``mode=eval`` plays all of them.
    Where the time went is returned, and kept in ``environment.txt``.
    """
    spent = TimeSpent()
    states = read_probe(run.path)
    waiting = points if config.mode == "eval" else _unplayed(config, run, policy, points)
    if kept := len(points) - len(waiting):
        print(
            f"{kept} of {len(points)} points were played before and are kept; mode=eval run={run.path} plays all anew"
        )
    if not waiting:
        return spent
    bar = progress_bar("evaluating", len(waiting) * config.eval.episodes, "episode")
    slots = min(config.eval.environments, config.eval.episodes)
    with bar, spent.on("total"), contextlib.ExitStack() as stack:
        with spent.on("environment"):
            pool = stack.enter_context(EnvironmentPool(make_environment, slots=slots, processes=config.eval.processes))
        for method, knob in waiting:
            bar.set_postfix_str(f"{method.method} at {knob:g}")
            episodes = evaluate(
                _decide(policy, method, knob),
                pool,
                noise_shape=policy.noise_shape(method),
                episodes=config.eval.episodes,
                seed=config.eval.seed,
                progress=bar.update,
                spent=spent,
            )
            if states is not None:
                add_measurements(run.path, [measure(policy, states, method, knob).measurement])
            run.add_evaluation(policy.step, method.method, knob, episodes, _played(config, method))
    run.note("evaluation time", str(spent))
    return spent


def _played(config: Config, method: MethodConfig) -> Played:
    return played_with(method, seed=config.eval.seed, episodes=config.eval.episodes)


def _unplayed(config: Config, run: RunDirectory, policy: Policy, points: list[Point]) -> list[Point]:
    return [
        (method, knob)
        for method, knob in points
        if not run.has_evaluation(policy.step, method.method, knob, _played(config, method))
    ]


def _measure_points(run: RunDirectory, policy: Policy, points: list[Point]) -> None:
    states = read_probe(run.path)
    if states is None:
        raise UserError(
            f"{run.path} has neither an environment nor probe.npz, held-out states that a push leaves behind; name one "
            "with env=..., or copy probe.npz from the run that was pushed"
        )
    with progress_bar("measuring", len(points), "budget") as bar:
        for method, knob in points:
            add_measurements(run.path, [measure(policy, states, method, knob).measurement])
            bar.update()


def pick_budget(config: Config, policy: Policy, states: np.ndarray | None) -> Config:
    """``budget=auto``: the configuration with its knob at the furthest value of the sweep that is :func:`trusted`.

    Raises:
        UserError: when the run has no judge.
    """
    if states is None:
        raise UserError(
            "budget=auto needs the run's probe.npz, which early versions did not write and a push leaves behind; "
            "name a budget, or evaluate the run where it was trained"
        )
    best = trusted([measure(policy, states, config, knob) for knob in sorted({0.0, *_sweep(config)})])
    print(f"budget=auto: {config.transport.knob} {best.budget:g}, up to which critic and judge gain as they promise")
    return replace(config, budget=with_knob(config, best.budget))


def points_of(config: Config, policy: Policy) -> list[Point]:
    """What to evaluate: the configured method over its budgets, then each baseline at its own.

    Raises:
        UserError: the policy lacks what one of them needs; of ``method=all``, those are left out instead.
    """
    if config.method == ALL:
        methods = [load_method(name) for name in method_names()]
        return [(method, knob) for method in _available(methods, policy) for knob in _sweep(method)]
    points: list[Point] = [(config, knob) for knob in sorted({*_sweep(config), knob_of(config)})]
    known = {(config.method, knob) for _, knob in points}
    baselines = [named_point(text, config) for text in config.eval.baselines if text != config.method]
    points += [(method, knob) for method, knob in baselines if (method.method, knob) not in known]
    for method, _ in points:
        policy.require(method)
    return points


def _sweep(method: MethodConfig) -> list[float]:
    given = method.eval.budgets if isinstance(method, Config) else None
    return sorted({float(budget) for budget in (method.sweep if given is None else given)})


def _available(methods: list[MethodConfig], policy: Policy) -> list[MethodConfig]:
    """Those whose networks the run has; the others are named with the reason."""
    able = []
    for method in methods:
        try:
            policy.require(method)
        except UserError as reason:
            print(f"left out: {reason}")
        else:
            able.append(method)
    return able


def _decide(policy: Policy, method: MethodConfig, knob: float) -> Callable[..., Any]:
    budget = budget_at(method, knob)
    return lambda observations, noise: policy.decide(observations, noise, budget, method)
