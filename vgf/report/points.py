"""From episodes to points: one score, with its interval, a method, budget and training step.

Terminal table, figure and page are all drawn from points, and name and round them with the functions
at the end of this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vgf.errors import UserError
from vgf.methods import load_method, method_names, same_budget, stays_put
from vgf.played import Key, Played
from vgf.report.episodes import Row
from vgf.report.measurements import Measurement
from vgf.scale import ScoreScale
from vgf.stats import bootstrap_interval, iqm, success_interval

__all__ = [
    "Configured", "Point", "best_of_sweep", "budget_label", "column_text", "counts_text", "episodes_text", "find",
    "interval_text", "is_configured", "known", "latest", "number_text", "remark", "score_text", "summarise", "unplayed",
    "unswept", "with_knobs", "with_measurements", "with_scale",
]  # fmt: skip

Configured = tuple[str, float] | None  # method and budget that the run is configured to act with


@dataclass(frozen=True)
class Point:
    """All episodes of one method, budget and training step. Intervals are 95 %.

    Attributes:
        score: success rate in [0, 1], or mean return when the environment knows no success.
        low, high: interval of the score: Wilson for success, bootstrap over episodes for returns.
        iqm: interquartile mean of the returns.
        travelled_low, travelled_high: bootstrap interval of travelled.
        success: whether the score is a success rate.
        knob: the budget field that ``budget`` is a value of: ``size``, ``steps``, or ``budget`` when unknown.
        value_gain, judge_gain: on held-out states, value of the chosen action less that at budget 0, under the
            critic that moves and under the judge.
        w_inf_bound, mmd, w2: on held-out states, distances between moved and unmoved particles.
        normalised: the mean return on the run's scale (:mod:`vgf.scale`).
        milliseconds: of a decision, median over the episodes: one during which the machine was busy tells nothing.
        Others: means over the episodes of the :class:`vgf.report.episodes.Row` fields; NaN where nothing was measured.
    """

    method: str
    budget: float
    step: int
    episodes: int
    score: float
    low: float
    high: float
    iqm: float
    return_mean: float
    travelled: float
    travelled_low: float
    travelled_high: float
    value: float
    milliseconds: float
    length: float
    success: bool
    knob: str
    value_gain: float = math.nan
    judge_gain: float = math.nan
    w_inf_bound: float = math.nan
    mmd: float = math.nan
    w2: float = math.nan
    normalised: float = math.nan

    @property
    def key(self) -> Key:
        """Step, method and budget."""
        return self.step, self.method, self.budget


def unplayed(measurements: Iterable[Measurement], *, knobs: Mapping[str, str] | None = None) -> list[Point]:
    """Points of a run without an environment: measured, never played, so their scores are NaN."""
    ordered = sorted(measurements, key=lambda m: (m.step, m.method, m.budget))
    if not ordered:
        raise UserError("nothing has been measured yet; evaluate the run first")
    none = math.nan
    points = [
        Point(
            method=m.method, budget=m.budget, step=m.step, episodes=0, score=none, low=none, high=none, iqm=none,
            return_mean=none, travelled=m.travelled, travelled_low=m.travelled, travelled_high=m.travelled,
            value=m.value, milliseconds=none, length=none, success=False,
            knob=(knobs or {}).get(m.method) or _usual_knob(m.method),
        )
        for m in ordered
    ]  # fmt: skip
    return with_measurements(points, ordered)


def with_measurements(points: Iterable[Point], measurements: Iterable[Measurement]) -> list[Point]:
    """Points with what was measured offline at the same step, method and budget, where anything was."""
    known = {(m.step, m.method, m.budget): m for m in measurements}
    joined = []
    for point in points:
        here = known.get(point.key)
        start = known.get((point.step, point.method, 0.0))
        if here is None:
            joined.append(point)
            continue
        point = replace(point, w_inf_bound=here.w_inf_bound, mmd=here.mmd, w2=here.w2)
        if start is not None:
            point = replace(point, value_gain=here.value - start.value, judge_gain=here.judge - start.judge)
        joined.append(point)
    return joined


def with_knobs(points: Iterable[Point], conditions: Mapping[Key, Played]) -> list[Point]:
    """Points with the knob that each was played with, where that was kept: calls may turn different ones."""
    return [
        replace(point, knob=str(how.settings.get("transport.knob", point.knob)))
        if (how := conditions.get(point.key))
        else point
        for point in points
    ]


def with_scale(points: Iterable[Point], scale: ScoreScale | None) -> list[Point]:
    """Points with their mean returns on the run's scale, where it has one."""
    return [point if scale is None else replace(point, normalised=scale.score(point.return_mean)) for point in points]


def summarise(rows: Iterable[Row], *, knobs: Mapping[str, str] | None = None) -> list[Point]:
    """One point a (step, method, budget), in this order.

    The score is the success rate when every row has a success, else the return, for all points alike.

    Args:
        rows: episodes, each at most once.
        knobs: method name -> knob, where a run turns another knob than its method's file says.

    Raises:
        UserError: when there are no rows.
    """
    groups: dict[tuple[int, str, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.step, row.method, row.budget), []).append(row)
    if not groups:
        raise UserError("there are no episodes to summarise; evaluate the run first")
    success = all(row.success is not None for group in groups.values() for row in group)
    known = {method: _usual_knob(method) for _, method, _ in groups} | dict(knobs or {})
    return [_point(groups[key], success, known[key[1]]) for key in sorted(groups)]


def _usual_knob(method: str) -> str:
    return load_method(method).transport.knob if method in method_names() else "budget"


