"""Points of a language run: what they hold, which of them a report is about, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vgf.report.points import counts_text

__all__ = [
    "BASELINES", "UNKNOWN", "Estimate", "Key", "TextPoint", "Versus", "budget_text", "candidates_of", "chosen_point",
    "estimate_text", "has", "is_baseline", "prompts_of", "prompts_text", "reference_point", "remark", "sweep_best",
    "sweep_of",
]  # fmt: skip

BASELINES = ("reference", "random", "temperature", "tilt", "length", "best_of_n")

Key = tuple[str, float]  # method and budget


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts with its 95 % interval; the interval is NaN with a single prompt, all is NaN with none."""

    mean: float
    low: float
    high: float
    prompts: int


UNKNOWN = Estimate(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class Versus:
    """A point less another one, on the prompts and seeds of both.

    Attributes:
        role: why it is compared: ``random``, ``temperature``, ``tilt``, ``length``, ``same candidates`` or
            ``equal time``.
        other: method and budget of the other point.
        label: the other point in words.
        differences: field -> paired difference.
        seconds_ratio: the other's seconds a prompt over the point's; NaN when unknown.
    """

    role: str
    other: Key
    label: str
    differences: Mapping[str, Estimate]
    seconds_ratio: float


@dataclass(frozen=True)
class TextPoint:
    """All prompts and seeds of one method and budget, at the last training step.

    Attributes:
        method, budget, step: what was evaluated; ``knob`` is what the budget counts.
        rows: how many prompts and seeds.
        configured: whether the run is configured to move like this, and ``picked`` how that was settled.
        means: field of :data:`vgf.report.text_rows.FIELDS` -> mean over prompts.
        shared_gold: mean gold over the prompts and seeds that all budgets of its method have; only such means of one
            method can be compared, as a sweep may have fewer prompts than the configured budget.
        spreads: field -> standard deviation over prompts and seeds; NaN below two.
        gains: field -> paired difference from the reference.
        wins: share of prompts and seeds where gold is higher than the reference's, ties half; Wilson interval with
            the number of prompts as its trials, as seeds of one prompt are not independent.
        versus: paired differences from baselines; empty for the reference.
    """

    method: str
    budget: float
    step: int
    knob: str
    rows: int
    configured: bool
    picked: str
    means: Mapping[str, Estimate]
    shared_gold: Estimate
    spreads: Mapping[str, float]
    gains: Mapping[str, Estimate]
    wins: Estimate
    versus: tuple[Versus, ...] = ()

    @property
    def key(self) -> Key:
        """Method and budget."""
        return self.method, self.budget


def is_baseline(point: TextPoint) -> bool:
    """Whether a point is there to be compared with, and not a value-gradient method."""
    return point.method in BASELINES


def reference_point(points: Sequence[TextPoint]) -> TextPoint | None:
    """The point of method ``reference``, else budget 0 of the sweep, which gives the same samples."""
    named = [point for point in points if point.method == "reference"]
    return next(iter(named or [point for point in sweep_of(points) if point.budget == 0]), None)


def chosen_point(points: Sequence[TextPoint]) -> TextPoint | None:
    """The configured point, None when it was not evaluated."""
    return next((point for point in points if point.configured), None)


def sweep_of(points: Sequence[TextPoint]) -> list[TextPoint]:
    """All budgets of the configured method; without one, of the first method that is no baseline."""
    moved = [point for point in points if not is_baseline(point)]
    chosen = chosen_point(points) or next(iter(moved), None)
    return [point for point in points if chosen and point.method == chosen.method]


def sweep_best(points: Sequence[TextPoint]) -> TextPoint | None:
    """The point of the sweep with the highest gold, when that is not the configured one; picked after the fact.

    Over the prompts and seeds that all of the sweep have, where gold ranks points as the paired gain does.
    """
    sweep = [point for point in sweep_of(points) if math.isfinite(point.shared_gold.mean)]
    best = max(sweep, key=lambda point: point.shared_gold.mean, default=None)
    return best if best is not None and len(sweep) > 1 and not best.configured else None


def candidates_of(point: TextPoint) -> float:
    """How many completions the proxy chose from; the budget of best_of_n is this number. NaN when unknown."""
    stated = point.means["candidates"].mean
    return point.budget if math.isnan(stated) and point.method == "best_of_n" else stated


def prompts_of(point: TextPoint) -> int:
    """How many prompts a point rests on."""
    return max(estimate.prompts for estimate in point.means.values())


def prompts_text(points: Iterable[TextPoint]) -> str:
    """``250``, or ``48 to 250`` when points differ."""
    return counts_text(prompts_of(point) for point in points)


def has(points: Iterable[TextPoint], field: str) -> bool:
    """Whether a field is known for any of the points."""
    return any(math.isfinite(point.means[field].mean) for point in points)


def budget_text(point: TextPoint) -> str:
    """Such as ``steps 4`` or ``temperature 0.7``; ``-`` for the reference."""
    return "-" if point.method == "reference" else f"{point.knob} {point.budget:g}"


def remark(point: TextPoint, points: Sequence[TextPoint]) -> str:
    """What a table says beside a point."""
    if point.configured:
        return "picked after the fact" if point.picked == "after" else "configured"
    if point == sweep_best(points):
        return "best of sweep (picked after the fact)"
    if point.budget != 0 or is_baseline(point):
        return ""
    return "its weights alone" if point.means["tokens_changed"].mean > 0 else "reference"


def estimate_text(estimate: Estimate, *, signed: bool = False) -> str:
    """``+0.53 [0.40, 0.66]``; the mean alone when there is no interval, ``-`` when there is nothing."""
    numbers = [x for x in (estimate.mean, estimate.low, estimate.high) if math.isfinite(x)]
    if not numbers:
        return "-"
    decimals = 2 if max(map(abs, numbers)) >= 0.1 else 3
    mean = f"{estimate.mean:{'+' if signed else ''}.{decimals}f}"
    ends = f" [{estimate.low:.{decimals}f}, {estimate.high:.{decimals}f}]" if len(numbers) == 3 else ""
    return mean + ends
