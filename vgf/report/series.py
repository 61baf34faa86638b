"""The curves of ``vgf compare``: one for every method of every kind of run, and every knob that it was swept over.

Runs that differ in nothing but the seed are one curve; its intervals come from all their episodes (Wilson for success,
bootstrap stratified by run for returns and rewards).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vgf.errors import UserError
from vgf.report.several import Group, StoredPoint
from vgf.stats import bootstrap_interval, success_interval

__all__ = ["Mark", "Series", "make_series"]

_MOST = 12  # curves that can be told apart when they look as they come
_MOST_METHODS = 17  # methods have a look of their own


@dataclass(frozen=True)
class Mark:
    """One budget of a series: the mean score with its 95 % interval, and how far particles travelled."""

    budget: float
    travelled: float
    score: float
    low: float
    high: float
    count: int
    configured: bool


@dataclass(frozen=True)
class Series:
    """One method of one group of runs; flat: it has no budget to turn."""

    name: str
    method: str
    knob: str
    unit: str
    marks: Sequence[Mark]

    @property
    def flat(self) -> bool:
        """Whether only budget 0 was evaluated."""
        return all(mark.budget == 0 for mark in self.marks)


def make_series(groups: Sequence[Group], only: Sequence[str] = ()) -> list[Series]:
    """One series for every group, method and knob, those with a budget to turn first.

    Args:
        groups: of runs.
        only: methods to show; none: all.

    Raises:
        UserError: more than can be told apart, or a method that no run was evaluated with.
    """
    methods = dict.fromkeys(point.method for group in groups for run in group.runs for point in run.points)
    if unknown := [name for name in only if name not in methods]:
        raise UserError(f"--methods: no run was evaluated with {unknown[0]!r}; use {', '.join(methods)}")
    found = [
        one
        for group in groups
        for method in dict.fromkeys(only or methods)
        for one in _series(group, method, len(groups))
    ]
    if len(found) > (_MOST_METHODS if len({one.method for one in found}) == len(found) else _MOST):
        raise UserError(
            f"{len(found)} curves cannot be told apart (kinds of run: {len(groups)}, methods: {len(only or methods)}); "
            f"choose methods, such as --methods {','.join([*methods][:2])}, or compare fewer runs, or use vgf collect"
        )
    return sorted(found, key=lambda one: one.flat)


def _series(group: Group, method: str, groups: int) -> Iterator[Series]:
    """A method of a group, by each knob; none where the group was not evaluated with it."""
    points = [point for run in group.runs for point in run.points if point.method == method]
    knobs, unit = dict.fromkeys(point.knob for point in points), group.runs[0].unit
    for knob in knobs:
        mine = [point for point in points if point.knob == knob]
        budgets = sorted({point.budget for point in mine})
        marks = [_mark([point for point in mine if point.budget == budget], unit) for budget in budgets]
        name = method if groups == 1 or group.name == f"method={method}" else f"{group.name}: {method}"
        yield Series(f"{name}, {knob}" if len(knobs) > 1 else name, method, knob, unit, marks)


def _mark(points: Sequence[StoredPoint], unit: str) -> Mark:
    scores = [point.scores for point in points]
    low, high = success_interval(scores) if unit == "success" else bootstrap_interval(scores)
    pooled = np.concatenate(scores)
    far = [point.travelled for point in points if math.isfinite(point.travelled)]
    return Mark(
        budget=points[0].budget,
        travelled=float(np.mean(far)) if far else math.nan,
        score=float(pooled.mean()),
        low=low,
        high=high,
        count=len(pooled),
        configured=all(point.configured for point in points),
    )
