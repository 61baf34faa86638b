"""Whatever the budget, the gradient and the step: particles are finite numbers inside the box."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import SmallProblem

from vgf import Budget, transport
from vgf.config import MethodConfig, TransportConfig
from vgf.nets import ActorCritic, NetSizes
from vgf.nets.extras import EXTRAS
from vgf.policy import Policy
from vgf.transport import RULES
from vgf.transport.select import SELECTORS
from vgf.transport.steps import STEPS

MOST = 1e6
# What becomes of the values of a well-behaved critic.
VALUES: dict[str, Any] = {
    "as they are": lambda q: q,
    "huge": lambda q: q * 1e30,
    "tiny": lambda q: q * 1e-30,
    "saturated": lambda q: torch.tanh(100 * q),
    "steep": lambda q: torch.tanh(1e6 * q) * 1e20,
    "constant": lambda q: q * 0,
    "not a number": lambda q: q.clamp_min(0).sqrt().log() * float("nan"),
    "infinite": lambda q: q / 0.0,
    "overflowing": lambda q: torch.exp(200 * q),
}
sizes = st.one_of(st.sampled_from([0.0, 1e-6, 1.0, 1e3, MOST]), st.floats(0, MOST))
steps_taken = st.one_of(st.none(), st.integers(0, 12))
radii = st.one_of(st.none(), st.sampled_from([0.0, 1e-3, MOST]), st.floats(0, MOST))
steps = {
    row: [s for s in STEPS if not (row == "after" and s in ("norm_matched", "tilt"))] for row in ("after", "inside")
}


def assert_bounded(x: torch.Tensor, low: float, high: float) -> None:
    assert x.isfinite().all()
    assert low <= x.min()
    assert x.max() <= high


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_particles_stay_in_the_box(rule: str, data: st.DataObject) -> None:
    draw = data.draw
    problem = SmallProblem(draw(st.integers(0, 99)), torch.float32)
    changed = VALUES[draw(st.sampled_from(list(VALUES)), "values")]
    scale = draw(st.sampled_from([0.0, 1.0, 100.0, 1e6]), "velocity")
    low, high = draw(st.sampled_from([(-1.0, 1.0), (0.0, 1e-3), (-1e3, 5.0)]), "box")
    where = RULES[rule].where
    budget = Budget(draw(steps_taken, "steps"), draw(sizes, "size"), draw(radii, "radius"))
    arguments = problem.arguments(rule) | {
        "critic": lambda s, x: changed(problem.critic(s, x)),
        "velocity": lambda s, x, t: scale * problem.velocity(s, x, t),
        "low": low, "high": high, "alpha": draw(st.sampled_from([1.0, 1e-12, 1e6]), "alpha"),
        "bandwidth": draw(st.sampled_from([None, 1.0, 1e-12, 1e6]), "bandwidth"),
        "gate": draw(st.sampled_from([None, None, 1.0]), "gate"),
        "keep_best": draw(st.booleans(), "keep_best"), "twins": draw(st.booleans(), "twins"),
        "aggregate": draw(st.sampled_from(["min", "mean", "mean-0.5*std"]), "aggregate"),
    }  # fmt: skip
    if where != "nowhere":
        arguments["step"] = draw(st.sampled_from([None, *steps[where]]), "step")
        arguments["skip_first"] = True if arguments["step"] == "tilt" else None
    moved = transport(rule, *problem.draw(2, 3, draw(st.integers(0, 99))), budget=budget, **arguments)
    assert_bounded(moved.particles, low, high)
    if moved.twins is not None:
        assert_bounded(moved.twins, low, high)
        if budget.radius is not None:
            assert (moved.travelled <= budget.radius).all()


@pytest.mark.parametrize("rule", [r for r in RULES if RULES[r].where == "inside"])
@pytest.mark.parametrize("size", [0.1, MOST])
def test_more_steps_than_the_flow_has_are_all_of_them(rule: str, size: float) -> None:
    problem = SmallProblem(dtype=torch.float32)
    most, all_of_them = (
        transport(rule, *problem.draw(2, 3), budget=Budget(n, size), **problem.arguments(rule)).particles
        for n in (int(MOST), 5)
    )
    assert torch.equal(most, all_of_them)
    assert_bounded(most, -1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [r for r in RULES if RULES[r].where == "after"])
@pytest.mark.parametrize("size", [1e-3, MOST])
def test_a_great_many_steps(rule: str, size: float) -> None:
    problem = SmallProblem(dtype=torch.float32)
    moved = transport(rule, *problem.draw(1, 3), budget=Budget(20_000, size), **problem.arguments(rule))
    assert_bounded(moved.particles, -1, 1)


@settings(max_examples=250, deadline=None)
@given(
    rule=st.sampled_from(list(RULES)), select=st.sampled_from(list(SELECTORS)), size=sizes, steps=steps_taken,
    radius=radii, heads=st.sampled_from([1.0, 1e30, 0.0, float("nan"), float("inf")]), seed=st.integers(0, 99),
    temperature=st.sampled_from([1e-6, 1.0, 1e6]), expectile=st.sampled_from([0.0, 0.5, 1.0]),
)  # fmt: skip
def test_every_selector_acts_inside_the_box(
    rule, select, size, steps, radius, heads, seed, temperature, expectile
) -> None:  # fmt: skip
    """A whole policy whose critics end in huge weights, in zeros, or in no numbers."""
    torch.manual_seed(seed)
    sizes = NetSizes(observation=3, action=2, chunk=2, hidden=8, layers=1, extras=tuple(EXTRAS), judge=True)
    networks = ActorCritic(sizes)
    with torch.no_grad():
        networks.q_target.output.weight.mul_(heads)
        networks.v.output.weight.mul_(heads)
    how = TransportConfig(
        rule=rule, particles=3, select=select, temperature=temperature, expectile=expectile,
        knob="steps" if RULES[rule].where == "after" else "size",
    )  # fmt: skip
    policy = Policy(networks, replace(MethodConfig(), transport=how), flow_steps=3)
    actions = policy.act_chunk(torch.randn(4, 3).numpy(), Budget(steps, size, radius), seed=seed)
    assert_bounded(torch.from_numpy(actions), -1, 1)
