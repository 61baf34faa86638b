"""What a field may look at: value and reference velocity at the particles of one batch.

Binds a critic, a velocity and a batch of contexts, so that fields and rules speak of particles
``[B, N, D]`` only; critic and velocity are called on flat rows ``[B*N, D]``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from vgf.errors import UserError
from vgf.transport.gradient import gradient_at, is_inside_vmap

__all__ = ["Critic", "Landscape", "Velocity", "aggregate_heads", "aggregate_slope", "bind", "check_aggregate"]

Critic = Callable[[Tensor, Tensor], Tensor]  # context [K, ...], x [K, D] -> heads [E, K]
Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]  # context [K, ...], x [K, D], t [K, 1] -> [K, D]

F = TypeVar("F", bound=Callable[..., Tensor])

_LEAST_VARIANCE = 1e-12
_MEAN_MINUS_STD = re.compile(r"mean ?- ?(\d*\.?\d+) ?\*? ?std")


def bind(function: F, context: Tensor, particles: int) -> F:
    """Give a critic or velocity its contexts [B, ...], each for N rows of x, where it offers ``given``.

    The result is called like the function itself and does not look at its context any more: what that alone decides
    is computed once for all particles, Euler steps and moves. A function without ``given`` is returned as it is.

    What a critic's ``given`` returns may offer its own gradient, ``pullback(x [K, D])`` -> heads [E, K], and a function
    of weights [E, K] that gives the gradient of the weighted sum of the heads, [K, D]; without it autograd is asked.
    """
    if not hasattr(function, "given"):
        return function
    return cast(F, _Bound(function.given(context, particles)))


@dataclass(frozen=True)
class _Bound:
    rest: Callable[..., Tensor]

    def __call__(self, _: Tensor, *x: Tensor) -> Tensor:
        return self.rest(*x)

    @property
    def pullback(self) -> Any:
        """That of the rest; None where it has none."""
        return getattr(self.rest, "pullback", None)


def aggregate_heads(heads: Tensor, how: str) -> Tensor:
    """Reduce ensemble heads [E, ...] to one value [...].

    Args:
        heads: critic heads, first axis the ensemble.
        how: ``min``, ``mean``, or ``mean-RHO*std`` such as ``mean-0.5*std`` (QPILOTS, eq. 12;
            population standard deviation).

    Raises:
        UserError: for any other ``how``.
    """
    if how == "min":
        return heads.amin(0)
    mean, deviations = heads.mean(0), _deviations(how)
    if not deviations:
        return mean
    # The root has no gradient at zero, where all heads agree: keep away from it.
    return mean - deviations * heads.var(0, unbiased=False).clamp_min(_LEAST_VARIANCE).sqrt()


def _deviations(how: str) -> float:
    """How many standard deviations below the mean; UserError where ``how`` is neither."""
    match = _MEAN_MINUS_STD.fullmatch(how)
    if not match and how != "mean":
        raise UserError(f"aggregate={how!r} is unknown; use 'min', 'mean' or 'mean-0.5*std' (any factor)")
    return float(match[1]) if match else 0.0


def aggregate_slope(heads: Tensor, how: str) -> Tensor:
    """Gradient of :func:`aggregate_heads`, summed over particles, with respect to heads [E, K] -> [E, K].

    Heads that share the minimum share its gradient, as with autograd.
    """
    if how == "min":
        least = (heads == heads.amin(0)).to(heads.dtype)
        return least / least.sum(0)
    share, deviations = torch.full_like(heads, 1 / heads.shape[0]), _deviations(how)
    if not deviations:
        return share
    above = heads - heads.mean(0)
    variance = above.square().mean(0)
    apart = variance >= _LEAST_VARIANCE
    return share - deviations * share * above * variance.clamp_min(_LEAST_VARIANCE).rsqrt() * apart


def check_aggregate(how: str) -> None:
    """Raise a UserError unless :func:`aggregate_heads` knows ``how``."""
    aggregate_heads(torch.zeros(1), how)


@dataclass(frozen=True)
class Landscape:
    """Critic and reference velocity, bound to contexts.

    Attributes:
        context: one row a particle, [B*N, ...].
        critic: see :data:`Critic`.
        velocity_field: see :data:`Velocity`; None when only samples of the reference are at hand.
        flow_steps: Euler steps K of the reference flow; step k goes from t = k/K to (k+1)/K.
        aggregate: how heads become one value, see :func:`aggregate_heads`.
        low, high: the box particles live in.
        alpha, bandwidth: temperature and kernel width of the fields that have them.
    """

    context: Tensor
    critic: Critic
    velocity_field: Velocity | None
    flow_steps: int
    aggregate: str
    low: float
    high: float
    alpha: float
    bandwidth: float | None

    def clip(self, x: Tensor) -> Tensor:
        """Put particles into the box."""
        return x.clamp(self.low, self.high)

    def value(self, x: Tensor) -> Tensor:
        """Aggregated critic value of particles [B, N, D] -> [B, N]."""
        heads = self.critic(self.context, x.flatten(0, 1))  # [E, B*N]
        if heads.ndim != 2 or heads.shape[1] != x.shape[0] * x.shape[1]:
            raise UserError(
                f"the critic gave heads {tuple(heads.shape)} for {x.shape[0] * x.shape[1]} particles; it has to give "
                "[E, K], one row a head: q.view(1, -1) of a single network"
            )
        return aggregate_heads(heads, self.aggregate).view(x.shape[:2])

    def disagreement(self, x: Tensor) -> Tensor:
        """Standard deviation of the critic's heads at particles [B, N, D] -> [B, N].

        Raises:
            UserError: when the critic has a single head.
        """
        heads = self.critic(self.context, x.flatten(0, 1))
        if heads.shape[0] < 2:
            raise UserError("gate= compares the critic's heads; it needs an ensemble of two or more (net.heads)")
        return heads.std(0, unbiased=False).view(x.shape[:2])

    def velocity(self, x: Tensor, k: int) -> Tensor:
        """Reference velocity at Euler step k: [B, N, D] -> [B, N, D]."""
        if self.velocity_field is None:
            raise UserError("this rule follows the reference flow; pass velocity=")
        return self.velocity_field(self.context, x.flatten(0, 1), self.time(x, k)).view(x.shape)

    def time(self, x: Tensor, k: int) -> Tensor:
        """Flow time of Euler step k, one row a particle: [B*N, 1]."""
        return x.new_full((x.shape[0] * x.shape[1], 1), k / self.flow_steps)

    def denoised(self, x: Tensor, v: Tensor, k: int) -> Tensor:
        """One-step estimate of the clean particle, x + (1 - t) v (Tweedie for linear paths)."""
        return x + (1 - k / self.flow_steps) * v

    def carry(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Integrate the reference alone over Euler steps ``start`` to ``stop`` (default: to t = 1). Not clipped."""
        for k in range(start, self.flow_steps if stop is None else stop):
            x = x + self.velocity(x, k) / self.flow_steps
        return x

    def gradient(self, x: Tensor, of: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Gradient of ``of(x)`` [B, N] (default: the value) with respect to each particle.

        Non-finite entries become zero: a particle does not follow a gradient that is not a number.
        """
        return self._slope(x, of).nan_to_num(0.0, 0.0, 0.0)

    @torch.no_grad()
    def _slope(self, x: Tensor, of: Callable[[Tensor], Tensor] | None) -> Tensor:
        pullback = getattr(self.critic, "pullback", None)
        if of or not pullback or is_inside_vmap():
            return gradient_at(lambda x: (of or self.value)(x).sum(), x)
        heads, back = pullback(x.flatten(0, 1))
        slope: Tensor = back(aggregate_slope(heads, self.aggregate))
        return slope.view(x.shape)
