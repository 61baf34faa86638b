"""Target networks: moving averages (Polyak) of the networks that are trained."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from vgf.nets.actor_critic import ActorCritic

__all__ = ["Targets"]


class Targets:
    """The target networks of a run, parameter by parameter.

    Args:
        networks: the target of a parameter that is not trained stays as it is.
        rate: share of the way that a target goes at a time, in (0, 1].
    """

    def __init__(self, networks: ActorCritic, rate: float) -> None:
        self.rate = rate
        self._of: dict[Tensor, Tensor] = {
            online: target
            for average, network in networks.averaged()
            for target, online in zip(average.parameters(), network.parameters(), strict=True)
            if online.requires_grad
        }

    @torch.no_grad()
    def follow(self, parameters: Iterable[Tensor]) -> None:
        """Move the targets of these parameters towards them: target <- (1 - rate) target + rate online."""
        onlines = [parameter for parameter in parameters if parameter in self._of]
        if onlines:
            torch._foreach_lerp_([self._of[online] for online in onlines], onlines, self.rate)
