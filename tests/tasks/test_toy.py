"""The papers' claims on the low-dimensional problems, and the exact objects they rest on."""

from __future__ import annotations

import csv
import functools
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vgf.tasks import toy
from vgf.tasks.toy import SWEEP, demonstrate
from vgf.tasks.toy_mixture import Mixture
from vgf.tasks.toy_problems import GOAL, PULL, TARGET, Problem, bandit, gaussian, trimodal
from vgf.tasks.toy_results import run_problem, run_rule, runnable_rules, w2_to_normal
from vgf.transport import RULES, Budget
from vgf.transport.posterior import glass_sampler

MIXTURE = Mixture([0.5, 0.2, 0.3], [[-0.8, 0.1], [0.3, -0.4], [0.7, 0.6]], [0.1, 0.3, 0.2])
OUTER = 0.9  # the trimodal problem's heavy mode next to a*
SMALL = Budget(10, 0.02)  # the smaller budget after the flow


@pytest.fixture(scope="module")
def two_bumps() -> Problem:
    return bandit(0)


# --- the mixture ----------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(x=st.tuples(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5)), t=st.floats(0.05, 0.95))
def test_velocity_follows_from_the_score_by_finite_differences(x, t):
    """Tweedie for linear paths: E[x_1 | x] = (x + (1-t)^2 grad log p_t(x)) / t, p_t a mixture written out here."""

    def log_density(point: torch.Tensor) -> float:
        variance = t**2 * MIXTURE.stds**2 + (1 - t) ** 2
        squared = (point - t * MIXTURE.means).square().sum(-1)
        return (MIXTURE.weights.log() - squared / (2 * variance) - variance.log()).logsumexp(0).item()

    point = torch.tensor(x, dtype=torch.float64)
    shifts = 1e-5 * torch.eye(2, dtype=torch.float64)
    score = torch.tensor([(log_density(point + s) - log_density(point - s)) / 2e-5 for s in shifts])
    expected = ((point + (1 - t) ** 2 * score) / t - point) / (1 - t)
    actual = MIXTURE.velocity(point, point[None], torch.tensor([[t]], dtype=torch.float64))[0]
    torch.testing.assert_close(actual, expected, atol=1e-6 / (1 - t), rtol=1e-5)


@pytest.mark.parametrize(("x", "t"), [((0.2, 0.1), 0.3), ((0.1, 0.2), 0.6)])
def test_velocity_is_the_conditional_expectation_by_monte_carlo(x, t):
    """Samples of the data, weighted by the likelihood of the noise that would have led each to x_t."""
    clean = MIXTURE.sample(200_000, torch.Generator().manual_seed(0))
    x_t = torch.tensor([x], dtype=torch.float64)
    noise = (x_t - t * clean) / (1 - t)
    weights = (-noise.square().sum(-1) / 2).softmax(0)
    expected = (weights[:, None] * (clean - noise)).sum(0)
    actual = MIXTURE.velocity(x_t, x_t, torch.tensor([[t]], dtype=torch.float64))[0]
    torch.testing.assert_close(actual, expected, atol=0.03, rtol=0)


def test_flow_ends_in_the_data():
    problem = trimodal(0)
    twins = run_rule(problem, "qgf", Budget(size=0.0)).acting[:, 0]
    near = (twins[:, None] - problem.data.means[:, 0]).abs().argmin(1)
    shares = torch.bincount(near, minlength=3) / len(twins)
    torch.testing.assert_close(shares.double(), problem.data.weights, atol=0.08, rtol=0)


def test_expected_square_and_posterior_samples_agree():
    x_t, t = torch.tensor([[0.3, -0.1]], dtype=torch.float64), torch.tensor([[0.5]], dtype=torch.float64)
    eps = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = len(eps)
    clean = glass_sampler(MIXTURE.velocity, 64)(eps, x_t.expand(rows, 2), t.expand(rows, 1), eps)
    sampled = (clean - 0.2).square().sum(-1).mean()
    torch.testing.assert_close(sampled, MIXTURE.expected_square(x_t, t, 0.2)[0], atol=0, rtol=0.04)


# --- bandit ---------------------------------------------------------------------------------------


