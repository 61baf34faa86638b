"""Losses do what their names say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vgf.losses import expectile_loss, flow_matching_pair, masked_mean, sql_loss, td_target


def test_the_middle_expectile_is_half_the_square():
    diff = torch.linspace(-2, 2, 9)
    torch.testing.assert_close(expectile_loss(diff, 0.5), 0.5 * diff.square())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.floats(0.05, 0.95))
def test_the_minimiser_balances_both_sides(seed, tau):
    """At the tau-expectile m of a sample: tau * sum (x - m)_+ = (1 - tau) * sum (m - x)_+."""
    x = torch.randn(200, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    m = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([m], max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = expectile_loss(x - m, tau).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    above, below = (x - m).clamp_min(0).sum(), (m - x).clamp_min(0).sum()
    assert tau * above.item() == pytest.approx((1 - tau) * below.item(), rel=1e-3)


def test_sql_is_convex_with_its_minimum_at_zero_difference():
    diff = torch.linspace(-5, 5, 1001, dtype=torch.float64)
    loss = sql_loss(diff, 0.7)
    assert (loss[2:] - 2 * loss[1:-1] + loss[:-2] >= -1e-12).all()
    assert diff[loss.argmin()].item() == pytest.approx(0, abs=1e-9)
    assert sql_loss(torch.zeros(1), 0.7).item() == pytest.approx(0.7)


def test_td_target():
    assert td_target(torch.tensor([1.0]), torch.tensor([0.9]), torch.tensor([-2.0])).item() == pytest.approx(-0.8)
    assert td_target(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([-2.0])).item() == 1.0


def test_the_path_is_straight():
    clean, noise = torch.tensor([[1.0, 2.0]]), torch.tensor([[-1.0, 0.0]])
    at = {t: flow_matching_pair(clean, noise, torch.tensor([[t]])) for t in (0.0, 0.25, 1.0)}
    assert torch.equal(at[0.0][0], noise)
    assert torch.equal(at[1.0][0], clean)
    torch.testing.assert_close(at[0.25][0], noise + 0.25 * at[0.25][1])


def test_weightless_entries_count_in_the_mean():
    assert masked_mean(torch.tensor([2.0, 5.0]), torch.tensor([1.0, 0.0])).item() == 1.0
