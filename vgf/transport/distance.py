"""Distances between moved particles and their twins."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["travelled", "within_radius"]


def travelled(particles: Tensor, twins: Tensor) -> Tensor:
    """RMS distance per coordinate of each particle from its twin: [B, N, D] -> [B, N], in units of x.

    The one currency in which all rules, and both domains, are compared.
    """
    return (particles - twins).square().mean(-1).sqrt()


def within_radius(particles: Tensor, twins: Tensor, radius: float | None) -> Tensor:
    """Pull particles back along the line to their twins until ``travelled <= radius``.

    The box is convex, so a particle in the box stays in it. The limit is hard: the last rounding
    error of the pull is allowed for, and a radius below it gives the twin itself.
    """
    if radius is None:
        return particles
    distance = travelled(particles, twins).unsqueeze(-1)  # [B, N, 1]
    rounding = 2 * torch.finfo(particles.dtype).eps * twins.abs().amax(-1, keepdim=True).clamp_min(radius)
    pull = (radius - rounding).clamp_min(0) / distance.clamp_min(torch.finfo(particles.dtype).tiny)
    return torch.where(distance > radius, twins + pull * (particles - twins), particles)
