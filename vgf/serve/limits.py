"""What one request may ask of a server, and a budget as a request writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vgf.config import Config, MethodConfig
from vgf.errors import UserError
from vgf.methods import configured_budget
from vgf.transport import Budget

__all__ = ["Limits", "read_budget"]

_FIELDS = ("steps", "size", "radius")
_HUGE = 1e18
_STEPS = 16  # allowed where the method's settings name fewer


@dataclass(frozen=True)
class Limits:
    """Bounds of a server.

    Attributes:
        body: bytes of a request.
        rows: prompts or observations of a request, choices counted.
        new_tokens: of each completion.
        particles: of each prompt.
        seconds: a request may take, waiting included.
        waiting: rows that may wait, of all requests.
        size, steps: of a budget; None: the largest that the method's sweep and the run's settings name.
    """

    body: int = 1_000_000
    rows: int = 64
    new_tokens: int = 256
    particles: int = 32
    seconds: float = 60.0
    waiting: int = 1024
    size: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("body", "rows", "new_tokens", "particles", "seconds", "waiting"):
            if not getattr(self, name) > 0:
                raise UserError(f"the limit on {name} is {getattr(self, name)}; it must be above 0")
        try:
            Budget(steps=self.steps, size=self.size)
        except UserError as error:
            raise UserError(f"a limit is itself a budget, and {error}") from error

    def largest(self, method: MethodConfig) -> Budget:
        """The largest steps and size that a request may ask of a method."""
        own, knob = configured_budget(method), method.transport.knob
        swept = [*method.sweep, *((method.eval.budgets or []) if isinstance(method, Config) else [])]
        size = max([own.size or 0.0, *(swept if knob == "size" else [])])
        steps = max([own.steps or 0, _STEPS, *(swept if knob == "steps" else [])])
        return Budget(
            steps=int(steps) if self.steps is None else self.steps, size=size if self.size is None else self.size
        )


def read_budget(value: object, method: MethodConfig, limits: Limits) -> Budget:
    """A budget from JSON: a number is the method's knob, an object names its fields, None is the configured one.

    What is not named is as configured, or the limit where that is less.

    Returns:
        A budget without open fields but for the radius, and for steps where the rule has no default.

    Raises:
        UserError: not a budget, or a larger one than the limits allow.
    """
    own, most = configured_budget(method), limits.largest(method)
    own = replace(own, steps=_least(own.steps, most.steps), size=_least(own.size, most.size))
    if value is None:
        return own
    named: Mapping[str, Any] = value if isinstance(value, Mapping) else {method.transport.knob: value}
    if unknown := [str(name) for name in named if name not in _FIELDS]:
        raise UserError(f"a budget has steps, size and radius, but no {unknown[0][:60]!r}")
    for name, amount in named.items():
        _check(name, amount, method, limits)
    return Budget(**{name: int(a) if name == "steps" and a is not None else a for name, a in named.items()}).filled(own)


def _least(configured: float | None, most: float | None) -> Any:
    return configured if configured is None or most is None else min(configured, most)


def _check(name: str, amount: object, method: MethodConfig, limits: Limits) -> None:
    if amount is None:
        return
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not abs(amount) < _HUGE:
        raise UserError(f"a budget is a number or an object with steps, size and radius, not {str(amount)[:60]!r}")
    if name == "steps" and amount != int(amount):
        raise UserError(f"the budget's steps are a whole number; {amount:g} is none")
    most = getattr(limits.largest(method), name)
    if most is not None and amount > most:
        raise UserError(f"{name} {amount:g} is beyond this server's limit of {most:g} for {method.method}")
