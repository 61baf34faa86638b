"""Steps: how a gradient becomes a move of unit size. The rule multiplies the move by ``budget.size``.

A step is made fresh for every call of ``transport``, so one that keeps state (Adam) starts from zero.
It is called with the gradient g [B, N, D] and, inside the flow, with the reference velocity v
[B, N, D] and the flow time t of the Euler step; after the flow both are None.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from vgf.errors import UserError, did_you_mean

__all__ = ["STEPS", "Step", "make_step"]

Step = Callable[[Tensor, Tensor | None, float | None], Tensor]

_TINY = 1e-8


def _raw() -> Step:
    """The gradient itself: the size has the units of action / value."""
    return lambda g, v, t: g


def _sign() -> Step:
    """Only the direction of each coordinate counts; zero stays zero."""
    return lambda g, v, t: g.sign()


def _rms() -> Step:
    """Root mean square over a particle's coordinates scaled to one: the size is the length of a move."""
    return lambda g, v, t: g / (g.square().mean(-1, keepdim=True).sqrt() + _TINY)


def _norm_matched() -> Step:
    """The gradient at the length of the velocity it bends (QPILOTS, eq. 17): the size is their ratio."""

    def step(g: Tensor, v: Tensor | None, t: float | None) -> Tensor:
        if v is None:
            raise UserError("step='norm_matched' scales by the reference velocity: only rules inside the flow have one")
        return g * (v.norm(dim=-1, keepdim=True) / (g.norm(dim=-1, keepdim=True) + _TINY))

    return step


def _tilt() -> Step:
    """The gradient times (1 - t)/t, the half squared diffusion of linear paths (QPILOTS, Prop. 1).

    With the gradient of V_t and size 1 the guided ODE ends in the reference tilted by exp(tau Q).
    It is singular at t = 0: skip the first Euler step.
    """

    def step(g: Tensor, v: Tensor | None, t: float | None) -> Tensor:
        if not t:
            raise UserError("step='tilt' needs a flow time above 0: use it inside the flow with skip_first=True")
        return g * ((1 - t) / t)

    return step


def _adam(beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Step:
    """Adam with fresh state (VGF's code): a coordinate moves at most 1.011 * size a step for up to 5 steps.

    The state covers every particle of the call but each coordinate only sees its own gradients.
    """
    count = 0
    m: Tensor | float = 0.0
    s: Tensor | float = 0.0

    def step(g: Tensor, v: Tensor | None, t: float | None) -> Tensor:
        nonlocal count, m, s
        count += 1
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * g.square()
        return (m / (1 - beta1**count)) / ((s / (1 - beta2**count)).sqrt() + eps)

    return step


def _clipped_adam() -> Step:
    """Adam on gradients cut to norm 1 per particle (A-VGF's optimiser).

    Deviation: the authors cut the norm over all particles of a call at once, which would make a
    particle's move depend on its neighbours in the batch.
    """
    adam = _adam()
    return lambda g, v, t: adam(g / g.norm(dim=-1, keepdim=True).clamp_min(1.0), v, t)


STEPS: dict[str, Callable[[], Step]] = {
    "raw": _raw,
    "adam": _adam,
    "clipped_adam": _clipped_adam,
    "norm_matched": _norm_matched,
    "rms": _rms,
    "sign": _sign,
    "tilt": _tilt,
}


def make_step(name: str) -> Step:
    """Return a fresh step by name; UserError with the nearest names when there is none."""
    if name not in STEPS:
        raise UserError(f"step={name!r} is unknown; use one of {', '.join(STEPS)}.{did_you_mean(name, STEPS)}")
    return STEPS[name]()
