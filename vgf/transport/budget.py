"""The transport budget: how far value gradients may move a particle from the reference."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Real

from vgf.errors import UserError

__all__ = ["MOST_STEPS", "Budget"]

MOST_STEPS = 1_000_000


@dataclass(frozen=True)
class Budget:
    """How far particles may be moved. Zero steps or zero size *is* the reference, bit for bit.

    Attributes:
        steps: number of value-gradient moves (rules that act after the flow), or number of guided
            Euler steps (rules that act inside it). Inside the flow the *last* ``steps`` Euler steps
            are guided, because the denoised estimate the gradient is taken at sharpens as t -> 1;
            more than the flow has means all of them. None: the rule's own default.
        size: step size or guidance weight of the rule (QPILOTS' alpha), >= 0. None: the rule's own default.
        radius: hard limit on ``travelled``, the RMS distance per coordinate between a particle and
            its twin (the same noise carried by the reference alone), in action units. None: no limit.

    Raises:
        UserError: (a ValueError) when a field is negative, not a number, or not whole where it must be.
    """

    steps: int | None = None
    size: float | None = None
    radius: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "size", "radius"):
            amount = getattr(self, name)
            if amount is None:
                continue
            if isinstance(amount, bool) or not isinstance(amount, Real) or not (number := _as_float(amount)) >= 0:
                raise UserError(f"budget.{name}={amount!r} is not a budget; give a number of 0 or more")
            object.__setattr__(self, name, number)
            if math.isinf(number) and name != "radius":
                raise UserError(f"budget.{name}={amount!r} is unbounded; give a finite number")
        if self.steps is not None and self.steps != int(self.steps):
            raise UserError(f"budget.steps={self.steps!r} is not a whole number; give 0, 1, 2, ...")
        if self.steps is not None:
            object.__setattr__(self, "steps", int(self.steps))  # 2.0, as JSON and NumPy have it
        if self.steps is not None and self.steps > MOST_STEPS:
            raise UserError(f"budget.steps={self.steps!r} would take for ever; give {MOST_STEPS:,} or less")

    @property
    def is_zero(self) -> bool:
        """Whether this is the reference: no step, or steps of no size."""
        return self.steps == 0 or self.size == 0

    def filled(self, default: Budget) -> Budget:
        """Return this budget with every field that is None taken from ``default``."""
        missing = {f: getattr(default, f) for f in ("steps", "size", "radius") if getattr(self, f) is None}
        return replace(self, **missing)


def _as_float(amount: Real) -> float:
    """Of any kind of number: fractions, NumPy's, whole ones beyond the largest float."""
    try:
        return float(amount)
    except OverflowError:
        return math.inf
