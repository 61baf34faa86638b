"""Three problems of one or two dimensions whose reference flow is exact and whose right answer is known.

``bandit``    Two reward bumps in the plane (VGF's toy). 70 % of the data lie on the poorer bump, 30 % on the flank of
              the better one, hardly any near its top. The critic is learned from noisy rewards of these data, so
              its extrapolation is honest: about right at the better top, too high beyond it.
``trimodal``  Data with three modes in one dimension and Q(a) = -(a - a*)^2 (QGF, Figures 2 and 14), a* on the middle
              one. Positions, weights and the number of Euler steps of the paper are not published; these are ours.
``gaussian``  Gaussian data and Q(a) = -P/2 (a - G)^2: the reference tilted by exp(Q) is known, and inside rules use
              the schedule of QPILOTS, Prop. 1 (step ``tilt``, size 1, first Euler step unguided).

What the noisy field (``qfql``) does on ``trimodal``: it pulls x_t to a* although particles bound for a* are then at
t a*. That place lies on the way to the outer mode: as the weight grows from 0.1 to 7, next to none land at a*, fewer
than without guidance; they come to rest where the pull of Q and that of the outer mode balance. The published "wrong
mode at any weight" has two limits. The balance moves towards a* like 1 / weight, so with many Euler steps (100) a
weight of 8 and more does reach a*: the pull then outweighs the reference and pins every particle to the maximum of
Q. With the 10 steps used here, particles overshoot at 8, where about half of them land at a* by that accident, and
from 9 on, close to the number of steps, Euler's method is unstable and throws them to the border of the box.

``qgf`` on ``bandit``: at the larger weight nearly all particles end on the poorer bump. Early in the flow the denoised
estimate of every particle is near the mean of the data, where the nearer, poorer bump pulls, and with the Jacobian
taken to be the identity they all follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vgf.nets import MLP
from vgf.tasks.toy_mixture import Mixture
from vgf.transport import Budget
from vgf.transport.landscape import Critic

__all__ = [
    "BANDIT_RADIUS", "BETTER", "GOAL", "PULL", "TARGET", "Problem", "bandit", "bandit_reward", "gaussian",
    "normal_quantiles", "trimodal",
]  # fmt: skip

BETTER, POORER = (0.45, 0.4), (-0.45, -0.3)  # tops of the bumps, worth 1 and 0.6
BANDIT_RADIUS = 0.2  # a particle this close to the better top earns at least 0.77
_WIDTH = 0.28
TARGET = 0.6  # a*
_MODE_STD = 0.08
PULL, GOAL = 3.0, -1.0  # P and G
_MEAN, _STD = 0.4, 0.5
_AFTER = (Budget(10, 0.02), Budget(10, 0.05))
_RELATIVE = (Budget(size=0.3), Budget(size=1.0))  # of norm-matched steps: parts of the velocity


@dataclass(frozen=True)
class Problem:
    """What ``transport`` needs, and how the result is judged.

    Attributes:
        name: as in the table.
        data: the reference.
        critic: what the rules see; ``truth``: [..., D] -> [...], what scores them.
        noise: [B, N, D], one group of N particles a row.
        flow_steps: Euler steps; ``low``, ``high``: the box.
        budgets: (where, step) of a rule -> its budgets, the same for every seed. Rules not named keep their default.
        options: options that rules may ask for, by name, in place of networks.
        schedule: further arguments of rules inside the flow.
        learned: the critic is a network, not the truth.
        choose: the most valued particle of each group acts, whatever the rule; else only ``best_of_n`` chooses.
        in_best_mode: [..., D] -> [...] bool.
        tilted: mean and standard deviation of the reference tilted by exp(Q).
        samples: the data the critic saw [R, D].
    """

    name: str
    data: Mixture
    critic: Critic
    truth: Callable[[Tensor], Tensor]
    noise: Tensor
    flow_steps: int
    low: float
    high: float
    budgets: Mapping[tuple[str, str], tuple[Budget, ...]]
    options: Mapping[str, Any]
    schedule: Mapping[str, Any] = field(default_factory=dict)
    learned: bool = False
    choose: bool = False
    in_best_mode: Callable[[Tensor], Tensor] | None = None
    tilted: tuple[float, float] | None = None
    samples: Tensor | None = None


def bandit_reward(a: Tensor) -> Tensor:
    """True reward of the bandit, two bumps of heights 1 and 0.6: [..., 2] -> [...]."""
    return _bump(a, BETTER) + 0.6 * _bump(a, POORER)


def bandit(seed: int, *, samples: int = 1000, updates: int = 800) -> Problem:
    """Two-bump bandit. ``robust_q`` is left out: E[Q(x_1) | x_t] of a network has no closed form."""
    generator = torch.Generator().manual_seed(seed)
    data = Mixture([0.7, 0.3], [POORER, (0.22, 0.17)], [0.15, 0.12])
    actions = data.sample(samples, generator)
    rewards = bandit_reward(actions) + 0.1 * torch.randn(samples, generator=generator, dtype=torch.float64)
    net = _learn(actions, rewards, updates, generator)

    def critic(_: Tensor, a: Tensor) -> Tensor:
        return net(a)[..., 0]

    return Problem(
        name="bandit",
        data=data,
        critic=critic,
        truth=bandit_reward,
        noise=torch.randn(32, 16, 2, generator=generator, dtype=torch.float64),
        flow_steps=10,
        low=-1.0,
        high=1.0,
        budgets=_budgets(raw=(Budget(size=0.3), Budget(size=1.0)), norm_matched=_RELATIVE),
        options={"gradient": _gradient_of_mean(critic), "sampler": data.sampler()},
        learned=True,
        choose=True,
        in_best_mode=lambda a: (a - a.new_tensor(BETTER)).norm(dim=-1) < BANDIT_RADIUS,
        samples=actions,
    )


def trimodal(seed: int, *, flow_steps: int = 10) -> Problem:
    """Three modes at -0.9, 0.6 and 0.9 with 1/6, 1/6 and 2/3 of the data; at a* = 0.6 means within one std."""
    generator = torch.Generator().manual_seed(seed)
    data = Mixture([1, 1, 4], [[-0.9], [TARGET], [0.9]], [_MODE_STD] * 3)

    def critic(_: Tensor, a: Tensor) -> Tensor:
        return -(a - TARGET).square().sum(-1)[None]

    return Problem(
        name="trimodal",
        data=data,
        critic=critic,
        truth=lambda a: -(a - TARGET).square().sum(-1),
        noise=torch.randn(40, 8, 1, generator=generator, dtype=torch.float64),
        flow_steps=flow_steps,
        low=-1.0,
        high=1.0,
        budgets=_budgets(raw=(Budget(size=1.0), Budget(size=3.0)), norm_matched=_RELATIVE),
        options={
            "gradient": _gradient_of_mean(critic),
            "sampler": data.sampler(),
            "noisy_critic": lambda _, x, t: -data.expected_square(x, t, TARGET)[None],
        },
        in_best_mode=lambda a: (a[..., 0] - TARGET).abs() < _MODE_STD,
    )


def gaussian(seed: int, *, flow_steps: int = 100) -> Problem:
    r"""Gaussian data N(m, s^2), Q = -P/2 (x - G)^2; one-point fields are linear, so they end in a Gaussian.

    The tilted law is N((m / s^2 + P G) / p, 1 / p), p = 1 / s^2 + P. What the one-point fields reach instead:
    with z = t s / (1 - t), h = P s^2 / 2 and deviations measured in units of the reference's own spread sqrt(c_t),
    the guided ODE x' = v + (1 - t) / t J Q'(E[x_1 | x_t]) becomes, for J = dE[x_1 | x_t] / dx_t (``qpilots_u``,
    ``qgf_jacobian``, and ``robust_q``, since E[Q(x_1) | x_t] differs from Q(E[x_1 | x_t]) by a constant here),

    .. math:: y' = -P s (m - G) (1 + z^2)^{-3/2} - 2 h z (1 + z^2)^{-2} y, \quad z \in (0, \infty)

    which integrates to (the integral is Dawson's function of sqrt(h), over sqrt(h))

    .. math:: std = s e^{-h}, \quad mean = m - 2 h (m - G) \int_0^1 e^{-h (1 - q^2)} dq

    against s (1 + 2h)^{-1/2} and m - 2h / (1 + 2h) (m - G) for the exact tilt: too narrow, and pulled too far.
    With J := 1 (``qgf``) the spread has a limit too,

    .. math:: std = s \exp[-P s^2 (s \pi / 2 - \ln s) / (1 + s^2)]

    but the mean has none: without the Jacobian, which vanishes like t, the (1 - t) / t of the schedule is not
    integrable at 0, and every halving of the first guided time moves the mean by the same amount again.
    """
    generator = torch.Generator().manual_seed(seed)
    data = Mixture([1.0], [[_MEAN]], [_STD])

    def critic(_: Tensor, a: Tensor) -> Tensor:
        return -PULL / 2 * (a - GOAL).square().sum(-1)[None]

    precision = 1 / _STD**2 + PULL
    noise = normal_quantiles(64 * 8)[torch.randperm(64 * 8, generator=generator)]
    return Problem(
        name="gaussian",
        data=data,
        critic=critic,
        truth=lambda a: -PULL / 2 * (a - GOAL).square().sum(-1),
        noise=noise.view(64, 8, 1),
        flow_steps=flow_steps,
        low=-50.0,
        high=50.0,
        budgets={("after", "raw"): _AFTER, ("after", "adam"): _AFTER, ("after", "clipped_adam"): _AFTER},
        options={
            "gradient": _gradient_of_mean(critic),
            "sampler": data.sampler(),
            "samples": 32,
            "noisy_critic": lambda _, x, t: -PULL / 2 * data.expected_square(x, t, GOAL)[None],
        },
        schedule={"step": "tilt", "skip_first": True},
        tilted=((_MEAN / _STD**2 + PULL * GOAL) / precision, precision**-0.5),
    )


def normal_quantiles(count: int) -> Tensor:
    """The ``count`` mid-quantiles of N(0, 1), in increasing order."""
    return torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)


def _bump(a: Tensor, top: tuple[float, float]) -> Tensor:
    return (-(a - a.new_tensor(top)).square().sum(-1) / (2 * _WIDTH**2)).exp()


def _budgets(**inside: tuple[Budget, ...]) -> dict[tuple[str, str], tuple[Budget, ...]]:
    after = {("after", step): _AFTER for step in ("raw", "adam", "clipped_adam")}
    return after | {("inside", step): budgets for step, budgets in inside.items()}


def _gradient_of_mean(critic: Critic) -> Callable[[Tensor, Tensor], Tensor]:
    """What an amortised network would learn, exactly: grad of the mean over heads."""

    def gradient(context: Tensor, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(critic(context, x).mean(0).sum(), x)[0]

    return gradient


def _learn(actions: Tensor, rewards: Tensor, updates: int, generator: torch.Generator) -> MLP:
    """Regress rewards on actions: an ensemble of four, minibatches of 128, learning rate falling to zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        net = MLP(2, 1, [64, 64], heads=4).double()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for update in range(updates):
        optimiser.param_groups[0]["lr"] = 3e-3 * 0.5 * (1 + math.cos(math.pi * update / updates))
        rows = torch.randint(len(actions), (128,), generator=generator)
        loss = (net(actions[rows])[..., 0] - rewards[rows]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.requires_grad_(False)
