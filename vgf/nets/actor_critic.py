"""The networks of one run: reference flow, critic ensemble and its target, state value."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from vgf.nets.extras import EXTRAS, FlowMap
from vgf.nets.mlp import MLP, time_embedding

__all__ = ["ActorCritic", "NetSizes"]

_TIME_FEATURES = 16


@dataclass(frozen=True)
class NetSizes:
    """Everything needed to build the networks; stored in the checkpoint's manifest.

    Attributes:
        observation: S, entries of an observation.
        action: A, entries of one action.
        chunk: H, actions played open loop after one observation; a particle has D = H * A entries.
        hidden, layers: width and number of hidden layers of every network.
        heads: E, critics in the ensemble.
        extras: names of ``vgf.nets.extras.EXTRAS`` to build beside the others.
    """

    observation: int
    action: int
    chunk: int = 1
    hidden: int = 512
    layers: int = 4
    heads: int = 2
    extras: tuple[str, ...] = ()

    @property
    def particle(self) -> int:
        """D, entries of a particle: a flattened action chunk."""
        return self.chunk * self.action


class ActorCritic(nn.Module):
    """Flow policy v(s, x, t), critics Q_e(s, x), their Polyak target, and V(s).

    The methods have the call signatures that ``vgf.transport`` expects of a critic and a velocity.
    """

    def __init__(self, sizes: NetSizes) -> None:
        super().__init__()
        self.sizes = sizes
        hidden = [sizes.hidden] * sizes.layers
        self.flow = MLP(sizes.observation + sizes.particle + _TIME_FEATURES, sizes.particle, hidden)
        self.q = MLP(sizes.observation + sizes.particle, 1, hidden, heads=sizes.heads)
        self.v = MLP(sizes.observation, 1, hidden)
        self.q_target = copy.deepcopy(self.q).requires_grad_(False)
        build = {name: EXTRAS[name][0] for name in sizes.extras}
        self.extras = nn.ModuleDict(
            {name: net(sizes.observation, sizes.particle, hidden, sizes.heads) for name, net in build.items()}
        )

    def velocity(self, s: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Reference velocity: s [K, S], x [K, D], t [K, 1] -> [K, D]."""
        return self.flow(torch.cat([s, x, time_embedding(t)], dim=-1))[0]

    def critic(self, s: Tensor, x: Tensor) -> Tensor:
        """Online critics: s [K, S], x [K, D] -> [E, K]."""
        return self.q(torch.cat([s, x], dim=-1)).squeeze(-1)

    def target_critic(self, s: Tensor, x: Tensor) -> Tensor:
        """Polyak-averaged critics: s [K, S], x [K, D] -> [E, K]."""
        return self.q_target(torch.cat([s, x], dim=-1)).squeeze(-1)

    def value(self, s: Tensor) -> Tensor:
        """State value: s [K, S] -> [K]."""
        return self.v(s)[0, :, 0]

    @torch.no_grad()
    def update_target(self, rate: float) -> None:
        """Move target networks towards the online ones: target <- (1 - rate) target + rate online."""
        pairs = [(self.q_target, self.q)]
        if "flow_map" in self.extras:
            flow_map = cast(FlowMap, self.extras["flow_map"])
            pairs.append((flow_map.target, flow_map.online))
        for target, online in pairs:
            torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), rate)
