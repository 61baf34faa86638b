"""Limits that must hold exactly: configurations that mean the same give the same particles, and bounds are bounds."""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import SmallProblem, euler, move

from vgf import Budget, UserError, transport
from vgf.transport import RULES
from vgf.transport.limits import Gate

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10_000)
counts = st.integers(1, 5)
sizes = st.floats(1e-3, 2.0)


def particles_of(rule, problem, start, budget, **changes):
    return move(rule, problem, start, budget, **changes).particles


def equal(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@few
@given(seeds, counts, counts)
def test_vgf_without_moves_is_best_of_n(seed, contexts, particles):
    problem = SmallProblem(seed)
    start = problem.draw(contexts, particles, seed)
    still = transport("vgf", *start, budget=Budget(steps=0), **problem.arguments("vgf"))
    best = transport("best_of_n", *start, budget=Budget(), **problem.arguments("best_of_n"))
    assert torch.equal(still.particles, best.particles)
    assert torch.equal(still.values, best.values)


@few
@given(seeds, st.integers(1, 6), st.floats(1e-3, 0.3))
def test_vgf_with_one_particle_is_adam_ascent(seed, steps, size):
    problem = SmallProblem(seed)
    context, noise = problem.draw(3, 1, seed)
    with torch.no_grad():
        x = euler(problem.velocity, context, noise, 5)[:, 0]
    x.requires_grad_()
    optimiser = torch.optim.Adam([x], lr=size, maximize=True)
    for _ in range(steps):
        optimiser.zero_grad()
        problem.critic(context, x).amin(0).sum().backward()
        optimiser.step()
        x.data.clamp_(-1, 1)
    equal(particles_of("vgf", problem, (context, noise), Budget(steps=steps, size=size))[:, 0], x.detach())


@few
@given(seeds, st.integers(1, 5), sizes)
def test_adam_moves_are_bounded(seed, steps, size):
    problem = SmallProblem(seed)
    moved = transport("vgf", *problem.draw(3, 4, seed), budget=Budget(steps, size), **problem.arguments("vgf"))
    assert (moved.particles - moved.twins).abs().max() <= 1.011 * size * steps


@few
@given(seeds, st.integers(1, 5), sizes, st.floats(0.1, 3.0), st.floats(0.05, 1.0))
def test_plain_vgf_obeys_the_transport_bound(seed, steps, size, alpha, sigma):
    """W_inf <= size * steps * (sup |grad Q| / alpha + 1 / (sigma sqrt(e))); here |grad Q| = |slope| everywhere."""
    problem = SmallProblem(seed)
    slope = torch.tensor([0.6, -0.8], dtype=torch.float64)
    moved = transport(
        "vgf",
        *problem.draw(3, 4, seed),
        budget=Budget(steps, size),
        step="raw",
        alpha=alpha,
        bandwidth=sigma,
        **(problem.arguments("vgf") | {"critic": lambda s, x: (x @ slope)[None], "low": -1e6, "high": 1e6}),
    )
    width = math.sqrt(sigma**2 + 0.5e-6)  # the kernel is exp(-d^2 / (2 sigma^2 + 1e-6))
    bound = size * steps * (1 / alpha + 1 / (width * math.sqrt(math.e)))
    assert (moved.particles - moved.twins).norm(dim=-1).max() <= bound * (1 + 1e-9)


@few
@given(seeds, sizes)
def test_qpilots_u_is_a_setting_of_qgf_jacobian(seed, size):
    problem = SmallProblem(seed)
    start = problem.draw(3, 2, seed)
    expected = particles_of("qpilots_u", problem, start, Budget(size=size))
    shared = {"step": "norm_matched", "straight_through": True}
    equal(particles_of("qgf_jacobian", problem, start, Budget(size=size), skip_first=True, **shared), expected)
    equal(particles_of("qgf_jacobian", problem, start, Budget(steps=4, size=size), **shared), expected)


@pytest.mark.parametrize("rule", [r for r in RULES if RULES[r].where == "inside"])
@pytest.mark.parametrize("guided", [1, 3, 5, 9])
def test_the_last_steps_are_the_guided_ones(rule, guided):
    """Carry the noise by the reference to step K - guided, then guide a flow that starts there."""
    problem = SmallProblem()
    context, noise = problem.draw(3, 2)
    steps, first = 5, max(5 - guided, 1 if RULES[rule].skip_first else 0)
    with torch.no_grad():
        x = noise
        for k in range(first):
            flat = x.flatten(0, 1)
            t = flat.new_full((len(flat), 1), k / steps)
            x = x + problem.velocity(context.repeat_interleave(2, 0), flat, t).view(x.shape) / steps

    def late(s, x, t):  # the same flow from step `first` on: early velocities do nothing
        return problem.velocity(s, x, t) * (t * steps > first - 0.5)

    arguments = problem.arguments(rule) | {"velocity": late}
    if "sampler" in arguments:
        arguments["sampler"] = problem.sampler
    resumed = transport(rule, context, x, budget=Budget(steps=guided, size=0.3), **arguments).particles
    equal(particles_of(rule, problem, (context, noise), Budget(steps=guided, size=0.3)), resumed)


@few
@given(seeds, st.floats(0.01, 0.5))
def test_a_linear_value_shifts_the_reference(seed, size):
    """grad Q = c and v blind to x: every inside rule with a raw step ends at the reference + size * c."""
    problem = SmallProblem(seed)
    start = problem.draw(3, 2, seed)
    slope = torch.tensor([0.3, -0.7], dtype=torch.float64)
    free = {
        "critic": lambda s, x: (x @ slope)[None],
        "velocity": lambda s, x, t: problem.velocity(s, torch.zeros_like(x), t),
        "low": -1e3,
        "high": 1e3,
    }
    for rule in ("qgf", "qgf_jacobian", "qfql", "bptt"):
        moved = transport(rule, *start, budget=Budget(size=size), **(problem.arguments(rule) | free))
        equal(moved.particles, moved.twins + size * slope)


@few
@given(seeds, sizes)
def test_jacobian_is_the_identity_where_the_velocity_ignores_the_particle(seed, size):
    problem = SmallProblem(seed)
    start = problem.draw(3, 2, seed)
    blind = {"velocity": lambda s, x, t: problem.velocity(s, torch.zeros_like(x), t), "low": -1e3, "high": 1e3}
    equal(
        particles_of("qgf", problem, start, Budget(size=size), **blind),
        particles_of("qgf_jacobian", problem, start, Budget(size=size), **blind),
    )


def test_the_radius_holds_at_every_step_of_the_way():
    """A step of this size ends as far behind the peak as it began before it, but for the radius between the two."""
    peak, radius, twin = torch.tensor([0.3, 0.3]), 0.2, torch.zeros(1, 1, 2)
    x = twin
    for _ in range(2):
        x = x + 2 * (peak - x)
        x = twin + (x - twin) * min(1.0, radius / float((x - twin).square().mean().sqrt()))
    moved = transport(
        "grad_step", torch.zeros(1, 1), twin, budget=Budget(steps=2, size=1.0, radius=radius), step="raw",
        critic=lambda s, x: -(x - peak).square().sum(-1)[None],
    )  # fmt: skip
    torch.testing.assert_close(moved.particles, x)


def test_a_particle_that_the_gate_has_stopped_stays_stopped():
    gate = Gate(SimpleNamespace(disagreement=lambda x: x[..., 0]), torch.ones(1, 1, 1), 2.0)
    moving, stopped = torch.tensor([[[7.0]]]), torch.zeros(1, 1, 1)
    chosen = [gate.choose(moving, stopped, at=torch.full((1, 1, 1), spread)) for spread in (1.0, 5.0, 1.0)]
    assert [float(each) for each in chosen] == [7.0, 0.0, 0.0]


@pytest.mark.parametrize("steps", [2.0, np.float32(2), np.int64(2)])
def test_whole_numbers_of_other_types_are_steps(steps):
    budget = Budget(steps=steps)
    assert budget == Budget(steps=2)
    assert isinstance(budget.steps, int)


@pytest.mark.parametrize("field", ["steps", "size", "radius"])
@pytest.mark.parametrize("wrong", [math.nan, -1, "0.1", True, [1]])
def test_what_is_no_budget_is_one_line(field, wrong):
    with pytest.raises(UserError, match=rf"budget\.{field}=.* is not a budget"):
        Budget(**{field: wrong})


def test_budgets_are_floats_whatever_kind_of_number_is_given():
    assert Budget(size=Fraction(1, 4), radius=10**400) == Budget(size=0.25, radius=math.inf)
    assert type(Budget(size=Fraction(1, 4)).size) is type(Budget(size=np.float32(1)).size) is float
    for field in ("steps", "size"):
        with pytest.raises(UserError, match=rf"budget\.{field}=1000.* is unbounded"):
            Budget(**{field: 10**400})


def test_seeds_of_a_posterior_may_be_as_large_as_one_likes():
    problem = SmallProblem()
    start, arguments = problem.draw(2, 2), problem.arguments("qpilots_g")
    first, other = (
        transport("qpilots_g", *start, budget=Budget(size=0.3), **arguments, seed=seed).particles
        for seed in (2**50, 2**50 + 1)
    )
    assert (first != other).any()


@pytest.mark.parametrize(
    ("field", "wrong", "said"),
    [("steps", 1.5, "not a whole number"), ("steps", math.inf, "unbounded"), ("size", math.inf, "unbounded"),
     ("steps", 1e9, "for ever")],
)  # fmt: skip
def test_steps_are_countable_and_sizes_finite(field, wrong, said):
    with pytest.raises(UserError, match=rf"budget\.{field}=.* {said}"):
        Budget(**{field: wrong})
