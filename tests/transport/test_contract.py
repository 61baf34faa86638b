"""What every row of the table must do. A new rule is covered without an edit here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from problems import SmallProblem, euler, every_rule, move, moving_rule

from vgf import Budget, UserError
from vgf.transport import RULES
from vgf.transport.landscape import aggregate_heads
from vgf.transport.steps import STEPS

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@every_rule
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_types_and_inputs(rule, dtype, device):
    problem = SmallProblem(dtype=dtype).to(device)
    context, noise = (x.to(device) for x in problem.draw(4, 3))
    before = context.clone(), noise.clone()
    moved = move(rule, problem, (context, noise), Budget(steps=2, size=0.1))
    assert moved.particles.shape == moved.twins.shape == (4, 3, 2)
    assert moved.values.shape == moved.travelled.shape == (4, 3)
    for output in (moved.particles, moved.twins, moved.values, moved.travelled):
        assert output.dtype == dtype
        assert output.device.type == device
        assert output.isfinite().all()
        assert not output.requires_grad
    assert torch.equal(context, before[0])
    assert torch.equal(noise, before[1])
    assert all(p.grad is None for net in (problem.q, problem.v, problem.f) for p in net.parameters())


@every_rule
def test_same_inputs_same_outputs(rule):
    problem = SmallProblem()
    first, second = (move(rule, problem, problem.draw(3, 4), Budget(steps=3, size=0.1)) for _ in range(2))
    assert torch.equal(first.particles, second.particles)


@every_rule
def test_works_without_gradients_outside(rule):
    problem = SmallProblem()
    expected = move(rule, problem, problem.draw(2, 3), Budget(steps=2, size=0.1)).particles
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            assert torch.equal(move(rule, problem, problem.draw(2, 3), Budget(steps=2, size=0.1)).particles, expected)


@moving_rule
def test_a_positive_budget_moves(rule):
    problem = SmallProblem()
    moved = move(rule, problem, problem.draw(3, 4), Budget(steps=3, size=0.1))
    assert (moved.travelled > 0).any()


@every_rule
@pytest.mark.parametrize("budget", [Budget(steps=0, size=0.3), Budget(size=0.0), Budget(steps=0, size=0.0, radius=0.0)])
def test_budget_zero_is_the_reference_bit_for_bit(rule, budget):
    problem = SmallProblem()
    context, noise = problem.draw(3, 4)
    moved = move(rule, problem, (context, noise), budget)
    with torch.no_grad():
        reference = euler(problem.velocity, context, noise, 5)
    assert torch.equal(moved.particles, reference)
    assert torch.equal(moved.twins, reference)
    assert (moved.travelled == 0).all()


@every_rule
def test_twins_do_not_depend_on_the_budget(rule):
    problem = SmallProblem()
    context, noise = problem.draw(3, 4)
    with torch.no_grad():
        reference = euler(problem.velocity, context, noise, 5)
    assert torch.equal(move(rule, problem, (context, noise), Budget(steps=2, size=0.5)).twins, reference)


@every_rule
def test_contexts_do_not_see_each_other(rule):
    problem = SmallProblem()
    context, noise = problem.draw(5, 3)
    together = move(rule, problem, (context, noise), Budget(steps=3, size=0.2)).particles
    alone = move(rule, problem, (context[2:3], noise[2:3]), Budget(steps=3, size=0.2)).particles
    torch.testing.assert_close(together[2:3], alone, rtol=0, atol=1e-9)


@every_rule
@pytest.mark.parametrize("step", [None, *STEPS])
def test_permuting_particles_permutes_the_result(rule, step):
    problem = SmallProblem()
    context, noise = problem.draw(2, 5)
    order = torch.tensor([3, 0, 4, 1, 2])
    plain = move(rule, problem, (context, noise), Budget(steps=3, size=0.2), **stepping(rule, step)).particles
    permuted = move(
        rule, problem, (context, noise[:, order]), Budget(steps=3, size=0.2), **stepping(rule, step)
    ).particles
    torch.testing.assert_close(plain[:, order], permuted, rtol=0, atol=1e-9)


def stepping(rule, step):
    """Arguments that give a rule another step than its own, where it can take that step."""
    if RULES[rule].where != "inside" and step in ("norm_matched", "tilt"):
        pytest.skip("this step needs a flow around it")
    return {"step": step, "skip_first": True if step == "tilt" else None}


@every_rule
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3, 1e6])
def test_particles_stay_in_the_box(rule, size):
    problem = SmallProblem(dtype=torch.float32)
    moved = move(rule, problem, problem.draw(3, 3), Budget(steps=5, size=size))
    assert moved.particles.abs().max() <= 1
    assert moved.particles.isfinite().all()


@every_rule
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_no_number_is_not_followed(rule, bad):
    problem = SmallProblem()

    def critic(s, x):
        return problem.critic(s, x) * torch.where(x.sum(-1) > 0, bad, 1.0)

    moved = move(rule, problem, problem.draw(3, 3), Budget(steps=2, size=0.1), critic=critic)
    assert moved.particles.isfinite().all()


@every_rule
@pytest.mark.parametrize("radius", [0.0, 1e-9, 1e-6, 1e-3, 0.05, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_radius_is_a_hard_limit(rule, radius, dtype):
    problem = SmallProblem(dtype=dtype)
    moved = move(rule, problem, problem.draw(6, 4), Budget(steps=5, size=2.0, radius=radius))
    assert (moved.travelled <= radius).all()
    assert moved.particles.abs().max() <= 1


@moving_rule
def test_a_wide_radius_changes_nothing_and_a_tight_one_is_used_up(rule):
    problem = SmallProblem()
    free = move(rule, problem, problem.draw(4, 3), Budget(steps=5, size=2.0))
    wide = move(rule, problem, problem.draw(4, 3), Budget(steps=5, size=2.0, radius=10.0))
    assert torch.equal(free.particles, wide.particles)
    tight = move(rule, problem, problem.draw(4, 3), Budget(steps=5, size=2.0, radius=0.01))
    assert tight.travelled.max() > 0.0099


def disagreement(problem, context, x):
    heads = problem.critic(context.repeat_interleave(x.shape[1], 0), x.flatten(0, 1))
    return heads.std(0, unbiased=False).view(x.shape[:2])


@every_rule
@pytest.mark.parametrize("ratio", [1.0, 1.2, 3.0])
def test_the_gate_is_a_hard_limit(rule, ratio):
    problem = SmallProblem()
    context, noise = problem.draw(6, 4)
    moved = move(rule, problem, (context, noise), Budget(steps=5, size=0.5), gate=ratio)
    limit = ratio * disagreement(problem, context, moved.twins)
    assert (disagreement(problem, context, moved.particles) <= limit + 1e-12).all()


@moving_rule
def test_an_open_gate_changes_nothing_and_a_closed_one_stops_some(rule):
    problem = SmallProblem()
    budget = Budget(steps=5, size=0.5)
    free = move(rule, problem, problem.draw(6, 4), budget)
    assert torch.equal(move(rule, problem, problem.draw(6, 4), budget, gate=1e9).particles, free.particles)
    gated = move(rule, problem, problem.draw(6, 4), budget, gate=1.0)
    differ = (gated.particles != free.particles).any(-1)
    assert differ.any()
    assert gated.travelled[differ].mean() < free.travelled[differ].mean()


@every_rule
def test_keep_best_never_loses_value(rule):
    problem = SmallProblem()
    budget = Budget(steps=5, size=2.0)
    free = move(rule, problem, problem.draw(6, 4), budget)
    kept = move(rule, problem, problem.draw(6, 4), budget, keep_best=True)
    start = move(rule, problem, problem.draw(6, 4), Budget(steps=0))
    assert (kept.values >= start.values).all()
    worse = free.values <= start.values
    assert torch.equal(kept.particles[worse], start.particles[worse])
    assert torch.equal(kept.particles[~worse], free.particles[~worse])


def test_a_gate_needs_heads_to_compare():
    problem = SmallProblem()
    single = {"critic": lambda s, x: problem.critic(s, x)[:1]}
    with pytest.raises(UserError, match="two or more"):
        move("qgf", problem, problem.draw(2, 2), Budget(size=0.1), gate=2.0, **single)
    with pytest.raises(UserError, match=r"gate=0\.5 must be 1 or more"):
        move("qgf", problem, problem.draw(2, 2), Budget(size=0.1), gate=0.5)


@every_rule
def test_reported_numbers_are_what_they_say(rule):
    problem = SmallProblem()
    context, noise = problem.draw(3, 4)
    moved = move(rule, problem, (context, noise), Budget(steps=2, size=0.2), aggregate="mean-0.5*std")
    rms = (moved.particles - moved.twins).square().mean(-1).sqrt()
    torch.testing.assert_close(moved.travelled, rms)
    heads = problem.critic(context.repeat_interleave(4, 0), moved.particles.flatten(0, 1))
    torch.testing.assert_close(moved.values, aggregate_heads(heads, "mean-0.5*std").view(3, 4).detach())


@every_rule
def test_twins_can_be_left_out(rule):
    problem = SmallProblem()
    with_twins = move(rule, problem, problem.draw(3, 4), Budget(steps=2, size=0.2))
    without = move(rule, problem, problem.draw(3, 4), Budget(steps=2, size=0.2), twins=False)
    assert torch.equal(with_twins.particles, without.particles)
    if RULES[rule].where == "inside":
        assert without.twins is None
        assert without.travelled.isnan().all()


@every_rule
@pytest.mark.parametrize("kind", ["no graph", "zero gradient"])
@pytest.mark.parametrize("step", [None, *STEPS])
def test_a_constant_value_moves_nothing(rule, kind, step):
    """One particle a context: vgf's repulsion has nothing to act between. Networks that a rule asks say the same."""
    problem = SmallProblem()

    def critic(s, x, t=None):
        return torch.ones(2, len(x), dtype=x.dtype) + (0 * x.sum(-1) if kind == "zero gradient" else 0)

    agreed = {
        "gradient": lambda s, x: torch.zeros_like(x),
        "noisy_critic": critic,
        "optimal": problem.velocity,  # no action is better than another
    }
    asked = {name: agreed[name] for name in RULES[rule].options if name in agreed}
    changes = {"critic": critic} | asked | stepping(rule, step)
    moved = move(rule, problem, problem.draw(4, 1), Budget(steps=3, size=0.3), **changes)
    torch.testing.assert_close(moved.particles, moved.twins, rtol=0, atol=1e-12)


def test_options_may_be_numpys_numbers():
    problem = SmallProblem()
    theirs = {"samples": np.int64(2), "tau": np.float32(0.5), "seed": np.int32(3), "inner_steps": np.int64(2)}
    ours = {"samples": 2, "tau": 0.5, "seed": 3, "inner_steps": 2}
    first, second = (move("qpilots_g", problem, problem.draw(2, 2), Budget(), **each) for each in (theirs, ours))
    assert torch.equal(first.particles, second.particles)


def test_open_fields_are_filled():
    assert Budget(size=0.2).filled(Budget(3, 0.1, 0.5)) == Budget(3, 0.2, 0.5)
    assert Budget(radius=float("inf")).radius == float("inf")
