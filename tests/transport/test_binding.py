"""Critics and velocities that can be given their contexts once, and those that cannot, move particles alike."""

from __future__ import annotations

import pytest
import torch
from problems import SmallProblem, every_rule

from vgf import Budget, transport


class Conditioned:
    """A function with a ``given`` of its own, which counts how often it sees contexts."""

    def __init__(self, function):
        self.function, self.times_given, self.called_whole = function, 0, 0

    def __call__(self, context, *rest):
        self.called_whole += 1
        return self.function(context, *rest)

    def given(self, context, times):
        self.times_given += 1
        each = context.repeat_interleave(times, 0)
        return lambda *rest: self.function(each, *rest)


@every_rule
def test_contexts_are_given_once_and_nothing_else_changes(rule):
    problem = SmallProblem()
    context, noise = problem.draw(3, 4)
    plain = problem.arguments(rule)
    critic, velocity = Conditioned(problem.critic), Conditioned(problem.velocity)
    budget = Budget(steps=2, size=0.1)
    expected = transport(rule, context, noise, budget=budget, **plain)
    moved = transport(rule, context, noise, budget=budget, **plain | {"critic": critic, "velocity": velocity})
    assert torch.equal(moved.particles, expected.particles)
    assert torch.equal(moved.values, expected.values)
    for function in (critic, velocity):
        assert (function.times_given, function.called_whole) == (1, 0)


def test_values_that_nobody_asked_for_are_not_computed():
    problem = SmallProblem()
    context, noise = problem.draw(3, 4)
    arguments = problem.arguments("best_of_n") | {"critic": lambda *_: pytest.fail("the critic was asked")}
    moved = transport("best_of_n", context, noise, budget=Budget(), values=False, twins=False, **arguments)
    assert moved.values.isnan().all()
    assert moved.values.shape == (3, 4)
    with_values = transport("best_of_n", context, noise, budget=Budget(), **problem.arguments("best_of_n"))
    assert torch.equal(moved.particles, with_values.particles)
