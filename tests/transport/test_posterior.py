"""Posterior samples from the reference flow, and what they make of QPILOTS-M, where everything is known exactly.

Data N(m, s^2) in one dimension; along the path x_t = (1-t) x_0 + t x_1 everything is Gaussian:

    p(x_t) = N(t m, c_t), c_t = t^2 s^2 + (1-t)^2
    p(x_1 | x_t) = N(m + t s^2 / c_t (x_t - t m), s^2 (1-t)^2 / c_t)
"""

from __future__ import annotations

import torch
from torch import Tensor

from vgf import Budget, transport
from vgf.transport.posterior import glass_sampler, glass_velocity

MEAN, STD = 0.4, 0.5
PULL, GOAL = 3.0, -1.0  # Q(x) = -PULL/2 (x - GOAL)^2


def posterior_moments(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    variance = t**2 * STD**2 + (1 - t) ** 2
    mean = MEAN + t * STD**2 / variance * (x_t - t * MEAN)
    return mean, STD * (1 - t) / variance.sqrt()


def velocity(_: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """E[x_1 - x_0 | x_t] = (E[x_1 | x_t] - x_t) / (1 - t), exact for t < 1."""
    clean, _ = posterior_moments(x, t)
    return (clean - x) / (1 - t)


def exact_sampler(_: Tensor, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    mean, std = posterior_moments(x_t, t)
    return mean + std * eps


def critic(_: Tensor, x: Tensor) -> Tensor:
    return -PULL / 2 * (x - GOAL).square().sum(-1)[None]


def test_glass_flow_ends_in_the_posterior():
    """Deterministic map eps -> x_1 of a Gaussian flow: affine, so two noises pin mean and standard deviation."""
    sampler = glass_sampler(velocity, steps=400)
    context = torch.zeros(3, 1, dtype=torch.float64)
    x_t = torch.tensor([[-1.2], [0.3], [0.9]], dtype=torch.float64)
    t = torch.tensor([[0.2], [0.5], [0.8]], dtype=torch.float64)
    zero, one = (sampler(context, x_t, t, torch.full_like(x_t, eps)) for eps in (0.0, 1.0))
    mean, std = posterior_moments(x_t, t)
    torch.testing.assert_close(zero, mean, atol=5e-3, rtol=0)
    torch.testing.assert_close(one - zero, std, atol=5e-3, rtol=0)


def test_glass_velocity_without_outer_information_is_the_reference():
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    s = torch.full_like(x, 0.3)
    unseen = torch.full_like(x, 7.0)  # x_t says nothing at t = 0
    actual = glass_velocity(velocity, x, unseen, torch.zeros_like(x), x, s)
    torch.testing.assert_close(actual, velocity(x, x, s))


def test_glass_velocity_is_finite_where_both_times_are_zero():
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    zero = torch.zeros(4, 1)
    assert glass_velocity(velocity, x, x, zero, x, zero).isfinite().all()


def test_one_point_posterior_is_qpilots_u():
    generator = torch.Generator().manual_seed(0)
    context, noise = torch.zeros(2, 1), torch.randn(2, 3, 1, generator=generator)

    def one_point(context: Tensor, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        return x + (1 - t) * velocity(context, x, t)

    for size in (0.1, 0.7):
        shared = {"budget": Budget(size=size), "critic": critic, "velocity": velocity}
        posterior = transport("qpilots_m", context, noise, sampler=one_point, samples=3, **shared)
        torch.testing.assert_close(posterior.particles, transport("qpilots_u", context, noise, **shared).particles)


def test_a_flow_map_that_is_exact_gives_what_the_glass_rule_gives():
    generator = torch.Generator().manual_seed(0)
    context, noise = torch.zeros(2, 1), torch.randn(2, 3, 1, generator=generator)
    shared = {"budget": Budget(size=0.4), "critic": critic, "velocity": velocity, "samples": 3, "step": "raw"}
    learned = transport("qpilots_m", context, noise, sampler=glass_sampler(velocity, 5), **shared)
    exact = transport("qpilots_g", context, noise, inner_steps=5, **shared)
    assert torch.equal(learned.particles, exact.particles)
    assert not torch.equal(transport("qpilots_g", context, noise, inner_steps=2, **shared).particles, exact.particles)


def tilted_moments(rule: str, **options) -> tuple[float, float]:
    """Mean and standard deviation of a rule's particles under the schedule of Prop. 1."""
    noise = torch.randn(1, 6_000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved = transport(
        rule,
        torch.zeros(1, 1, dtype=torch.float64),
        noise,
        budget=Budget(size=1.0),
        critic=critic,
        velocity=velocity,
        flow_steps=200,
        step="tilt",
        skip_first=True,
        low=-50.0,
        high=50.0,
        twins=False,
        **options,
    )
    return moved.particles.mean().item(), moved.particles.std().item()


def test_exact_posterior_reaches_the_tilted_law():
    """p(x) exp(Q(x)) is Gaussian: precisions add, means are weighted by them."""
    precision = 1 / STD**2 + PULL
    mean, std = tilted_moments("qpilots_m", sampler=exact_sampler, samples=48)
    assert abs(mean - (MEAN / STD**2 + PULL * GOAL) / precision) < 0.03
    assert abs(std - precision**-0.5) < 0.03


def test_one_point_estimate_has_the_bias_that_theory_gives():
    """Q at the posterior mean ignores the posterior's spread, so it pulls too hard: past the exact mean, too narrow."""
    precision = 1 / STD**2 + PULL
    exact_mean, exact_std = (MEAN / STD**2 + PULL * GOAL) / precision, precision**-0.5
    mean, std = tilted_moments("qpilots_u")
    assert mean < exact_mean - 0.05
    assert std < exact_std - 0.02
