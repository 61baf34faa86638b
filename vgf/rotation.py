"""Which checkpoints of a run stay: the last two, the best, and every k-th where ``train.keep_every`` asks for it.

The best is the one whose evaluation had the highest mean return, over the points (method, budget) that every evaluated
step has, as ``eval.csv`` says. A run that has not been played has none: losses on held-out data do not tell a better
policy, those of a critic grow with its values.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

__all__ = ["best_step", "kept_steps", "scores_of"]

_LAST = 2  # one to go on from, one to fall back to


def kept_steps(steps: Iterable[int], best: int | None, every: int | None) -> set[int]:
    """Steps whose checkpoints stay.

    Args:
        steps: of the checkpoints that are there, up to the newest.
        best: one of them, which stays; None: none does for being good.
        every: multiples of it stay; None: none does for being one.
    """
    ordered = sorted(steps)
    regular = [step for step in ordered if every and step % every == 0]
    return {*ordered[-_LAST:], *regular, *([best] if best in ordered else [])}


def best_step(steps: Iterable[int], scores: Mapping[int, float]) -> int | None:
    """The step with the highest score, of equal ones the latest; None where no step has a score."""
    return max((step for step in steps if step in scores), key=lambda step: (scores[step], step), default=None)


def scores_of(run_dir: Path) -> dict[int, float]:
    """The mean return of each evaluated step, over the points that all of them have; empty where they share none."""
    table: dict[int, dict[tuple[str, str], list[float]]] = {}
    with suppress(OSError, ValueError, KeyError, TypeError, csv.Error), (run_dir / "eval.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            points = table.setdefault(int(row["step"]), {})
            points.setdefault((row["method"], row["budget"]), []).append(float(row["return"]))
    common = set.intersection(*(set(points) for points in table.values())) if table else set()
    if not common:
        return {}
    chosen = {step: [x for point in common for x in points[point]] for step, points in table.items()}
    return {step: sum(values) / len(values) for step, values in chosen.items()}