def test_data_hardly_cover_the_better_top(two_bumps):
    assert two_bumps.in_best_mode(two_bumps.samples).double().mean() < 0.05
    assert two_bumps.truth(two_bumps.samples).mean() < 0.6


def nearest_data(problem: Problem, x: torch.Tensor) -> torch.Tensor:
    return torch.cdist(x, problem.samples).amin(1)


def test_best_of_n_stays_in_the_support(two_bumps):
    """Every particle is a reference sample, and no further from the data than data are from each other."""
    outcome = run_rule(two_bumps, "best_of_n", Budget())
    assert torch.equal(outcome.acting, outcome.before)
    spacing = torch.cdist(two_bumps.samples, two_bumps.samples).fill_diagonal_(torch.inf).amin(1).max()
    assert (nearest_data(two_bumps, outcome.acting) <= spacing).all()
    moved = run_rule(two_bumps, "vgf", Budget(10, 0.05))
    assert (nearest_data(two_bumps, moved.acting) > spacing).any()


@pytest.mark.parametrize(
    ("rule", "budget"),
    [("vgf", SMALL), ("a_vgf", SMALL), ("grad_step", SMALL), ("bptt", Budget(size=1.0)), ("qfql", Budget(size=1.0))],
)
def test_moved_particles_reach_the_better_top(two_bumps, rule, budget):
    stuck, moved = run_rule(two_bumps, "best_of_n", Budget()), run_rule(two_bumps, rule, budget)
    assert stuck.best_mode < 0.5
    assert stuck.true_value < 0.75
    assert moved.best_mode > 0.9
    assert moved.true_value > 0.9


@pytest.mark.parametrize("rule", ["vgf", "a_vgf"])
def test_larger_budget_exploits_the_learned_critic(two_bumps, rule):
    small, large = run_rule(two_bumps, rule, SMALL), run_rule(two_bumps, rule, Budget(10, 0.05))
    assert large.learned_value > small.learned_value
    assert large.true_value < small.true_value - 0.3
    assert large.learned_value > large.true_value + 0.3


def test_identity_jacobian_follows_the_poorer_bump_at_the_larger_weight(two_bumps):
    outcome = run_rule(two_bumps, "qgf", Budget(size=1.0))
    assert outcome.best_mode == 0
    assert outcome.true_value < run_rule(two_bumps, "best_of_n", Budget()).true_value


# --- trimodal -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_noisy_field_misses_the_right_mode_at_every_weight(seed):
    problem = trimodal(seed)
    unguided = run_rule(problem, "qfql", Budget(size=0.0)).best_mode
    for weight in (w for w in SWEEP if w <= 6):
        outcome = run_rule(problem, "qfql", Budget(size=weight))
        assert outcome.best_mode < (0.15 if weight < 0.5 else unguided / 2), weight
        if 0.5 <= weight <= 4:
            assert (outcome.acting.median() - OUTER).abs() < (outcome.acting.median() - TARGET).abs(), weight


@pytest.mark.parametrize("seed", range(4))
def test_gradient_at_the_denoised_particle_and_bptt_reach_the_right_mode(seed):
    problem = trimodal(seed)
    for weight in (3.0, 4.0, 5.0, 6.0, 8.0):
        assert run_rule(problem, "qgf", Budget(size=weight)).best_mode > 0.97, weight
    for weight in (5.0, 6.0, 8.0):
        assert run_rule(problem, "bptt", Budget(size=weight)).best_mode > 0.75, weight


def test_noisy_field_is_pinned_to_the_maximum_by_a_large_weight_and_many_steps():
    """The limit of the claim above: the pull outweighs the reference."""
    outcome = run_rule(trimodal(0, flow_steps=100), "qfql", Budget(size=20.0))
    assert (outcome.acting - TARGET).abs().max() < 0.05


# --- gaussian -------------------------------------------------------------------------------------


def one_point_moments(mean: float, std: float) -> tuple[float, float]:
    """Closed form of the docstring of ``gaussian``; Dawson's integral by the midpoint rule."""
    half = PULL * std**2 / 2
    q = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    integral = (-half * (1 - q**2)).exp().mean().item()
    return mean - 2 * half * (mean - GOAL) * integral, std * math.exp(-half)


