"""Networks that only some transport rules need, by the name under which a run trains them.

``gradient``  f(s, x) ~ grad_x Q(s, x)                          rule a_vgf
``noisy``     Q_r(s, x_t, t) ~ E[Q(s, x_1) | x_t], E heads      rule robust_q
``flow_map``  average velocity of the posterior flow            rule qpilots_m
``optimal``   velocity of the data's better actions             rule cfgrl
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vgf.nets.mlp import MLP, time_embedding

__all__ = ["EXTRAS", "FlowMap", "GradientNet", "NoisyCritic", "OptimalFlow", "extras_for", "networks_for"]

_TIME_FEATURES = 16


class GradientNet(nn.Module):
    """Amortised value gradient f(s, x): s [K, S], x [K, D] -> [K, D] (A-VGF)."""

    def __init__(self, observation: int, particle: int, hidden: Sequence[int], heads: int) -> None:
        super().__init__()
        self.net = MLP(observation + particle, particle, hidden)

    def forward(self, s: Tensor, x: Tensor) -> Tensor:
        return self.net(torch.cat([s, x], dim=-1))[0]


class NoisyCritic(nn.Module):
    """Critics of noisy particles Q_r(s, x_t, t): s [K, S], x [K, D], t [K, 1] -> [E, K] (RobustQ)."""

    def __init__(self, observation: int, particle: int, hidden: Sequence[int], heads: int) -> None:
        super().__init__()
        self.net = MLP(observation + particle + _TIME_FEATURES, 1, hidden, heads=heads)

    def forward(self, s: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return self.net(torch.cat([s, x, time_embedding(t)], dim=-1)).squeeze(-1)


class FlowMap(nn.Module):
    """Meta flow map of the posterior p(x_1 | x_t): average velocity w over inner times s to u (QPILOTS-M).

    X_{s,u} = I_s + (u - s) w(s, u, I_s; t, x_t); one step from inner noise, X_{0,1}, is a sample of
    the clean particle. ``average`` has a Polyak target that samples with less jitter.
    """

    def __init__(self, observation: int, particle: int, hidden: Sequence[int], heads: int) -> None:
        super().__init__()
        self.online = MLP(observation + 2 * particle + 3 * _TIME_FEATURES, particle, hidden)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def average(self, context: Tensor, x_t: Tensor, t: Tensor, inner: Tensor, s: Tensor, u: Tensor) -> Tensor:
        """w(s, u, I_s; t, x_t), online network: [K, D]."""
        return self._evaluate(self.online, context, x_t, t, inner, s, u)

    def forward(self, context: Tensor, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """One-step posterior sample by the target network, a ``PosteriorSampler``: [K, D]."""
        zero, one = torch.zeros_like(t), torch.ones_like(t)
        return eps + self._evaluate(self.target, context, x_t, t, eps, zero, one)

    @staticmethod
    def _evaluate(net: MLP, c: Tensor, x_t: Tensor, t: Tensor, inner: Tensor, s: Tensor, u: Tensor) -> Tensor:
        times = [time_embedding(time) for time in (t, s, u)]
        return net(torch.cat([c, x_t, inner, *times], dim=-1))[0]


class OptimalFlow(nn.Module):
    """Velocity v(s, x, t | optimal) of data actions with a positive advantage: -> [K, D] (CFGRL)."""

    def __init__(self, observation: int, particle: int, hidden: Sequence[int], heads: int) -> None:
        super().__init__()
        self.net = MLP(observation + particle + _TIME_FEATURES, particle, hidden)

    def forward(self, s: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return self.net(torch.cat([s, x, time_embedding(t)], dim=-1))[0]


# name -> (network, the rule option it is given as)
EXTRAS: dict[str, tuple[type[nn.Module], str]] = {
    "gradient": (GradientNet, "gradient"),
    "noisy": (NoisyCritic, "noisy_critic"),
    "flow_map": (FlowMap, "sampler"),
    "optimal": (OptimalFlow, "optimal"),
}


def extras_for(options: Mapping[str, bool]) -> list[str]:
    """Names of the extras that are among a rule's options."""
    return [name for name, (_, option) in EXTRAS.items() if option in options]


def networks_for(options: Mapping[str, bool], extras: nn.ModuleDict) -> dict[str, Any]:
    """The trained networks among a rule's options, by option name."""
    return {EXTRAS[name][1]: extras[name] for name in extras_for(options) if name in extras}
