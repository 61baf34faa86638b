r"""Sources of particles: networks that carry noise x_0 ~ N(0, I) to actions, each as a velocity v(s, x, t).

Whatever carries the noise, transport rules see a velocity and a number of Euler steps:

``flow``           v(s, x, t) learned by flow matching
``gaussian``       N(mu(s), sigma(s)^2): the straight path from x_0 to mu + sigma x_0 has the velocity
                   mu + (sigma - 1) x_0 with x_0 = (x - t mu) / (1 - t + t sigma); any number of steps is exact
``one_step``       a map a = g(s, x_0) (FQL): v = g(s, x) - x            one step
``deterministic``  a = tanh(mu(s)), whatever the noise (ReBRAC): v = a - x    one step

``prepared_velocity()`` binds the observations, each for N rows of x, and leaves a function of x and t: what the
parameters decide is computed once, and what the observation alone decides not again for every particle and step.

A source's ``steps`` are the Euler steps it takes (None: as configured). ``linear_path``: its velocity is that of flow
matching, where x_0 and x_1 are independent; rules that sample the posterior of x_1 need one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vgf.nets.mlp import MLP, time_embedding

__all__ = ["SOURCES", "Deterministic", "Flow", "Gaussian", "OneStep"]

Conditioned = Callable[[Tensor, Tensor], Tensor]  # x [K, D], t [K, 1] -> [K, D]
Given = Callable[[Tensor, int], Conditioned]  # s [K, S], N -> x [K * N, D], t [K * N, 1] -> [K * N, D]

_TIME_FEATURES = 16
_LOG_STD = (-5.0, 1.0)


class Flow(MLP):
    """Velocity network v(s, x, t): s [K, S], x [K, D], t [K, 1] -> [K, D]."""

    steps: ClassVar[int | None] = None
    linear_path: ClassVar[bool] = True

    def __init__(self, observation: int, particle: int, hidden: Sequence[int], **style: Any) -> None:
        super().__init__(observation + particle + _TIME_FEATURES, particle, hidden, **style)

    def velocity(self, s: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return self(torch.cat([s, x, time_embedding(t)], dim=-1))[0]

    def prepared_velocity(self) -> Given:
        given = self.prepared()

        def velocity(s: Tensor, times: int) -> Conditioned:
            rest = given(s, times)
            return lambda x, t: rest(torch.cat([x, time_embedding(t)], dim=-1))[0]

        return velocity


class Gaussian(MLP):
    """Diagonal Gaussian policy with state-dependent spread; the mean is not squashed, the box clips samples."""

    steps: ClassVar[int | None] = None
    linear_path: ClassVar[bool] = False

    def __init__(self, observation: int, particle: int, hidden: Sequence[int], **style: Any) -> None:
        super().__init__(observation, 2 * particle, hidden, **style)

    def moments(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation: s [K, S] -> [K, D] each; the latter within [-5, 1]."""
        mean, log_std = self(s)[0].chunk(2, dim=-1)
        low, high = _LOG_STD
        return mean, low + (high - low) * torch.sigmoid(log_std)

    def velocity(self, s: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return self._velocity_given(s, 1)(x, t)

    def prepared_velocity(self) -> Given:
        return self._velocity_given

    def _velocity_given(self, s: Tensor, times: int) -> Conditioned:
        mean, log_std = (moment.repeat_interleave(times, dim=0) for moment in self.moments(s))
        std = log_std.exp()
        return lambda x, t: mean + (std - 1) * ((x - t * mean) / (1 - t + t * std))


class OneStep(MLP):
    """One-step policy a = g(s, x_0), FQL's: s [K, S], x_0 [K, D] -> [K, D]."""

    steps: ClassVar[int | None] = 1
    linear_path: ClassVar[bool] = False

    def __init__(self, observation: int, particle: int, hidden: Sequence[int], **style: Any) -> None:
        super().__init__(observation + particle, particle, hidden, **style)

    def action(self, s: Tensor, noise: Tensor) -> Tensor:
        return self(torch.cat([s, noise], dim=-1))[0]

    def velocity(self, s: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return self.action(s, x) - x

    def prepared_velocity(self) -> Given:
        given = self.prepared()

        def velocity(s: Tensor, times: int) -> Conditioned:
            rest = given(s, times)
            return lambda x, t: rest(x)[0] - x

        return velocity


class Deterministic(nn.Module):
    """Deterministic policy a = tanh(mu(s)) with a Polyak target, ReBRAC's actor: s [K, S] -> [K, D]."""

    steps: ClassVar[int | None] = 1
    linear_path: ClassVar[bool] = False

    def __init__(self, observation: int, particle: int, hidden: Sequence[int], **style: Any) -> None:
        super().__init__()
        self.online = MLP(observation, particle, hidden, **style)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def action(self, s: Tensor) -> Tensor:
        return self.online(s)[0].tanh()

    def target_action(self, s: Tensor) -> Tensor:
        return self.target(s)[0].tanh()

    def velocity(self, s: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return self._velocity_given(s, 1)(x, t)

    def prepared_velocity(self) -> Given:
        return self._velocity_given

    def _velocity_given(self, s: Tensor, times: int) -> Conditioned:
        action = self.action(s).repeat_interleave(times, dim=0)
        return lambda x, t: action - x


SOURCES: dict[str, Any] = {"flow": Flow, "gaussian": Gaussian, "one_step": OneStep, "deterministic": Deterministic}