def moments(rule: str, flow_steps: int) -> tuple[float, float]:
    acting = run_rule(gaussian(0, flow_steps=flow_steps), rule, Budget(size=1.0)).acting
    return acting.mean().item(), acting.std(unbiased=False).item()


def test_posterior_field_reaches_the_exact_tilt():
    problem = gaussian(0)
    outcome = run_rule(problem, "qpilots_m", Budget(size=1.0))
    assert outcome.w2 < 0.03
    assert run_rule(problem, "qpilots_u", Budget(size=1.0)).w2 > 0.15


@pytest.mark.parametrize("rule", ["qpilots_u", "qgf_jacobian", "robust_q"])
def test_one_point_field_ends_where_theory_says(rule):
    problem = gaussian(0)
    mean, std = one_point_moments(problem.data.means.item(), problem.data.stds.item())
    actual_mean, actual_std = moments(rule, 800)
    assert actual_mean == pytest.approx(mean, abs=0.005)
    assert actual_std == pytest.approx(std, abs=0.005)
    exact_mean, exact_std = problem.tilted
    assert abs(mean - exact_mean) > 0.1  # the bias is far larger than the tolerance
    assert abs(std - exact_std) > 0.03


def test_identity_jacobian_has_a_spread_but_no_mean_in_the_limit():
    """Halving the first guided time moves the mean by the same amount each time."""
    std = gaussian(0).data.stds.item()
    square = std**2
    limit = std * math.exp(-PULL * square * (std * math.pi / 2 - math.log(std)) / (1 + square))
    ends = [moments("qgf", steps) for steps in (400, 800, 1600)]
    assert ends[-1][1] == pytest.approx(limit, abs=0.005)
    first, second = ends[1][0] - ends[0][0], ends[2][0] - ends[1][0]
    assert second == pytest.approx(first, rel=0.05)
    assert abs(second) > 0.3


def test_w2_of_shifted_and_scaled_quantiles():
    problem = gaussian(0)
    noise = problem.noise.flatten()
    assert w2_to_normal(0.3 + 2.0 * noise, 0.3, 2.0) == pytest.approx(0, abs=1e-12)
    assert w2_to_normal(0.3 + 2.0 * noise, 1.3, 2.0) == pytest.approx(1.0)


# --- the demonstration ----------------------------------------------------------------------------


def test_rules_that_need_what_a_problem_cannot_give_are_skipped():
    assert set(runnable_rules(gaussian(0))) >= {"best_of_n", "vgf", "a_vgf", "robust_q", "qpilots_m"}
    assert "robust_q" not in runnable_rules(bandit(0, samples=50, updates=1))
    assert set(runnable_rules(trimodal(0))) <= set(RULES)


def test_a_rule_that_is_not_named_keeps_its_own_budget(monkeypatch):
    monkeypatch.setitem(RULES, "new", RULES["grad_step"].__class__("after", RULES["grad_step"].field, "sign",
                                                                   Budget(2, 0.07), "a test"))  # fmt: skip
    budgets = [outcome.budget for outcome in run_problem(trimodal(0)) if outcome.rule == "new"]
    assert budgets == ["2 steps of 0.07"]


@pytest.mark.slow
def test_demonstrate_writes_both_files_and_the_same_seed_gives_the_same_csv(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(toy, "bandit", functools.partial(bandit, samples=200, updates=50))
    monkeypatch.setattr(toy, "gaussian", functools.partial(gaussian, flow_steps=5))
    monkeypatch.setattr(toy, "SWEEP", (1.0, 3.0))
    table = demonstrate(3, tmp_path / "first")
    demonstrate(3, tmp_path / "second")
    first, second = ((tmp_path / run / "toy.csv").read_bytes() for run in ("first", "second"))
    assert first == second
    assert (tmp_path / "first" / "toy.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == ["toy.csv", "toy.png"]
    rows = list(csv.DictReader(first.decode().splitlines()))
    assert {row["problem"] for row in rows} == {"bandit", "trimodal", "gaussian", "trimodal sweep"}
    listed = [row for row in rows if row["problem"] != "trimodal sweep"]
    assert all(row["rule"] in table for row in rows)
    # a title and a heading a problem, blank lines between, and where the two files are
    assert len(listed) + 3 * 2 + 2 + 3 == len(table.splitlines())
