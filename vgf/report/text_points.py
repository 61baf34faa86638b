"""From rows of a language run to points: means a method and budget, and paired differences between them.

Prompts are the sampling unit. Seeds are averaged within a prompt first, so the intervals tell how far other
prompts could move a number; a difference is taken prompt by prompt and seed by seed, over those that both
methods have. Methods share prompts and noise (common random numbers), which is what makes pairs narrow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vgf.errors import UserError
from vgf.methods import same_budget
from vgf.report.text_estimates import (
    BASELINES,
    UNKNOWN,
    Estimate,
    Key,
    TextPoint,
    Versus,
    budget_text,
    candidates_of,
    reference_point,
)
from vgf.report.text_rows import FIELDS, TextRow, TextRun
from vgf.stats import mean_interval, wilson_interval

__all__ = ["summarise_text"]

_KNOBS = {"temperature": "temperature", "best_of_n": "n", "tilt": "strength"}
_ALL = ("gold", "proxy", "second")
_SELECTED = ("gold_selected", "second_selected")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Table:
    """Values of every method and budget on the same grid.

    Attributes:
        values: (method, budget) -> [prompts and seeds, fields], NaN where nothing is known.
        prompt: [prompts and seeds], the prompt's place among all prompts.
    """

    values: dict[Key, Array]
    prompt: NDArray[np.intp]

    def column(self, key: Key, field: str) -> Array:
        return self.values[key][:, FIELDS.index(field)]

    def over(self, column: Array) -> Estimate:
        """Mean over prompts of the means over their seeds."""
        known = np.isfinite(column)
        counts = np.bincount(self.prompt[known])
        sums = np.bincount(self.prompt[known], weights=column[known])
        means = sums[counts > 0] / counts[counts > 0]
        if len(means) == 0:
            return UNKNOWN
        low, high = mean_interval(means) if len(means) > 1 else (math.nan, math.nan)
        return Estimate(float(means.mean()), low, high, len(means))

    def difference(self, key: Key, other: Key, field: str) -> Estimate:
        return self.over(self.column(key, field) - self.column(other, field))

    def shared_gold(self, key: Key) -> Estimate:
        """Gold where every budget of the method has it; a budget that has none at all does not count."""
        known = [np.isfinite(self.column(other, "gold")) for other in self.values if other[0] == key[0]]
        common = np.all([there for there in known if there.any()], axis=0)
        return self.over(np.where(common, self.column(key, "gold"), np.nan))

    def wins(self, key: Key, other: Key) -> Estimate:
        ahead = self.column(key, "gold") - self.column(other, "gold")
        known = np.isfinite(ahead)
        if not known.any():
            return UNKNOWN
        rate = float(np.heaviside(ahead[known], 0.5).mean())
        prompts = len(np.unique(self.prompt[known]))
        return Estimate(rate, *wilson_interval(rate, prompts), prompts)


def summarise_text(rows: Iterable[TextRow], run: TextRun | None = None) -> list[TextPoint]:
    """Points of the last training step: method by method, the reference first and baselines last, budgets upwards.

    Args:
        rows: each prompt, seed, method and budget at most once a step.
        run: tells which point is the configured one.

    Raises:
        UserError: when there are no rows.
    """
    rows, run = list(rows), run or TextRun()
    if not rows:
        raise UserError("there is nothing to summarise; evaluate the run first")
    step = max(row.step for row in rows)
    table = _table([row for row in rows if row.step == step])
    points = [_point(table, key, step, run) for key in sorted(table.values, key=_order)]
    start = reference_point(points)
    if start is None:
        return [_with_versus(table, point, points) for point in points]
    points = [
        replace(
            point,
            gains={field: table.difference(point.key, start.key, field) for field in FIELDS},
            wins=table.wins(point.key, start.key),
        )
        for point in points
    ]
    return [point if point.key == start.key else _with_versus(table, point, points) for point in points]


def _table(rows: Sequence[TextRow]) -> _Table:
    places = {pair: i for i, pair in enumerate(sorted({(row.prompt, row.seed) for row in rows}))}
    prompts = sorted({prompt for prompt, _ in places})
    keys = {(row.method, row.budget) for row in rows}
    values = {key: np.full((len(places), len(FIELDS)), np.nan) for key in keys}
    for row in rows:
        values[row.method, row.budget][places[row.prompt, row.seed]] = [
            row.values.get(name, math.nan) for name in FIELDS
        ]
    return _Table(values, np.searchsorted(prompts, [prompt for prompt, _ in places]))


def _order(key: Key) -> tuple[int, str, float]:
    method, budget = key
    place = {"reference": 0}.get(method, 2 + BASELINES.index(method) if method in BASELINES else 1)
    return place, method, budget


def _point(table: _Table, key: Key, step: int, run: TextRun) -> TextPoint:
    method, budget = key
    grid = table.values[key]
    present = np.isfinite(grid)
    follows = (run.method, "random", "length")  # whose budget is the configured method's
    configured = run.budget is not None and method == run.method and same_budget(budget, run.budget)
    spreads = [
        column[mask].std(ddof=1) if mask.sum() > 1 else math.nan for column, mask in zip(grid.T, present.T, strict=True)
    ]
    return TextPoint(
        method=method, budget=budget, step=step, knob=run.knob if method in follows else _KNOBS.get(method, "budget"),
        rows=int(present.any(axis=1).sum()), configured=configured, picked=run.picked if configured else "",
        means={field: table.over(table.column(key, field)) for field in FIELDS},
        shared_gold=table.shared_gold(key),
        spreads=dict(zip(FIELDS, map(float, spreads), strict=True)), gains={}, wins=UNKNOWN,
    )  # fmt: skip


def _with_versus(table: _Table, point: TextPoint, points: Sequence[TextPoint]) -> TextPoint:
    """The point with its differences from every baseline that was evaluated."""
    named: list[tuple[str, TextPoint, str]] = []
    for role, (choose, describe) in _CONTROLS.items():
        rows = [other for other in points if other.method == role != point.method]
        if rows:
            other = choose(point, rows)
            named.append((role, other, describe(point, other, len(rows))))
    drawn = [other for other in points if other.method == "best_of_n" != point.method]
    equal = [other for other in drawn if math.isclose(candidates_of(other), candidates_of(point))]
    named += [("same candidates", other, f"best of {candidates_of(other):.0f}") for other in equal[:1]]
    timed = [other for other in drawn if math.isfinite(_delay(point, other))]
    if timed:
        other = min(timed, key=lambda other: _delay(point, other))
        named.append(("equal time", other, f"best of {candidates_of(other):.0f}"))
    versus = tuple(_versus(table, point, *chosen) for chosen in named)
    return replace(point, versus=versus)


def _versus(table: _Table, point: TextPoint, role: str, other: TextPoint, label: str) -> Versus:
    fields = _SELECTED if other.method == "best_of_n" else _ALL
    differences = {field: table.difference(point.key, other.key, field) for field in fields}
    own = point.means["seconds"].mean
    return Versus(role, other.key, label, differences, other.means["seconds"].mean / own if own > 0 else math.nan)


def _nearest(point: TextPoint, rows: Sequence[TextPoint]) -> TextPoint:
    return min(rows, key=lambda other: abs(other.budget - point.budget))


def _toughest(point: TextPoint, rows: Sequence[TextPoint]) -> TextPoint:
    """The baseline's best budget by gold, although that is known only afterwards: to its advantage, not ours."""
    known = [other for other in rows if math.isfinite(other.shared_gold.mean)]
    return max(known or rows, key=lambda other: other.shared_gold.mean)


def _size(point: TextPoint, other: TextPoint) -> str:
    return "of the same size" if same_budget(point.budget, other.budget) else f"of {budget_text(other)}"


_CONTROLS = {
    "random": (_nearest, lambda point, other, count: f"a random direction {_size(point, other)}"),
    "length": (_nearest, lambda point, other, count: f"guidance by length alone {_size(point, other)}"),
    "temperature": (
        _toughest,
        lambda point, other, count: f"sampling at {budget_text(other)}{', its best' if count > 1 else ''}",
    ),
    "tilt": (
        _toughest,
        lambda point, other, count: f"the gradient-free tilt, {budget_text(other)}{', its best' if count > 1 else ''}",
    ),
}  # role and method -> which of its budgets is compared, and in which words


def _delay(point: TextPoint, other: TextPoint) -> float:
    """How far two wall times are apart, as the logarithm of their ratio."""
    mine, theirs = point.means["seconds"].mean, other.means["seconds"].mean
    return abs(math.log(theirs / mine)) if mine > 0 and theirs > 0 else math.nan
