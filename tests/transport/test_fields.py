"""Every field against finite differences in float64."""

from __future__ import annotations

import math

import pytest
import torch
from problems import ACTION, SmallProblem, euler
from torch import Tensor

from vgf import Budget, transport
from vgf.transport import RULES, fields
from vgf.transport.kernels import rbf_kernel, svgd_direction
from vgf.transport.landscape import Landscape, aggregate_heads

STEPS, K = 5, 2
T = K / STEPS


@pytest.fixture
def scene():
    """Particles [2, 3, 2], some of whose denoised estimates lie outside the box."""
    problem = SmallProblem(3)
    context, x = problem.draw(2, 3, 5)
    flat = context.repeat_interleave(3, 0)
    return problem, Landscape(flat, problem.critic, problem.velocity, STEPS, "min", -1.0, 1.0, 0.7, None), x


def differences(value, x: Tensor, h: float = 1e-6) -> Tensor:
    """Central differences of value [B, N] with respect to each particle's own coordinates."""
    g = torch.zeros_like(x)
    for d in range(ACTION):
        shift = torch.zeros(ACTION, dtype=x.dtype)
        shift[d] = h
        g[..., d] = (value(x + shift) - value(x - shift)) / (2 * h)
    return g


def close(ours, numeric):
    torch.testing.assert_close(ours, numeric.detach(), rtol=0, atol=1e-6)


def denoised(scene: Landscape, x: Tensor) -> Tensor:
    return x + (1 - T) * scene.velocity(x, K)


def test_the_box_matters_here(scene):
    _, landscape, x = scene
    assert (denoised(landscape, x).abs() > 1).any()
    assert (denoised(landscape, x).abs() < 1).any()


def test_clean(scene):
    _, landscape, x = scene
    close(fields.clean(landscape, x), differences(landscape.value, x))


def test_denoised_is_taken_at_the_clipped_estimate(scene):
    _, landscape, x = scene
    v, g = fields.denoised(landscape, x, K)
    close(v, landscape.velocity(x, K))
    close(g, differences(landscape.value, denoised(landscape, x).clamp(-1, 1)))


def test_denoised_jacobian(scene):
    _, landscape, x = scene
    _, g = fields.denoised_jacobian(landscape, x, K)
    close(g, differences(lambda x: landscape.value(denoised(landscape, x).clamp(-1, 1)), x))


def test_straight_through_is_the_clipped_gradient_through_the_unclipped_estimate(scene):
    _, landscape, x = scene
    _, g = fields.denoised_jacobian(landscape, x, K, straight_through=True)
    at_clipped = differences(landscape.value, denoised(landscape, x).clamp(-1, 1)).detach()
    close(g, differences(lambda x: (denoised(landscape, x) * at_clipped).sum(-1), x))


def test_noisy(scene):
    _, landscape, x = scene
    close(fields.noisy(landscape, x, K)[1], differences(landscape.value, x))


def test_bptt_goes_through_all_remaining_steps(scene):
    _, landscape, x = scene
    _, g = fields.bptt(landscape, x, K)
    close(g, differences(lambda x: landscape.value(landscape.carry(x, start=K).clamp(-1, 1)), x))


def test_noise_conditioned(scene):
    problem, landscape, x = scene
    noisy_critic = problem.options("robust_q")["noisy_critic"]
    _, g = fields.noise_conditioned(landscape, x, K, noisy_critic=noisy_critic)

    def value(x):
        t = torch.full((6, 1), T, dtype=x.dtype)
        return aggregate_heads(noisy_critic(landscape.context, x.flatten(0, 1), t), "min").view(2, 3)

    close(g, differences(value, x))


def test_posterior_is_the_gradient_of_a_log_mean_exp():
    problem = SmallProblem(3)
    context, x = problem.draw(2, 3, 5)
    flat = context.repeat_interleave(3, 0)
    wide = Landscape(flat, problem.critic, problem.velocity, STEPS, "mean", -50.0, 50.0, 1.0, None)
    _, g = fields.posterior(wide, x, K, sampler=problem.sampler, samples=3, tau=2.0, seed=4)
    generator = torch.Generator().manual_seed(4 * 1_000_003 + K)
    noises = torch.randn(3, 1, ACTION, generator=generator, dtype=x.dtype)

    def value(x):
        rows, t = x.flatten(0, 1), torch.full((6, 1), T, dtype=x.dtype)
        samples = [wide.value(problem.sampler(flat, rows, t, eps.expand_as(rows)).view(x.shape)) for eps in noises]
        return (2.0 * torch.stack(samples)).logsumexp(0) - math.log(3)

    close(g, differences(value, x))


def test_amortised_asks_the_network(scene):
    problem, landscape, x = scene
    gradient = problem.options("a_vgf")["gradient"]
    expected = torch.stack([gradient(landscape.context[3 * b : 3 * b + 3], x[b]) for b in range(2)])
    close(fields.amortised(landscape, x, gradient=gradient), expected.detach())


@pytest.mark.parametrize("bandwidth", [0.4, None])
def test_svgd_is_attraction_plus_the_kernels_gradient(scene, bandwidth):
    """phi_i = 1/N sum_j [k(x_j, x_i) g_j / alpha + grad_{x_j} k(x_j, x_i)], the bandwidth held constant."""
    _, _, x = scene
    score = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    sigma = rbf_kernel(x, x, bandwidth)[1]
    phi = torch.zeros_like(x)
    for i in range(3):
        sources = x.clone().requires_grad_()
        kernel, _ = rbf_kernel(sources, x[:, i : i + 1], sigma)  # [B, N, 1]
        (repulsion,) = torch.autograd.grad(kernel.sum(), sources)
        phi[:, i] = (kernel.detach() * score / 0.7 + repulsion).mean(1)
    close(svgd_direction(x, score, alpha=0.7, bandwidth=bandwidth), phi)


def test_classifier_free_of_size_one_is_the_conditional_flow(scene):
    """And its direction is the difference of the two velocities, whatever the critic."""
    problem, landscape, x = scene
    optimal = problem.options("cfgrl")["optimal"]
    v, g = fields.classifier_free(landscape, x, K, optimal=optimal)
    conditional = optimal(landscape.context, x.flatten(0, 1), landscape.time(x, K)).view(x.shape)
    torch.testing.assert_close(v + g, conditional)
    torch.testing.assert_close(v, landscape.velocity(x, K))
    context, noise = landscape.context[::3], x
    guided = transport(
        "cfgrl", context, noise, budget=Budget(size=1.0), critic=problem.critic, velocity=problem.velocity,
        flow_steps=STEPS, optimal=optimal,
    )  # fmt: skip
    with torch.no_grad():
        torch.testing.assert_close(guided.particles, euler(optimal, context, noise, STEPS))


def test_every_field_of_the_table_has_a_test_here():
    """Its name begins with the field's; ``test_posterior.py`` has that of the exact posterior."""
    used = {getattr(row.field, "func", row.field).__name__ for row in RULES.values()}
    tested = {max((f for f in used if name.startswith(f"test_{f}")), key=len, default="") for name in globals()}
    assert used - tested == {"posterior_glass"}


def test_carry_is_euler():
    problem = SmallProblem(1)
    context, noise = problem.draw(2, 3)
    landscape = Landscape(
        context.repeat_interleave(3, 0), problem.critic, problem.velocity, STEPS, "min", -1.0, 1.0, 1.0, None
    )
    with torch.no_grad():
        assert torch.equal(landscape.clip(landscape.carry(noise)), euler(problem.velocity, context, noise, STEPS))
