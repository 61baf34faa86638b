"""Hindsight goals: relabelled n-step chunks against a slow loop, and the law that goals are drawn from.

Observations hold their own row number, so what a batch shows tells which rows it was made from.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vgf import UserError
from vgf.data.chunks import last_row_of_episode
from vgf.data.goals import ACTOR_GOALS, CRITIC_GOALS, GoalMixture, GoalStore, with_future_goals
from vgf.data.store import TransitionStore

CURRENT, RANDOM = GoalMixture(1, 0, 0, geometric=True), GoalMixture(0, 0, 1, geometric=True)
GEOMETRIC, UNIFORM = GoalMixture(0, 1, 0, geometric=True), GoalMixture(0, 1, 0, geometric=False)
layouts = st.lists(st.integers(3, 8), min_size=1, max_size=5)


def numbered(lengths: list[int]) -> dict[str, np.ndarray]:
    """Row j has observation [j, -j] and next observation [j + 0.5, 0]; rewards and masks are traps."""
    rows = np.arange(sum(lengths), dtype=np.float32)
    return {
        "observations": np.stack([rows, -rows], 1),
        "next_observations": np.stack([rows + 0.5, 0 * rows], 1),
        "actions": rows[:, None] / 100,
        "rewards": 777 + rows,
        "masks": rows % 2,
        "terminals": np.isin(rows, np.cumsum(lengths) - 1).astype(np.float32),
    }


def make(lengths: list[int], *, chunk: int = 1, n_step: int = 1, discount: float = 0.9, **mixtures) -> GoalStore:
    return GoalStore(numbered(lengths), chunk=chunk, n_step=n_step, discount=discount, **mixtures)


def every_pair(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(rows))
    return grid[:, 0], grid[:, 1]


@settings(max_examples=40, deadline=None)
@given(layouts)
def test_one_step_is_the_single_transition_of_ogbench(lengths):
    """Reward success - 1, mask 1 - success, where success means that the goal is the row itself."""
    idx, goal = every_pair(sum(lengths))
    batch = make(lengths, discount=0.9).batch(idx, goal, goal)
    success = (idx == goal).float()
    assert torch.equal(batch.returns, success - 1)
    torch.testing.assert_close(batch.discounts, 0.9 * (1 - success))
    assert torch.equal(batch.next_observations[:, 0], idx + 0.5)


@settings(max_examples=40, deadline=None)
@given(layouts, st.integers(1, 3), st.integers(0, 6), st.floats(0.05, 0.99))
def test_chunks_against_a_loop(lengths, chunk, more, discount):
    n_step, rows = chunk + more, sum(lengths)
    last = last_row_of_episode(numbered(lengths)["terminals"])
    idx, goal = every_pair(rows)
    batch = make(lengths, chunk=chunk, n_step=n_step, discount=discount).batch(idx, goal, goal)
    for at, (i, g) in enumerate(zip(idx.tolist(), goal.tolist(), strict=True)):
        total, weight, row = 0.0, 1.0, i
        while True:
            total += weight * ((row == g) - 1)
            weight *= discount * (row != g)
            if row == g or row == last[i] or row == i + n_step - 1:
                break
            row += 1
        assert batch.returns[at] == pytest.approx(total, abs=1e-4)
        assert batch.discounts[at] == pytest.approx(weight, abs=1e-5)
        if weight:
            assert batch.next_observations[at, 0] == row + 0.5


@settings(max_examples=20, deadline=None)
@given(layouts, st.integers(1, 3), st.integers(0, 3))
def test_what_goals_do_not_change_is_that_of_transitions(lengths, chunk, more):
    idx, goal = every_pair(sum(lengths))
    plain = TransitionStore(numbered(lengths), chunk=chunk, n_step=chunk + more, discount=0.9).batch(idx)
    batch = make(lengths, chunk=chunk, n_step=chunk + more).batch(idx, goal, goal.flip(0))
    for name in ("actions", "valid_actions", "valid", "next_actions", "next_valid"):
        assert torch.equal(getattr(batch, name), getattr(plain, name)), name
    wanted, shown = (torch.stack([g, -g], 1).float() for g in (goal, goal.flip(0)))
    assert torch.equal(batch.observations, torch.cat([plain.observations, wanted], 1))
    assert torch.equal(batch.next_observations, torch.cat([plain.next_observations, wanted], 1))
    assert torch.equal(batch.actor_observations, torch.cat([plain.observations, shown], 1))


def test_the_timeline_of_the_docstring():
    store = make([5, 3], n_step=3, discount=0.5)
    batch = store.batch(torch.tensor([0, 0, 0, 0, 3, 3]), goal := torch.tensor([0, 2, 3, 5, 4, 0]), goal)
    assert batch.returns.tolist() == [0, -1.5, -1.75, -1.75, -1, -1.5]
    assert batch.discounts.tolist() == [0, 0, 0.125, 0.125, 0, 0.25]
    assert batch.next_observations[:, 0].tolist() == [2.5, 2.5, 2.5, 2.5, 4.5, 4.5]


def drawn(mixture: GoalMixture, lengths: list[int], count: int, discount: float = 0.9, seed: int = 0):
    """Start and goal rows of a sample whose critic goals are drawn from the mixture."""
    store = make(lengths, discount=discount, critic_goals=mixture)
    batch = store.sample(count, torch.Generator().manual_seed(seed))
    return batch.observations[:, 0].long().numpy(), batch.observations[:, 2].long().numpy()


@settings(max_examples=30, deadline=None)
@given(layouts, st.integers(0, 999), st.sampled_from([GEOMETRIC, UNIFORM]), st.floats(0.01, 0.999))
def test_goals_of_the_trajectory_stay_in_it_and_ahead(lengths, seed, mixture, discount):
    row, goal = drawn(mixture, lengths, 200, discount, seed)
    last = last_row_of_episode(numbered(lengths)["terminals"])[row]
    assert (goal <= last).all()
    assert ((goal > row) | (row == last)).all()


def test_geometric_goals_are_as_far_ahead_as_the_discount_says():
    store = make([10_000], discount=0.9, critic_goals=GEOMETRIC)
    idx, generator = torch.zeros(100_000, dtype=torch.int64), torch.Generator().manual_seed(0)
    ahead = GEOMETRIC.draw(idx, idx + 9_999, len(store), 0.9, generator).numpy()
    assert ahead.min() == 1
    assert ahead.mean() == pytest.approx(10, abs=0.2)  # standard error 0.03
    for k in (1, 2, 10):
        assert (ahead == k).mean() == pytest.approx(0.9 ** (k - 1) * 0.1, abs=0.005)


def test_uniform_goals_are_spread_as_in_ogbench():
    """Rounding leaves half a share to the next row and to the last one."""
    idx, generator = torch.zeros(100_000, dtype=torch.int64), torch.Generator().manual_seed(0)
    counts = np.bincount(UNIFORM.draw(idx, idx + 5, 6, 0.9, generator).numpy(), minlength=6) / 100_000
    np.testing.assert_allclose(counts, [0, 1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8], atol=0.01)


def test_random_goals_come_from_all_rows_and_current_ones_from_none():
    row, goal = drawn(RANDOM, [5, 5], 20_000)
    assert np.bincount(goal, minlength=10) == pytest.approx(np.full(10, 2000), abs=200)
    assert abs(np.corrcoef(row, goal)[0, 1]) < 0.03
    row, goal = drawn(CURRENT, [5, 5], 200)
    np.testing.assert_array_equal(row, goal)


def test_the_mixture_has_the_proportions_of_ogbench():
    """In one of 100 long episodes: same row 0.2, ahead in it 0.5 + 0.3 / 200, another episode 0.3 * 99 / 100."""
    lengths = [1000] * 100
    row, goal = drawn(CRITIC_GOALS, lengths, 50_000, discount=0.99)
    own = row // 1000 == goal // 1000
    inner = row % 1000 < 999  # the last row of an episode has itself ahead
    assert (row == goal)[inner].mean() == pytest.approx(0.2, abs=0.01)
    assert (own & (goal > row)).mean() == pytest.approx(0.5, abs=0.01)
    assert (~own).mean() == pytest.approx(0.297, abs=0.01)
    far = (goal - row)[own & (goal > row) & (row % 1000 < 300)]
    assert far.mean() == pytest.approx(100, abs=8)  # geometric
    batch = make(lengths).sample(5000, torch.Generator().manual_seed(0))
    row, goal = batch.actor_observations[:, 0], batch.actor_observations[:, 2]
    assert ACTOR_GOALS.trajectory == 1
    assert torch.equal(row // 1000, goal // 1000)
    left = 999 - row % 1000
    assert ((goal > row) | (left == 0)).all()
    assert ((goal - row) / left)[left > 0].mean() == pytest.approx(0.5, abs=0.02)  # uniform


def test_the_same_generator_deals_the_same_batch():
    store = make([20, 30], chunk=2, n_step=4)
    first, again, other = (store.sample(64, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert all(torch.equal(getattr(first, f.name), getattr(again, f.name)) for f in fields(first))
    assert not torch.equal(first.observations, other.observations)
    assert first.observations.shape == first.next_observations.shape == (64, store.observation_size) == (64, 4)


def test_states_to_measure_on_have_a_later_goal():
    data, rows = numbered([4, 1, 3]), np.arange(8)
    states = with_future_goals(data, rows, seed=1)
    np.testing.assert_array_equal(states, with_future_goals(data, rows, seed=1))
    row, goal = states[:, 0], states[:, 2]
    last = last_row_of_episode(data["terminals"])
    np.testing.assert_array_equal(row, rows)
    assert ((goal > row) & (goal <= last) | (row == last) & (goal == last)).all()
    several = {tuple(with_future_goals(data, rows, seed=seed)[:, 2]) for seed in range(20)}
    assert len(several) > 5


@pytest.mark.parametrize("discount", [0.0, 1.0])
def test_discounts_without_a_typical_distance(discount):
    with pytest.raises(UserError, match=r"train.discount=.* between 0 and 1"):
        make([5], discount=discount)


@pytest.mark.parametrize("parts", [(0.5, 0.5, 0.5), (-0.5, 1.0, 0.5), (0.2, 0.5, 0.2)])
def test_mixtures_that_are_none(parts):
    with pytest.raises(UserError, match="sum to 1"):
        GoalMixture(*parts, geometric=True)


def test_settings_that_do_not_fit_are_named_as_elsewhere():
    with pytest.raises(UserError, match="n_step=1 is shorter"):
        make([5], chunk=2, n_step=1)