def _point(rows: Sequence[Row], success: bool, knob: str) -> Point:
    returns = [row.episode_return for row in rows]
    scores = [row.success or 0.0 for row in rows] if success else returns
    low, high = success_interval(scores) if success else bootstrap_interval(scores)
    travelled = [row.travelled for row in rows if math.isfinite(row.travelled)]
    travelled_low, travelled_high = bootstrap_interval(travelled) if travelled else (math.nan, math.nan)
    return Point(
        method=rows[0].method,
        budget=rows[0].budget,
        step=rows[0].step,
        episodes=len(rows),
        score=float(np.mean(scores)),
        low=low,
        high=high,
        iqm=float(iqm(returns)),
        return_mean=float(np.mean(returns)),
        travelled=_known(np.mean, travelled),
        travelled_low=travelled_low,
        travelled_high=travelled_high,
        value=_known(np.mean, (row.value for row in rows)),
        milliseconds=_known(np.median, (row.milliseconds for row in rows)),
        length=_known(np.mean, (row.length for row in rows)),
        success=success,
        knob=knob,
    )


def _known(summary: Callable[[list[float]], Any], numbers: Iterable[float]) -> float:
    """A summary of the numbers that are finite; NaN where none is."""
    finite = [number for number in numbers if math.isfinite(number)]
    return float(summary(finite)) if finite else math.nan


def latest(points: Sequence[Point]) -> list[Point]:
    """The points of the last training step, in a sweep's order: method by method, budgets upwards."""
    last = max(point.step for point in points)
    return [point for point in points if point.step == last]


def unswept(points: Sequence[Point]) -> list[str]:
    """Names of the methods without a budget above 0, such as best_of_n."""
    moved = {point.method for point in points if point.budget > 0}
    return sorted({point.method for point in points} - moved)


def budget_label(point: Point) -> str:
    """Such as ``size 0.03`` or ``steps 2``; ``-`` for a method that has no budget to turn."""
    return "-" if stays_put(point.method) else f"{point.knob} {point.budget:g}"


def remark(point: Point, best: Point | None, configured: Configured) -> str:
    """What a table says beside a point."""
    if is_configured(point, configured):
        return "configured"
    if point == best:
        return "best of sweep (picked after the fact)"
    return "reference" if point.budget == 0 and not stays_put(point.method) else ""


def episodes_text(points: Sequence[Point]) -> str:
    """``50``, or ``3 to 50`` when points differ."""
    return counts_text(point.episodes for point in points)


def counts_text(counts: Iterable[int]) -> str:
    """``50``, or ``3 to 50`` when they differ."""
    known = set(counts)
    low, high = min(known), max(known)
    return f"{low}" if low == high else f"{low} to {high}"


def column_text(points: Sequence[Point], field: str) -> Callable[[Point], str]:
    """How to write one field of these points: as many decimals as show four digits of the largest."""
    numbers = [abs(getattr(point, field)) for point in points if math.isfinite(getattr(point, field))]
    largest = max(numbers, default=0.0)
    decimals = min(max(3 - math.floor(math.log10(largest)), 0), 4) if largest else 0

    def text(point: Point) -> str:
        number = getattr(point, field)
        return f"{number:,.{decimals}f}" if math.isfinite(number) else "-"

    return text


def known(points: Iterable[Point], field: str) -> bool:
    """Whether a field was measured for any of the points."""
    return any(math.isfinite(getattr(point, field)) for point in points)


def is_configured(point: Point, configured: Configured) -> bool:
    """Whether a point is the one the run is configured to act with."""
    return configured is not None and point.method == configured[0] and same_budget(point.budget, configured[1])


def find(points: Iterable[Point], configured: Configured) -> Point | None:
    """The point of this method and budget, None when it was not evaluated."""
    return next((point for point in points if is_configured(point, configured)), None)


def best_of_sweep(points: Sequence[Point], configured: Configured) -> Point | None:
    """The best point of the configured method's sweep, when that is not the configured one.

    Without a configured method the sweep is every method that has one. Of equal points the smallest
    budget counts. None when a sweep of several budgets has nothing better than the configured point.
    """
    methods = {configured[0]} if configured else {point.method for point in points} - set(unswept(points))
    sweep = [point for point in points if point.method in methods]
    if len(sweep) < 2 or not known(sweep, "score"):
        return None
    best = max(sweep, key=lambda point: (point.score, -point.budget))
    chosen = find(sweep, configured)
    return best if chosen is None or best.score > chosen.score else None


def number_text(number: float) -> str:
    """Three significant digits, without an exponent where that stays readable; ``-`` for NaN."""
    if not math.isfinite(number):
        return "-"
    if number != 0 and not 1e-4 <= abs(number) < 1e7:
        return f"{number:.1e}"
    decimals = 2 - math.floor(math.log10(abs(number))) if number else 0
    return f"{number:,.{min(max(decimals, 0), 6)}f}"


def score_text(point: Point) -> str:
    """``76 %`` for success, ``-12.3`` for returns."""
    return f"{_amount(point, point.score)} %" if point.success else number_text(point.score)


def interval_text(point: Point) -> str:
    """``[63, 86]``, in the unit of :func:`score_text`."""
    return f"[{_amount(point, point.low)}, {_amount(point, point.high)}]"


def _amount(point: Point, amount: float) -> str:
    if not point.success:
        return number_text(amount)
    return f"{100 * amount:.{0 if point.episodes <= 200 else 1}f}"  # digits that the episodes can tell
