"""Small differentiable problems that every rule can be run on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vgf.transport import RULES, transport

STATE, ACTION, HEADS = 3, 2, 2
every_rule = pytest.mark.parametrize("rule", list(RULES))
moving_rule = pytest.mark.parametrize("rule", [r for r in RULES if RULES[r].where != "nowhere"])


class SmallProblem:
    """Random smooth networks: critic, reference velocity, and what single rules ask for besides."""

    def __init__(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> None:
        generator = torch.Generator().manual_seed(seed)

        def dense(inputs: int, outputs: int) -> nn.Linear:
            layer = nn.Linear(inputs, outputs, dtype=dtype)
            for parameter in layer.parameters():
                parameter.data = torch.randn(parameter.shape, generator=generator, dtype=dtype) / inputs**0.5
            return layer

        self.q = nn.Sequential(dense(STATE + ACTION, 16), nn.Tanh(), dense(16, HEADS))
        self.v = nn.Sequential(dense(STATE + ACTION + 1, 16), nn.Tanh(), dense(16, ACTION))
        self.f = dense(STATE + ACTION, ACTION)
        self.dtype = dtype

    def to(self, device: str) -> SmallProblem:
        for net in (self.q, self.v, self.f):
            net.to(device)
        return self

    def critic(self, s: Tensor, x: Tensor) -> Tensor:
        return self.q(torch.cat([s, x], -1)).T

    def velocity(self, s: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return self.v(torch.cat([s, x, t], -1))

    def sampler(self, s: Tensor, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        return x + (1 - t) * (self.velocity(s, x, t) + 0.3 * eps)

    def options(self, rule: str) -> dict[str, Any]:
        """Networks that the rule takes as options."""
        offered: dict[str, Callable[..., Tensor]] = {
            "gradient": lambda s, x: self.f(torch.cat([s, x], -1)),
            "noisy_critic": lambda s, x, t: self.critic(s, x) * (1 + t.T),
            "sampler": self.sampler,
            "optimal": lambda s, x, t: 2 * self.velocity(s, x, t) + self.f(torch.cat([s, x], -1)),
        }
        return {name: offered[name] for name in RULES[rule].options if name in offered}

    def draw(self, contexts: int, particles: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Contexts [B, STATE] and noise [B, N, ACTION]."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(contexts, particles, ACTION, generator=generator, dtype=self.dtype)
        return torch.randn(contexts, STATE, generator=generator, dtype=self.dtype), noise

    def arguments(self, rule: str) -> dict[str, Any]:
        """Keyword arguments with which every rule starts from noise."""
        return {
            "critic": self.critic,
            "velocity": self.velocity,
            "flow_steps": 5,
            "start_is_noise": True,
            **self.options(rule),
        }


def euler(velocity: Callable[..., Tensor], s: Tensor, noise: Tensor, steps: int) -> Tensor:
    """The reference, written out: Euler integration of every particle, then the box."""
    context = s.repeat_interleave(noise.shape[1], 0)
    x = noise
    for k in range(steps):
        flat = x.flatten(0, 1)
        x = x + velocity(context, flat, flat.new_full((len(flat), 1), k / steps)).view(x.shape) / steps
    return x.clamp(-1, 1)


def move(rule: str, problem: SmallProblem, start: tuple[Tensor, Tensor], budget: Any, **changes: Any) -> Any:
    """``transport`` from the problem's start, with what the rule needs."""
    context, noise = start
    return transport(rule, context, noise, budget=budget, **(problem.arguments(rule) | changes))
