r"""Distances between moved particles and the reference.

``travelled``  per particle, from its twin: the currency in which all rules are compared
``w_inf_bound``, ``mmd``, ``w2``  per context, between the two clouds of particles

A particle and its twin share their noise, so pairing them is a coupling of the two laws. Its largest
distance bounds :math:`W_\infty` from above, which in turn bounds the others (VGF, section 4):

.. math:: W_2 \le W_\infty \le \max_i \|x_i - x_i'\|, \qquad
          \mathrm{MMD}^2 \le \frac{2}{\sigma \sqrt e} W_1 \le \frac{2}{\sigma \sqrt e} W_\infty
"""

from __future__ import annotations

import torch
from torch import Tensor

from vgf.transport.kernels import rbf_kernel

__all__ = ["mmd", "travelled", "w2", "w_inf_bound"]


def travelled(particles: Tensor, twins: Tensor) -> Tensor:
    """RMS distance per coordinate of each particle from its twin: [B, N, D] -> [B, N], in units of x.

    The one currency in which all rules are compared.
    """
    return (particles - twins).square().mean(-1).sqrt()


def w_inf_bound(particles: Tensor, twins: Tensor) -> Tensor:
    """Largest Euclidean distance of a particle from its twin, an upper bound on W_inf: [B, N, D] -> [B]."""
    return (particles - twins).norm(dim=-1).amax(-1)


def mmd(particles: Tensor, reference: Tensor, bandwidth: float | Tensor | None = None) -> Tensor:
    """Maximum mean discrepancy with an RBF kernel: [B, N, D], [B, M, D] -> [B], in [0, sqrt(2)].

    The biased (V-statistic) estimate, so that equal clouds are at distance zero.

    Args:
        bandwidth: sigma, see :func:`vgf.transport.kernels.rbf_kernel`; by default the median heuristic on
            the reference, which does not change with the budget. It has no scale for a reference whose particles
            coincide, that of a deterministic policy: NaN.
    """
    reference_kernel, sigma = rbf_kernel(reference, reference, bandwidth)
    own, _ = rbf_kernel(particles, particles, sigma)
    cross, _ = rbf_kernel(particles, reference, sigma)
    squared = own.mean((1, 2)) + reference_kernel.mean((1, 2)) - 2 * cross.mean((1, 2))
    return torch.where(sigma.view(-1) > 0, squared.clamp_min(0).sqrt(), torch.nan)


def w2(particles: Tensor, reference: Tensor) -> Tensor:
    """2-Wasserstein distance of two clouds by exact optimal transport (POT): [B, N, D], [B, M, D] -> [B]."""
    import ot  # takes a second to import, and only reports need it

    costs = torch.cdist(particles.double(), reference.double()).square().cpu().numpy()  # [B, N, M]
    squared = [max(float(ot.emd2([], [], cost)), 0.0) for cost in costs]
    return torch.tensor(squared, dtype=particles.dtype, device=particles.device).sqrt()
