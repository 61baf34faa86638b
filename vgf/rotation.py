"""Which checkpoints of a run stay: the last two, the best, and every k-th where ``train.keep_every`` asks for it.

The best is the one whose evaluation on the way had the highest mean return, over the points (method, budget) that every
evaluated step has. A run that is not evaluated on the way has the lowest sum of held-out losses instead
(``validation/.../loss`` of the last logged step up to the checkpoint). Both are read from the run's own files.
"""

from __future__ import annotations

import csv
import json
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


def scores_of(run_dir: Path, steps: Iterable[int]) -> dict[int, float]:
    """A number for each step that has one, the higher the better: mean return, else minus the held-out losses."""
    played, held_out = _returns(run_dir / "eval.csv"), _held_out_losses(run_dir / "metrics.jsonl")
    if played:
        return played
    found = {}
    for step in steps:
        logged = [known for known in held_out if known <= step]
        if logged:
            found[step] = -held_out[max(logged)]
    return found


def _returns(path: Path) -> dict[int, float]:
    table: dict[int, dict[tuple[str, str], list[float]]] = {}
    with suppress(OSError, ValueError, KeyError, TypeError, csv.Error), path.open(newline="") as file:
        for row in csv.DictReader(file):
            points = table.setdefault(int(row["step"]), {})
            points.setdefault((row["method"], row["budget"]), []).append(float(row["return"]))
    common = set.intersection(*(set(points) for points in table.values())) if table else set()
    if not common:
        return {}
    chosen = {step: [x for point in common for x in points[point]] for step, points in table.items()}
    return {step: sum(values) / len(values) for step, values in chosen.items()}


def _held_out_losses(path: Path) -> dict[int, float]:
    sums: dict[int, float] = {}
    with suppress(OSError), path.open() as file:
        for line in file:
            with suppress(ValueError, KeyError, TypeError, AttributeError):  # a line cut off by a crash
                row = json.loads(line)
                losses = [x for key, x in row.items() if key.startswith("validation/") and key.endswith("/loss")]
                if losses:
                    sums[int(row["step"])] = float(sum(losses))
    return sums
