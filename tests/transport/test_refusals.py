"""Calls of ``transport`` that cannot be meant are refused in words."""

from __future__ import annotations

import pytest
from problems import SmallProblem, every_rule, move

from vgf import Budget, UserError, transport
from vgf.transport import RULES


@every_rule
def test_option_that_the_rule_lacks(rule):
    problem = SmallProblem()
    with pytest.raises(UserError, match=f"{rule!r} has no option 'colour'"):
        move(rule, problem, problem.draw(1, 1), Budget(), colour="red")


@pytest.mark.parametrize(
    ("rule", "changes", "complaint"),
    [
        ("qfg", {}, "Did you mean 'qgf'"),
        ("qgf", {"step": "admm"}, "step='admm' is unknown.*Did you mean 'adam'"),
        ("qgf", {"aggregate": "median"}, "aggregate='median'"),
        ("qgf", {"velocity": None}, "pass velocity="),
        ("grad_step", {"velocity": None}, "pass velocity="),
        ("qgf", {"flow_steps": 0}, "flow_steps=0"),
        ("vgf", {"alpha": 0.0}, "alpha=0.0"),
        ("qpilots_g", {"samples": "many"}, "samples='many' is not a whole number"),
        ("qpilots_g", {"tau": None}, "tau=None is not a number"),
        ("qpilots_g", {"inner_steps": 1.5}, "inner_steps=1.5 is not a whole number"),
        ("qpilots_g", {"tau": float("inf")}, "tau=inf greater than 0 and finite"),
        ("vgf", {"bandwidth": -1.0}, "bandwidth=-1.0"),
        ("qgf", {"start_is_noise": False}, "starts from noise"),
        *(("qgf", {"flow_steps": n}, f"flow_steps={n!r} must be a whole number") for n in (2.5, 10.0, None, True, "3")),
        *((rule, {"flow_steps": 1}, "guides all steps but the first") for rule, row in RULES.items() if row.skip_first),
        ("grad_step", {"critic": lambda context, x: x[:, 0]}, r"heads \(4,\) for 4 particles.* \[E, K\]"),
        ("grad_step", {"critic": lambda context, x: x[:, :1]}, r"heads \(4, 1\) for 4 particles"),
        ("qgf", {"low": 1.0, "high": -1.0}, "low=1.0"),
        ("a_vgf", {"gradient": None}, None),
        ("grad_step", {"step": "norm_matched"}, "only rules inside the flow"),
        ("qpilots_u", {"step": "tilt", "skip_first": False}, "flow time above 0"),
    ],
)
def test_mistakes_are_named(rule, changes, complaint):
    problem = SmallProblem()
    context, noise = problem.draw(2, 2)
    arguments = problem.arguments(rule if rule in RULES else "qgf") | changes
    if complaint is None:
        del arguments["gradient"]
        complaint = "needs gradient="
    with pytest.raises(UserError, match=complaint):
        transport(rule, context, noise, budget=Budget(steps=5, size=0.1), **arguments)


def test_shapes_that_do_not_fit():
    problem = SmallProblem()
    context, noise = problem.draw(2, 2)
    with pytest.raises(UserError, match=r"particles are \[B, N, D\]"):
        move("qgf", problem, (context, noise[0]), Budget())
    with pytest.raises(UserError, match="differ in their first axis"):
        move("qgf", problem, (context[:1], noise), Budget())
    with pytest.raises(UserError, match="N of 1 or more"):
        move("vgf", problem, (context, noise[:, :0]), Budget())


@every_rule
def test_a_number_is_no_budget(rule):
    problem = SmallProblem()
    with pytest.raises(UserError, match=r"budget=0\.1 is no Budget; write Budget\(size="):
        move(rule, problem, problem.draw(2, 2), 0.1)
