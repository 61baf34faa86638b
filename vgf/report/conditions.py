"""What the points of a curve were played with, in sentences: where seeds or settings differ, points are named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vgf.played import Key, Played
from vgf.report.facts import Facts
from vgf.report.points import Configured, Point, find

__all__ = ["COMMON_EPISODES", "Conditions", "episodes_note", "seeds_text", "settings_notes"]

Conditions = Mapping[Key, Played]

COMMON_EPISODES = "An episode has the same environment seed and the same particle noise at every budget."


def seeds_text(points: Sequence[Point], conditions: Conditions, facts: Facts) -> str:
    """Such as ``eval.seed 0`` or ``eval.seed 0; eval.seed 7 for qgf at size 0.02``, the seed of most points first."""
    if not _any(points, conditions):  # of a version that did not keep it
        seed = facts.get("eval.seed")
        return "" if seed is None else f"eval.seed {seed}"
    return _seeds(points, conditions)


def episodes_note(points: Sequence[Point], conditions: Conditions) -> str:
    """Whether the episodes of all points are the same ones, or which points have others."""
    if not _any(points, conditions) or len(_by_seed(points, conditions)) == 1:
        return COMMON_EPISODES
    seeds = _seeds(points, conditions)
    return (
        f"Not all points are known to have been played with one seed ({seeds}): between two seeds episodes are not the "
        "same ones, and a difference between points is also one between episodes."
    )


def settings_notes(points: Sequence[Point], conditions: Conditions, configured: Configured) -> list[str]:
    """A sentence for every point that was played with other settings than the rest of its method's curve."""
    said = []
    for method in dict.fromkeys(point.method for point in points):
        curve = [point for point in points if point.method == method and point.key in conditions]
        usual = _usual(curve, conditions, configured)
        for point in curve:
            own = conditions[point.key].settings
            other = sorted(key for key in {*own, *usual} if own.get(key) != usual.get(key))
            if other:
                mine, theirs = (", ".join(f"{key}={_shown(at.get(key))}" for key in other) for at in (own, usual))
                said.append(f"{_named([point])} was played with {mine}; the curve it stands on with {theirs}.")
    return said


def _usual(curve: Sequence[Point], conditions: Conditions, configured: Configured) -> Mapping[str, Any]:
    """The settings of a method's curve: the configured point's, else those of most points."""
    if chosen := find(curve, configured):
        return conditions[chosen.key].settings
    all_settings = [conditions[point.key].settings for point in curve]
    return max(all_settings, key=all_settings.count, default={})


def _any(points: Iterable[Point], conditions: Conditions) -> bool:
    return any(point.key in conditions for point in points)


def _by_seed(points: Sequence[Point], conditions: Conditions) -> list[tuple[int | None, list[Point]]]:
    """Seed -> points, the most points first; None: it was not kept."""
    seeds = {point: how.seed if (how := conditions.get(point.key)) else None for point in points}
    return [(seed, [p for p in points if seeds[p] == seed]) for seed, _ in Counter(seeds.values()).most_common()]


def _seeds(points: Sequence[Point], conditions: Conditions) -> str:
    """The seed of most points, and each other one with its points."""
    first, *others = (
        ("seed not recorded" if seed is None else f"eval.seed {seed}", some)
        for seed, some in _by_seed(points, conditions)
    )
    return "; ".join([first[0], *(f"{seed} for {_named(some)}" for seed, some in others)])


def _named(points: Sequence[Point]) -> str:
    """Such as ``qgf at size 0.01, 0.02 and vgf at steps 0``."""
    methods: dict[str, list[Point]] = {}
    for point in points:
        methods.setdefault(point.method, []).append(point)
    return " and ".join(
        f"{method} at {some[0].knob} {', '.join(f'{p.budget:g}' for p in some)}" for method, some in methods.items()
    )


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
