"""Several runs at once: reads what each scored, and puts runs that differ in nothing but the seed into one group.

A score is a success rate, a return, or in language the gold reward of completions that nothing has selected.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vgf.errors import UserError
from vgf.methods import knob_of, load_method, method_names, same_budget
from vgf.played import read_played
from vgf.report.episodes import read_evaluations
from vgf.report.facts import flatten, read_facts
from vgf.report.text_rows import read_text_rows, read_text_run
from vgf.rundir import read_auto_budget

__all__ = ["Group", "StoredPoint", "StoredRun", "group_runs", "read_run"]

# Keys that differ between runs of one experiment, or say nothing about what was done.
_PLACES = ("run_dir", "run", "init", "seed", "threads", "device", "compile", "tracker", "resume", "mode", "preset")
_SIDE_GROUPS = ("eval.", "data.folder", "data.mirrors", "data.processes", "text.cache", "sweep")
_FOLLOWS_METHOD = ("transport.", "budget.")


@dataclass(frozen=True)
class StoredPoint:
    """What one run scored with one method at one budget of its last checkpoint.

    Attributes:
        method, budget, knob: what moved; budget is a value of the knob, that of the call which played it.
        scores: of each episode (or prompt, over its seeds), [E].
        travelled: mean distance from the reference; NaN where it was not measured.
        configured: whether it is the budget that the method is configured to act with.
    """

    method: str
    budget: float
    knob: str
    scores: np.ndarray
    travelled: float
    configured: bool


@dataclass(frozen=True)
class StoredRun:
    """One run directory.

    Attributes:
        path: the directory.
        config: dotted keys and plain values.
        unit: what a score is: ``success``, ``return`` or ``gold``.
        points: method by method, budgets upwards.
    """

    path: Path
    config: Mapping[str, Any]
    unit: str
    points: Sequence[StoredPoint]

    @property
    def task(self) -> str:
        """The environment, else the task."""
        return str(self.config.get("env") or self.config.get("task"))


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed (with ``by_task`` also the environment), and what they are called."""

    name: str
    runs: Sequence[StoredRun]


def read_run(path: Path) -> StoredRun:
    """Read configuration and scores of a run directory.

    Raises:
        UserError: it is no run, was not evaluated, or a file is broken.
    """
    if not (path / "config.yaml").is_file():
        raise UserError(f"{path} is no run directory (it has no config.yaml)")
    config = flatten(read_facts(path).config)
    if (path / "text.json").is_file():
        return StoredRun(path, config, "gold", _text_points(path))
    rows = read_evaluations(path)
    rows = [row for row in rows if row.step == rows[-1].step]
    conditions = read_played(path)
    success = all(row.success is not None for row in rows)
    points = []
    for method, budget in dict.fromkeys((row.method, row.budget) for row in rows):
        mine = [row for row in rows if (row.method, row.budget) == (method, budget)]
        scores = [row.success if success else row.episode_return for row in mine]
        usual, own = _own_knob(method, config, path)
        how = conditions.get((rows[0].step, method, budget))
        knob = str(how.settings.get("transport.knob", usual)) if how else usual
        far, configured = _mean(row.travelled for row in mine), knob == usual and same_budget(budget, own)
        points.append(StoredPoint(method, budget, knob, np.array(scores, float), far, configured))
    return StoredRun(path, config, "success" if success else "return", points)


def _own_knob(method: str, config: Mapping[str, Any], path: Path) -> tuple[str, float]:
    """The knob of a method and its configured value: in the run's configuration, else in the method's own file.

    Of a run with ``budget=auto`` it is the value that was chosen.
    """
    if config.get("method") == method:
        knob = str(config.get("transport.knob", "size"))
        if config.get("budget.auto"):
            return knob, float(getattr(read_auto_budget(path, method), knob))
        if (value := config.get(f"budget.{knob}")) is not None:
            return knob, float(value)
    if method in method_names():
        own = load_method(method)
        return own.transport.knob, knob_of(own)
    return "budget", math.nan


