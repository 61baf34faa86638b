"""Running every rule that can run on a toy problem, and the numbers that are reported of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vgf.tasks.toy_problems import Problem, normal_quantiles
from vgf.transport import RULES, Budget, transport

__all__ = ["Outcome", "run_problem", "run_rule", "runnable_rules", "w2_to_normal"]


@dataclass(frozen=True)
class Outcome:
    """A rule at a budget on a problem. Numbers are means over the particles that act.

    Attributes:
        problem, rule: names.
        budget: the knob and its value, as text; ``size``: its value as a number (0 for ``best_of_n``).
        true_value: by the truth; ``learned_value``: by the critic, where that is a network.
        travelled: RMS distance per coordinate from the twins.
        best_mode: share in the best mode, where the problem has one.
        w2: 2-Wasserstein distance to the reference tilted by exp(Q), where it is known.
        acting: [R, D]; ``before``: their twins [R, D].
    """

    problem: str
    rule: str
    budget: str
    size: float
    true_value: float
    learned_value: float | None
    travelled: float
    best_mode: float | None
    w2: float | None
    acting: Tensor
    before: Tensor


def runnable_rules(problem: Problem) -> list[str]:
    """Rules of the table all of whose required options the problem can give exactly."""
    return [
        name for name, rule in RULES.items()
        if all(option in problem.options for option, required in rule.options.items() if required)
    ]  # fmt: skip


def run_problem(problem: Problem) -> list[Outcome]:
    """Every runnable rule at every budget of the problem."""
    outcomes = []
    for name in runnable_rules(problem):
        rule = RULES[name]
        standard = (Budget(size=1.0),) if rule.where == "inside" and problem.schedule else (rule.budget,)
        budgets = problem.budgets.get((rule.where, rule.step), standard)
        outcomes += [run_rule(problem, name, budget) for budget in budgets]
    return outcomes


def run_rule(problem: Problem, name: str, budget: Budget) -> Outcome:
    """One rule at one budget; all rules start from the same noise."""
    rule = RULES[name]
    moved = transport(
        name,
        problem.noise.new_zeros(len(problem.noise), 1),
        problem.noise,
        budget=budget,
        critic=problem.critic,
        velocity=problem.data.velocity,
        flow_steps=problem.flow_steps,
        low=problem.low,
        high=problem.high,
        start_is_noise=True,
        **(problem.schedule if rule.where == "inside" else {}),
        **{option: problem.options[option] for option in rule.options if option in problem.options},
    )
    assert moved.twins is not None
    chosen = problem.choose or rule.where == "nowhere"
    acting, before, values, distance = (
        _of_best(moved.values, every) if chosen else every.flatten(0, 1)
        for every in (moved.particles, moved.twins, moved.values, moved.travelled)
    )
    return Outcome(
        problem=problem.name,
        rule=name,
        budget=_describe(name, budget, problem),
        size=0.0 if rule.where == "nowhere" else float(budget.filled(rule.budget).size or 0.0),
        true_value=problem.truth(acting).mean().item(),
        learned_value=values.mean().item() if problem.learned else None,
        travelled=distance.mean().item(),
        best_mode=problem.in_best_mode(acting).double().mean().item() if problem.in_best_mode else None,
        w2=w2_to_normal(acting.flatten(), *problem.tilted) if problem.tilted else None,
        acting=acting,
        before=before,
    )


def w2_to_normal(x: Tensor, mean: float, std: float) -> float:
    """2-Wasserstein distance in one dimension, by quantiles: samples [R] against N(mean, std^2)."""
    return (x.sort().values - (mean + std * normal_quantiles(len(x)))).square().mean().sqrt().item()


def _of_best(values: Tensor, every: Tensor) -> Tensor:
    """Entry of each group's most valued particle: values [B, N], every [B, N, ...] -> [B, ...]."""
    return every[torch.arange(len(values)), values.argmax(1)]


def _describe(name: str, budget: Budget, problem: Problem) -> str:
    rule = RULES[name]
    if rule.where == "nowhere":
        return f"N={problem.noise.shape[1]}"
    filled = budget.filled(rule.budget)
    return f"size={filled.size:g}" if filled.steps is None else f"{filled.steps} steps of {filled.size:g}"
