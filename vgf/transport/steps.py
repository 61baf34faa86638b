"""Steps: how a gradient becomes a move of unit size. The rule multiplies the move by ``budget.size``.

A step is made fresh for every call of ``transport``, so one that keeps state (Adam) starts from zero.
It is called with the gradient g and, inside the flow, the reference velocity v (both [B, N, D]).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from vgf.errors import UserError, did_you_mean

__all__ = ["STEPS", "Step", "make_step"]

Step = Callable[[Tensor, Tensor | None], Tensor]

_TINY = 1e-8


def _raw() -> Step:
    """The gradient itself: the size has the units of action / value."""
    return lambda g, v: g


def _sign() -> Step:
    """Only the direction of each coordinate counts; zero stays zero."""
    return lambda g, v: g.sign()


def _rms() -> Step:
    """Root mean square over a particle's coordinates scaled to one: the size is the distance ``travelled``."""
    return lambda g, v: g / (g.square().mean(-1, keepdim=True).sqrt() + _TINY)


def _norm_matched() -> Step:
    """The gradient at the length of the velocity it bends (QPILOTS, eq. 17): the size is their ratio."""

    def step(g: Tensor, v: Tensor | None) -> Tensor:
        if v is None:
            raise UserError("step='norm_matched' scales by the reference velocity: only rules inside the flow have one")
        return g * (v.norm(dim=-1, keepdim=True) / (g.norm(dim=-1, keepdim=True) + _TINY))

    return step


def _adam(beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Step:
    """Adam with fresh state (VGF's code): a coordinate moves at most 1.011 * size a step for up to 5 steps.

    The state covers every particle of the call but each coordinate only sees its own gradients.
    """
    count = 0
    m: Tensor | float = 0.0
    s: Tensor | float = 0.0

    def step(g: Tensor, v: Tensor | None) -> Tensor:
        nonlocal count, m, s
        count += 1
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * g.square()
        return (m / (1 - beta1**count)) / ((s / (1 - beta2**count)).sqrt() + eps)

    return step


STEPS: dict[str, Callable[[], Step]] = {
    "raw": _raw,
    "adam": _adam,
    "norm_matched": _norm_matched,
    "rms": _rms,
    "sign": _sign,
}


def make_step(name: str) -> Step:
    """Return a fresh step by name; UserError with the nearest names when there is none."""
    if name not in STEPS:
        raise UserError(f"step={name!r} is unknown; use one of {', '.join(STEPS)}.{did_you_mean(name, STEPS)}")
    return STEPS[name]()
