"""Limits: where a particle stops, whatever its field says.

``radius``     never further than this from its twin
``gate``       not where the critics disagree much more than they do at its twin
``keep_best``  not where the critic values it less than its twin

All three are hard: they hold for the particles that ``transport`` returns, for every rule.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vgf.transport.distance import travelled
from vgf.transport.landscape import Landscape

__all__ = ["Gate", "finite_or", "kept_best", "within_radius"]


def finite_or(moved: Tensor, stayed: Tensor) -> Tensor:
    """``moved``, but ``stayed`` for entries that are no number: a huge gradient can take a network out of its range."""
    return torch.where(moved.isfinite(), moved, stayed)


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
    pulled = twins + pull * (particles - twins)
    pulled = torch.where(pulled.isfinite(), pulled, twins)  # a particle that is no number has nowhere else to be
    return torch.where(distance <= radius, particles, pulled)


class Gate:
    """Stops a particle for good once the critics' disagreement has grown past ``ratio`` times that at its twin.

    Disagreement is the standard deviation over the ensemble's heads. A large one marks places the data
    do not cover, where a gradient leads nowhere. (The gate of SmolVLA's Guided Action Flow damps a move by
    exp(-a std) instead; stopping keeps the limit checkable.)
    """

    def __init__(self, scene: Landscape, twins: Tensor | None, ratio: float | None) -> None:
        self._scene, self._twins = scene, twins
        self._limit: Tensor | None = None  # [B, N]
        if ratio is not None and twins is not None:
            self._limit = ratio * scene.disagreement(twins)
            self._free = torch.ones_like(self._limit, dtype=torch.bool)

    def choose(self, moving: Tensor, stopped: Tensor, *, at: Tensor) -> Tensor:
        """``moving`` for the particles that were never stopped and may be at ``at``, else ``stopped``: [B, N, D]."""
        if self._limit is None:
            return moving
        self._free &= self._scene.disagreement(at) <= self._limit
        return torch.where(self._free.unsqueeze(-1), moving, stopped)

    def settle(self, x: Tensor) -> Tensor:
        """The twin for particles that ended where the critics disagree too much all the same."""
        if self._limit is None or self._twins is None:
            return x
        return torch.where((self._scene.disagreement(x) <= self._limit).unsqueeze(-1), x, self._twins)


def kept_best(scene: Landscape, x: Tensor, twins: Tensor) -> Tensor:
    """The twin for every particle that is not worth more than its twin."""
    return torch.where((scene.value(x) > scene.value(twins)).unsqueeze(-1), x, twins)
