"""Interquartile mean and intervals: against formulas worked out by hand, and by what they must satisfy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgf.errors import UserError
from vgf.stats import bootstrap_interval, iqm, success_interval

finite = st.floats(-1e3, 1e3)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([7.0], 7.0),
        ([1.0, 2.0, 6.0], 3.0),  # fewer than four scores: nothing is cut
        ([1.0, 2.0, 4.0, 100.0], 3.0),  # one cut at either end
        ([9.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, -9.0], 2.5),
    ],
)
def test_iqm_is_the_mean_without_the_outer_quarters(scores: list[float], expected: float) -> None:
    assert iqm(scores) == expected


def test_iqm_takes_scores_of_all_axes_together_or_one_axis() -> None:
    scores = np.array([[0.0, 1.0, 2.0, 50.0], [10.0, 11.0, 12.0, 13.0]])
    assert iqm(scores) == np.mean([2, 10, 11, 12])  # of eight sorted scores, the four in the middle
    np.testing.assert_allclose(iqm(scores, axis=1), [1.5, 11.5])


@given(st.lists(finite, min_size=1, max_size=30))
def test_iqm_lies_among_the_scores_and_ignores_their_order(scores: list[float]) -> None:
    middle = iqm(scores)
    assert min(scores) - 1e-9 <= middle <= max(scores) + 1e-9
    assert iqm(scores[::-1]) == middle


def test_bootstrap_of_the_mean_agrees_with_the_normal_law() -> None:
    scores = np.random.default_rng(3).normal(5.0, 2.0, size=400)
    low, high = bootstrap_interval(scores, samples=4000)
    half = 1.96 * scores.std() / math.sqrt(400)
    assert low == pytest.approx(scores.mean() - half, abs=0.03)
    assert high == pytest.approx(scores.mean() + half, abs=0.03)


def test_bootstrap_resamples_within_each_seed() -> None:
    seeds = [[0.0, 0.0, 0.0], [10.0, 10.0, 10.0]]
    assert bootstrap_interval(seeds) == (5.0, 5.0)  # the seeds differ, their episodes do not
    pooled = bootstrap_interval(np.concatenate([np.asarray(seed) for seed in seeds]))
    assert pooled[0] < 5.0 < pooled[1]


def test_bootstrap_weighs_episodes_alike_when_seeds_have_different_numbers_of_them() -> None:
    assert bootstrap_interval([np.zeros(3), np.ones(1)]) == (0.25, 0.25)


def test_bootstrap_takes_other_statistics() -> None:
    assert bootstrap_interval([1.0, 2.0, 3.0, 9.0], np.max) == (2.0, 9.0)  # only ones: (1/4)^4, less than 2.5 %
    scores = [*range(1, 10), 1000.0]
    # An outlier drawn once or twice is cut from the IQM, while it is in every mean.
    assert bootstrap_interval(scores, iqm, level=0.5)[1] < 10 < bootstrap_interval(scores, level=0.5)[1]


def test_bootstrap_in_pieces_draws_as_many_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.arange(40.0)
    monkeypatch.setattr("vgf.stats._DRAWN_AT_ONCE", 100)  # two resamplings at a time
    low, high = bootstrap_interval(scores)
    assert low == pytest.approx(19.5 - 1.96 * scores.std() / math.sqrt(40), abs=0.5)
    assert high == pytest.approx(19.5 + 1.96 * scores.std() / math.sqrt(40), abs=0.5)


@given(st.lists(finite, min_size=1, max_size=20), st.integers(0, 5))
def test_bootstrap_is_reproducible_ordered_and_inside_the_scores(scores: list[float], seed: int) -> None:
    low, high = bootstrap_interval(scores, samples=200, seed=seed)
    assert (low, high) == bootstrap_interval(scores, samples=200, seed=seed)
    assert min(scores) - 1e-9 <= low <= high <= max(scores) + 1e-9


def test_a_higher_level_gives_a_wider_interval() -> None:
    scores = np.random.default_rng(0).normal(size=60)
    narrow, wide = bootstrap_interval(scores, level=0.5), bootstrap_interval(scores, level=0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    narrow, wide = success_interval([1, 0, 1, 1], level=0.5), success_interval([1, 0, 1, 1], level=0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_wilson_interval_of_all_failures_and_all_successes_is_not_a_point() -> None:
    z2 = 1.959963984540054**2
    assert success_interval(np.zeros(50)) == (0.0, pytest.approx(z2 / (50 + z2)))
    assert success_interval(np.ones(50)) == (pytest.approx(50 / (50 + z2)), 1.0)


def test_wilson_interval_of_a_mixture() -> None:
    low, high = success_interval([1] * 38 + [0] * 12)
    # The ends p solve (0.76 - p)^2 = z^2 p (1 - p) / 50, which is how Wilson defines them.
    for end in (low, high):
        assert (0.76 - end) ** 2 == pytest.approx(1.959963984540054**2 * end * (1 - end) / 50)
    assert low < 0.76 < high


@given(st.integers(1, 60), st.data())
def test_wilson_interval_grows_with_every_success(episodes: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, episodes - 1))
    low, high = success_interval([1] * successes + [0] * (episodes - successes))
    lower, higher = success_interval([1] * (successes + 1) + [0] * (episodes - successes - 1))
    assert 0 <= low < lower <= 1
    assert 0 <= high < higher <= 1


def test_wilson_interval_covers_the_true_rate_about_as_often_as_it_says() -> None:
    for episodes in (10, 50):
        intervals = [success_interval([1] * k + [0] * (episodes - k)) for k in range(episodes + 1)]
        rates = np.linspace(0.05, 0.95, 91)
        covered = [
            sum(
                math.comb(episodes, k) * rate**k * (1 - rate) ** (episodes - k)
                for k, (low, high) in enumerate(intervals)
                if low <= rate <= high
            )
            for rate in rates
        ]
        assert 0.94 < np.mean(covered) < 0.97


def test_wilson_interval_pools_seeds() -> None:
    assert success_interval([[1, 0], [1, 1]]) == success_interval([1, 0, 1, 1])


@pytest.mark.parametrize("scores", [[], [[]], [[1.0], []]])
def test_no_episodes_is_an_error(scores: list) -> None:
    with pytest.raises(UserError, match="at least one episode"):
        bootstrap_interval(scores)


def test_scores_that_are_no_scores_are_errors() -> None:
    with pytest.raises(UserError, match="not a finite number"):
        bootstrap_interval([1.0, float("nan")])
    with pytest.raises(UserError, match="0 or 1"):
        success_interval([0.5, 1.0])
    with pytest.raises(UserError, match="no scores"):
        iqm([])
    with pytest.raises(UserError, match="confidence level"):
        bootstrap_interval([1.0], level=95)
