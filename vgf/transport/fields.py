"""Fields: how the value gradient is estimated. One function a row of the table in ``rules.py``.

After the flow a field sees clean particles and returns a gradient ``g`` [B, N, D].
Inside the flow it sees noisy particles at Euler step k and returns ``(v, g)``: it needs the
reference velocity anyway, so nothing is computed twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real

import torch
from torch import Tensor

from vgf.errors import UserError
from vgf.transport.gradient import gradient_beside
from vgf.transport.kernels import svgd_direction
from vgf.transport.landscape import Landscape, Velocity, aggregate_heads
from vgf.transport.posterior import PosteriorSampler, glass_sampler

__all__ = [
    "amortised",
    "bptt",
    "classifier_free",
    "clean",
    "denoised",
    "denoised_jacobian",
    "noise_conditioned",
    "noisy",
    "posterior",
    "posterior_glass",
    "svgd",
]


# --- after the flow: g(x) -------------------------------------------------------------------------


def clean(scene: Landscape, x: Tensor) -> Tensor:
    """grad Q(x): each particle climbs alone (PA-RL at test time, QGF's GradStep)."""
    return scene.gradient(x)


def svgd(scene: Landscape, x: Tensor) -> Tensor:
    """Kernel-averaged grad Q / alpha plus repulsion: the particles of a context move together (VGF, eq. 7)."""
    return svgd_direction(x, scene.gradient(x), alpha=scene.alpha, bandwidth=scene.bandwidth)


def amortised(scene: Landscape, x: Tensor, *, gradient: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A network's estimate of grad Q: ``gradient(context [K, ...], x [K, D]) -> [K, D]`` (A-VGF)."""
    return gradient(scene.context, x.flatten(0, 1)).view(x.shape)


# --- inside the flow: (v, g)(x_t, k) --------------------------------------------------------------


def _with_velocity(value: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor) -> tuple[Tensor, Tensor]:
    """(v, g) of a function that returns (value, v)."""
    g, v = gradient_beside(value, x)
    return v, g.nan_to_num(0.0, 0.0, 0.0)


def denoised(scene: Landscape, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """QGF (eqs. 7, 9): grad Q at the denoised estimate, its Jacobian taken to be the identity.

    As in the authors' code the gradient is *taken at* the clipped estimate, so coordinates that
    sit on the border of the box keep their gradient.
    """
    v = scene.velocity(x, k)
    return v, scene.gradient(scene.clip(scene.denoised(x, v, k)))


def denoised_jacobian(scene: Landscape, x: Tensor, k: int, *, straight_through: bool = False) -> tuple[Tensor, Tensor]:
    """QGF-Jacobian (eq. 8), QPILOTS-U (eq. 15): the same gradient, carried back through the velocity.

    ``straight_through=False`` differentiates the clip, which zeroes saturated coordinates (QGF);
    ``True`` lets the gradient pass it (QPILOTS).
    """

    def value(x: Tensor) -> tuple[Tensor, Tensor]:
        v = scene.velocity(x, k)
        estimate = scene.denoised(x, v, k)
        clipped = scene.clip(estimate)
        if straight_through:
            clipped = estimate + (clipped - estimate).detach()
        return scene.value(clipped).sum(), v

    return _with_velocity(value, x)


def noisy(scene: Landscape, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """QFQL: grad Q at the noisy particle, where the critic was never trained (QGF's 'OOD' baseline)."""
    return scene.velocity(x, k), scene.gradient(x)


def bptt(scene: Landscape, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """BPTT (QGF, eq. 6): grad of Q at the end of the reference ODE, back through all its remaining steps."""

    def value(x: Tensor) -> tuple[Tensor, Tensor]:
        v = scene.velocity(x, k)
        end = scene.carry(x + v / scene.flow_steps, start=k + 1)
        return scene.value(scene.clip(end)).sum(), v

    return _with_velocity(value, x)


def noise_conditioned(scene: Landscape, x: Tensor, k: int, *, noisy_critic: Velocity) -> tuple[Tensor, Tensor]:
    """RobustQ (QGF baseline): grad of a critic that was trained on noisy particles.

    ``noisy_critic(context [K, ...], x_t [K, D], t [K, 1]) -> [E, K]`` estimates E[Q(x_1) | x_t].
    """

    def value(x: Tensor) -> Tensor:
        heads = noisy_critic(scene.context, x.flatten(0, 1), scene.time(x, k))
        return aggregate_heads(heads, scene.aggregate).view(x.shape[:2])

    return scene.velocity(x, k), scene.gradient(x, value)


def classifier_free(scene: Landscape, x: Tensor, k: int, *, optimal: Velocity) -> tuple[Tensor, Tensor]:
    """CFGRL (arXiv 2505.23458): from the reference towards the velocity of the data's better actions.

    ``optimal(context [K, ...], x_t [K, D], t [K, 1]) -> [K, D]`` was cloned from actions with a positive
    advantage. Size w gives v + w (v_optimal - v): 0 is the reference, 1 the conditional policy, more
    extrapolates. The only row whose direction is not a gradient of the critic.
    """
    v = scene.velocity(x, k)
    towards = optimal(scene.context, x.flatten(0, 1), scene.time(x, k)).view(x.shape)
    return v, towards - v


def posterior(
    scene: Landscape, x: Tensor, k: int, *, sampler: PosteriorSampler, samples: int = 4, tau: float = 1.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """QPILOTS-M: grad of V_t = log 1/M sum_m exp(tau Q(X_m)), X_m samples of the clean particle given x_t.

    The clip is straight-through. The inner noise is drawn from ``seed`` and shared by all particles
    of a call, so that a particle's move depends on nothing but itself.

    Args:
        sampler: see :data:`vgf.transport.posterior.PosteriorSampler`.
        samples: M, >= 1.
        tau: inverse temperature, > 0; with a single sample it only scales the gradient.
    """
    _require_number("samples", samples, Integral)
    _require_number("tau", tau, Real)
    _require_number("seed", seed, Integral)
    if samples < 1 or not 0 < tau < math.inf:
        raise UserError(f"samples={samples} must be 1 or more, tau={tau} greater than 0 and finite")
    generator = torch.Generator("cpu").manual_seed((int(seed) * 1_000_003 + k) % 2**63)
    eps = torch.randn(samples, 1, x.shape[-1], generator=generator, dtype=x.dtype, device="cpu").to(x.device)

    def value(x: Tensor) -> Tensor:
        flat, t = x.flatten(0, 1), scene.time(x, k)
        values = []
        for noise in eps:
            clean = sampler(scene.context, flat, t, noise.expand_as(flat)).view(x.shape)
            values.append(tau * scene.value(clean + (scene.clip(clean) - clean).detach()))
        return torch.stack(values).logsumexp(0) - math.log(samples)

    return scene.velocity(x, k), scene.gradient(x, value)


def posterior_glass(
    scene: Landscape, x: Tensor, k: int, *, inner_steps: int = 4, samples: int = 4, tau: float = 1.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """QPILOTS-M without a flow map: posterior samples by ``inner_steps`` Euler steps of the exact GLASS flow.

    The reference that a learned map is measured against; it costs samples * inner_steps velocities a step.
    """
    assert scene.velocity_field is not None
    _require_number("inner_steps", inner_steps, Integral)
    if inner_steps < 1:
        raise UserError(f"inner_steps={inner_steps} must be 1 or more")
    sampler = glass_sampler(scene.velocity_field, inner_steps)
    return posterior(scene, x, k, sampler=sampler, samples=samples, tau=tau, seed=seed)


def _require_number(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(f"{name}={value!r} is not a {'whole ' if kind is Integral else ''}number")
