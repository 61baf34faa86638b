r"""Samples of the clean particle given a noisy one, x_1 ~ p(x_1 | x_t), from the reference flow itself.

The posterior of a linear-path flow is again a flow: with inner noise eps and inner time s,
I_s = (1 - s) eps + s x_1, its velocity is known exactly from the reference velocity (GLASS):

.. math::
    \rho^2 &= \Big(\frac{s}{1-s}\Big)^2 + \Big(\frac{t}{1-t}\Big)^2, \quad t^* = \frac{\rho}{1 + \rho}, \quad
    x^* = \frac{t^*}{\rho^2} \Big( \frac{t}{(1-t)^2} x_t + \frac{s}{(1-s)^2} I_s \Big) \\
    u(I_s, s) &= \frac{x^* + (1 - t^*) v(x^*, t^*) - I_s}{1 - s}

Both observations of x_1 (x_t and I_s) are merged into one at the combined noise level t*, where the
reference's denoiser applies. t* lies anywhere in [0, 1), so the posterior is as exact as the velocity is between the
times it was trained at: those of its Euler steps, or all with ``train.flow_times=uniform``.

Source: the GLASS target that QPILOTS' flow map is distilled from (arXiv 2606.14801), in the simplified form of the
design notes; integrating it gives the sampler whose expectation is unbiased, the reference that a learned flow map is
tested against.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vgf.transport.landscape import Velocity

__all__ = ["PosteriorSampler", "glass_sampler", "glass_velocity"]

# (context [K, ...], x_t [K, D], t [K, 1], eps [K, D]) -> x_1 [K, D], differentiable in x_t
PosteriorSampler = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

_SMALL = 1e-6


def glass_velocity(velocity: Velocity, context: Tensor, x_t: Tensor, t: Tensor, inner: Tensor, s: Tensor) -> Tensor:
    """Velocity of the posterior flow p(x_1 | x_t) at its inner state.

    Args:
        velocity: reference velocity (context, x [K, D], t [K, 1]) -> [K, D].
        context: [K, ...].
        x_t: outer, noisy particle [K, D].
        t: outer time [K, 1] in [0, 1).
        inner: I_s [K, D].
        s: inner time [K, 1] in [0, 1).
    """
    outer_odds, inner_odds = t / (1 - t), s / (1 - s)
    rho = (outer_odds.square() + inner_odds.square()).sqrt().clamp_min(_SMALL)
    t_star = rho / (1 + rho)
    outer_weight = outer_odds / (1 - t) / rho.square()
    inner_weight = inner_odds / (1 - s) / rho.square()
    merged = t_star * (outer_weight * x_t + inner_weight * inner)
    # With s = t = 0 neither observation says anything: any noise will do, the inner one is at hand.
    merged = torch.where((t + s) < _SMALL, inner, merged)
    clean = merged + (1 - t_star) * velocity(context, merged, t_star)
    return (clean - inner) / (1 - s)


def glass_sampler(velocity: Velocity, steps: int) -> PosteriorSampler:
    """Return the sampler that integrates the posterior flow by ``steps`` Euler steps of the inner time."""

    def sample(context: Tensor, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        inner = eps
        for j in range(steps):
            s = torch.full_like(t, j / steps)
            inner = inner + glass_velocity(velocity, context, x_t, t, inner, s) / steps
        return inner

    return sample