def _text_points(path: Path) -> list[StoredPoint]:
    rows, run = read_text_rows(path), read_text_run(path)
    points = []
    for method, budget in dict.fromkeys((row.method, row.budget) for row in rows if row.step == rows[-1].step):
        mine = [row for row in rows if (row.step, row.method, row.budget) == (rows[-1].step, method, budget)]
        prompts = sorted({row.prompt for row in mine})
        scores = [_mean(row.values["gold"] for row in mine if row.prompt == prompt) for prompt in prompts]
        own = method == run.method and run.budget is not None and same_budget(budget, run.budget)
        known = np.array([score for score in scores if math.isfinite(score)])
        if len(known):
            far = _mean(row.values["travelled"] for row in mine)
            knob = run.knob if method == run.method else "budget"
            points.append(StoredPoint(method, budget, knob, known, far, own))
    if not points:
        raise UserError(f"{path / 'eval.csv'} holds no gold rewards; evaluate the run again: mode=eval run={path}")
    return points


def _mean(numbers: Iterable[float]) -> float:
    known = [number for number in numbers if math.isfinite(number)]
    return float(np.mean(known)) if known else math.nan


def group_runs(runs: Sequence[StoredRun], *, by_task: bool = False) -> list[Group]:
    """Group runs, in the order they were given; each group is named after the keys in which groups differ.

    Args:
        runs: all of one unit.
        by_task: whether runs of several environments (``env``) are one group.

    Raises:
        UserError: no runs, runs whose scores are not of one kind, or one training run with two different scores.
    """
    if not runs:
        raise UserError("there are no runs to put together")
    units = {run.unit: run.path for run in runs}
    if len(units) > 1:
        told = ", ".join(f"{unit} in {path}" for unit, path in units.items())
        raise UserError(f"runs with different scores cannot be put together: {told}")
    found: dict[tuple[tuple[str, str], ...], list[StoredRun]] = {}
    for run in runs:
        found.setdefault(_identity(run, by_task), []).append(run)
    found = {identity: _without_copies(members) for identity, members in found.items()}
    if len(found) == 1:
        (only,) = found.values()
        return [Group(only[0].path.name if len(only) == 1 else "all runs", only)]
    differing = {key for one in found for other in found for key, _ in set(one) ^ set(other)}
    groups = [Group(_name(identity, differing), members) for identity, members in found.items()]
    return [_renamed(group, groups) for group in groups]


def _without_copies(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Copies of one training run, each evaluated further, are one run with the points of all of them."""
    kept: dict[tuple[str, ...], StoredRun] = {}
    for run in runs:
        key = (run.task, *(str(run.config.get(name)) for name in ("seed", "init")))
        kept[key] = _joined(kept[key], run) if key in kept else run
    return list(kept.values())


def _joined(one: StoredRun, copy: StoredRun) -> StoredRun:
    known = {(point.method, point.budget): point for point in one.points}
    for point in copy.points:
        mine = known.setdefault((point.method, point.budget), point)
        if not np.array_equal(mine.scores, point.scores):
            raise UserError(
                f"{one.path} and {copy.path} are one training run (seed {one.config.get('seed')}) with different "
                f"scores of {point.method} at {point.budget:g}, and would count as two; leave one of them out"
            )
    return replace(one, points=list(known.values()))


def _identity(run: StoredRun, by_task: bool) -> tuple[tuple[str, str], ...]:
    left_out = {*_PLACES, *(("env",) if by_task else ())}
    return tuple(
        (key, f"{value:g}" if isinstance(value, float) else str(value))
        for key, value in sorted(run.config.items())
        if key not in left_out and not key.startswith(_SIDE_GROUPS)
    )


def _name(identity: Sequence[tuple[str, str]], differing: set[str]) -> str:
    """Such as ``method=vgf train.steps=500``; what a method's file sets is left to the method's name."""
    if "method" in differing:
        differing = {key for key in differing if not key.startswith(_FOLLOWS_METHOD)}
    return " ".join(f"{key}={value}" for key, value in identity if key in differing)


def _renamed(group: Group, groups: Sequence[Group]) -> Group:
    """Keys that only some versions of the toolkit know may leave no name, or a long one: the folder's is used then."""
    clash = sum(other.name == group.name for other in groups) > 1
    return Group(group.runs[0].path.name, group.runs) if clash or not 0 < len(group.name) <= 80 else group
