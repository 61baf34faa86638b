"""The pilot's budgets: for each method the one it scored best at, on a seed that is not evaluated.

Budgets above 0 only: the reference is evaluated beside the methods. Of equal scores the smaller budget counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vgf.errors import UserError
from vgf.methods import knob_of, load_method, stays_put
from vgf.results.grid import OneRun
from vgf.results.scores import read_scores

__all__ = ["choose"]


def choose(folder: Path, pilots: Sequence[OneRun]) -> dict[str, float]:
    """Method -> budget, by name; the reference has none, and methods that move nothing have their own.

    Args:
        folder: of the experiment, with the pilots' run directories.
        pilots: their scores are averaged; success where the environment tells it, else the return.

    Raises:
        UserError: a pilot that was not evaluated, or a method at budget 0 alone.
    """
    found: dict[str, dict[float, list[float]]] = {}
    for pilot in pilots:
        run = read_scores(folder / pilot.folder)
        for method in run.methods():
            for budget, fields in run.budgets(method, None).items():
                scores = fields.get("success") or fields["return"]
                found.setdefault(method, {}).setdefault(budget, []).append(float(np.mean(list(scores.values()))))
    return {method: _best(method, budgets) for method, budgets in found.items() if method != "reference"}


def _best(method: str, budgets: Mapping[float, Sequence[float]]) -> float:
    if stays_put(method):
        return knob_of(load_method(method))
    moved = {budget: float(np.mean(scores)) for budget, scores in budgets.items() if budget > 0}
    if not moved:
        raise UserError(f"the pilot evaluated {method} at no budget above 0; name some in its eval.baselines")
    return max(moved, key=lambda budget: (moved[budget], -budget))
