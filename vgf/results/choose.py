"""The pilot's budgets: for each method the one it scored best at, on a seed that is not evaluated.

Budgets above 0 only: the reference is evaluated beside the methods. Of equal scores the smaller budget counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vgf.errors import UserError
from vgf.methods import knob_of, load_method, stays_put
from vgf.report.several import StoredPoint, read_run
from vgf.results.grid import OneRun

__all__ = ["choose"]


def choose(folder: Path, pilots: Sequence[OneRun]) -> dict[str, float]:
    """Method -> budget, in the order in which the pilot's rows name the methods; those without a budget have their own.

    Args:
        folder: of the experiment, with the pilots' run directories.
        pilots: their scores are averaged.

    Raises:
        UserError: a pilot that was not evaluated.
    """
    points = [point for pilot in pilots for point in read_run(folder / pilot.folder).points]
    if not points:
        raise UserError(f"{folder} holds no pilot to choose budgets from")
    return {
        method: _best(method, points) for method in dict.fromkeys(p.method for p in points) if method != "reference"
    }


def _best(method: str, points: Sequence[StoredPoint]) -> float:
    if stays_put(method):
        return knob_of(load_method(method))
    budgets = sorted({point.budget for point in points if point.method == method and point.budget > 0})
    if not budgets:
        raise UserError(f"the pilot evaluated {method} at no budget above 0; name some in its eval.baselines")
    mean = {
        b: float(np.mean([p.scores.mean() for p in points if (p.method, p.budget) == (method, b)])) for b in budgets
    }
    return max(budgets, key=lambda budget: (mean[budget], -budget))
