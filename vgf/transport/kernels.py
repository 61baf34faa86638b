r"""RBF kernel with the median heuristic, and the SVGD direction (VGF, eq. 7).

.. math:: \phi(x_i) = \frac1N \sum_j \big[ k(x_j, x_i) \nabla Q(x_j)/\alpha + \nabla_{x_j} k(x_j, x_i) \big]

Deviation from the authors' code (ryanxhr/vgf): there the repulsion is obtained by automatic
differentiation and its gradient leaks through the median; here, as in textbook SVGD, the bandwidth
is a constant of the move and the repulsion is written in closed form.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["rbf_kernel", "svgd_direction"]

_JITTER = 1e-6  # keeps 2 sigma^2 away from zero when particles coincide, as in the authors' code


def rbf_kernel(x: Tensor, y: Tensor, bandwidth: float | Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the RBF kernel matrix and the bandwidth it was made with.

    K = exp(-d^2 / (2 sigma^2 + 1e-6)). Without a bandwidth, the median heuristic of VGF's code:
    sigma^2 = median(d^2) / (2 log(N + 1)), the median taken over all N*M entries of one context,
    its two middle values averaged.

    Args:
        x: particles [B, N, D].
        y: particles [B, M, D].
        bandwidth: sigma in the units of x, > 0; a number, or a tensor that broadcasts to [B, 1, 1].

    Returns:
        (K [B, N, M], sigma [B, 1, 1]); sigma carries no gradient.
    """
    squared = _squared_distances(x, y)  # [B, N, M]
    if bandwidth is None:
        ordered = squared.detach().flatten(1).sort(1).values
        last = ordered.shape[1] - 1
        median = torch.lerp(ordered[:, last // 2], ordered[:, (last + 1) // 2], 0.5)  # [B]; vmap knows no quantile
        sigma = (median / (2 * math.log(x.shape[1] + 1))).sqrt().view(-1, 1, 1)
    else:
        sigma = torch.as_tensor(bandwidth, dtype=x.dtype, device=x.device).detach().expand(x.shape[0], 1, 1)
    return torch.exp(-squared / (2 * sigma**2 + _JITTER)), sigma


def svgd_direction(
    particles: Tensor, score: Tensor, *, alpha: float = 1.0, bandwidth: float | Tensor | None = None
) -> Tensor:
    """Return the SVGD direction phi [B, N, D]: kernel-averaged score plus repulsion.

    Args:
        particles: [B, N, D].
        score: value gradient at the particles [B, N, D].
        alpha: temperature, > 0. Small: follow the value; large: spread out.
        bandwidth: see :func:`rbf_kernel`.
    """
    with torch.autocast(particles.device.type, enabled=False):  # the spread is a difference of nearly equal numbers
        kernel, sigma = rbf_kernel(particles, particles, bandwidth)
        attraction = kernel @ score / alpha
        # sum_j grad_{x_j} k(x_j, x_i) = sum_j K_ij * 2 (x_i - x_j) / (2 sigma^2 + jitter)
        spread = kernel.sum(-1, keepdim=True) * particles - kernel @ particles
        repulsion = 2 * spread / (2 * sigma**2 + _JITTER)
        return (attraction + repulsion) / particles.shape[1]


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """[B, N, D], [B, M, D] -> [B, N, M], exactly zero where x and y coincide (unlike the |x|^2 - 2xy expansion)."""
    return (x.unsqueeze(2) - y.unsqueeze(1)).square().sum(-1)
