"""The x axis of a sweep: where its budgets stand and which of them get a tick."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from vgf.methods import same_budget
from vgf.report.palette import MUTED

__all__ = ["KNOBS", "BudgetAxis", "budget_axis", "budget_ticks"]

KNOBS = {"size": "size of the move", "steps": "value-gradient steps", "budget": "budget"}


@dataclass(frozen=True)
class BudgetAxis:
    """Where budgets stand on the x axis: their logarithm when they span a decade or more, else themselves."""

    log: bool
    zero: float  # where budget 0 stands: left of the others, off the scale when that is logarithmic

    def at(self, budget: float) -> float:
        """The place of a budget on the axis."""
        if budget == 0:
            return self.zero
        return math.log10(budget) if self.log else budget

    def span(self, budgets: Sequence[float]) -> float:
        """Width on the axis of budgets in ascending order; 1 when they have none."""
        return (self.at(budgets[-1]) - self.at(budgets[0]) if budgets else 0.0) or 1.0


def budget_axis(budgets: Sequence[float]) -> BudgetAxis:
    """The axis of budgets in ascending order."""
    moved = [budget for budget in budgets if budget > 0]
    if len(moved) < 2 or moved[-1] < 9.999 * moved[0]:
        return BudgetAxis(log=False, zero=0.0)
    low, high = math.log10(moved[0]), math.log10(moved[-1])
    return BudgetAxis(log=True, zero=low - max(0.3, 0.3 * (high - low)))


def budget_ticks(ax: Axes, axis: BudgetAxis, budgets: Sequence[float], configured: float | None) -> None:
    """A tick at every evaluated budget that has room; reference and configured one are named."""
    if not budgets:
        return
    span = axis.span(budgets)
    names = {0.0: "reference"}
    for budget in (b for b in budgets if configured is not None and same_budget(b, configured)):
        crowded = budget > 0 and 0.0 in budgets and axis.at(budget) - axis.zero < 0.2 * span
        names[budget] = "\nconfigured" if crowded else "configured"
        ax.axvline(axis.at(budget), color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=0)
    placed: list[float] = []
    for budget in sorted(budgets, key=lambda b: (b not in names, -b)):
        if all(abs(axis.at(budget) - axis.at(other)) > 0.09 * span for other in placed):
            placed.append(budget)
    ax.set_xticks([axis.at(b) for b in placed], [f"{b:g}\n{names.get(b, ' ')}" for b in placed])
    ax.set_xlim(axis.at(budgets[0]) - 0.07 * span, axis.at(budgets[-1]) + 0.07 * span)
