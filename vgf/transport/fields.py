"""Fields: how the value gradient is estimated. One function a row of the table in ``rules.py``.

After the flow a field sees clean particles and returns a gradient ``g`` [B, N, D].
Inside the flow it sees noisy particles at Euler step k and returns ``(v, g)``: it needs the
reference velocity anyway, so nothing is computed twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vgf.transport.kernels import svgd_direction
from vgf.transport.landscape import Landscape, gradient_of

__all__ = ["bptt", "clean", "denoised", "denoised_jacobian", "noisy", "svgd"]


# --- after the flow: g(x) -------------------------------------------------------------------------


def clean(scene: Landscape, x: Tensor) -> Tensor:
    """grad Q(x): each particle climbs alone (PA-RL at test time, QGF's GradStep)."""
    return scene.gradient(x)


def svgd(scene: Landscape, x: Tensor) -> Tensor:
    """Kernel-averaged grad Q / alpha plus repulsion: the particles of a context move together (VGF, eq. 7)."""
    return svgd_direction(x, scene.gradient(x), alpha=scene.alpha, bandwidth=scene.bandwidth)


# --- inside the flow: (v, g)(x_t, k) --------------------------------------------------------------


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
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        v = scene.velocity(x, k)
        estimate = scene.denoised(x, v, k)
        clipped = scene.clip(estimate)
        if straight_through:
            clipped = estimate + (clipped - estimate).detach()
        g = gradient_of(scene.value(clipped).sum(), x)
    return v.detach(), g


def noisy(scene: Landscape, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """QFQL: grad Q at the noisy particle, where the critic was never trained (QGF's 'OOD' baseline)."""
    return scene.velocity(x, k), scene.gradient(x)


def bptt(scene: Landscape, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """BPTT (QGF, eq. 6): grad of Q at the end of the reference ODE, back through all its remaining steps."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        v = scene.velocity(x, k)
        end = scene.carry(x + v / scene.flow_steps, start=k + 1)
        g = gradient_of(scene.value(scene.clip(end)).sum(), x)
    return v.detach(), g
