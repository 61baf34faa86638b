"""Statistics of scores: interquartile mean, stratified bootstrap intervals, intervals of a success rate.

Sources: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice"
(arXiv 2108.13264) for the interquartile mean and the stratified percentile bootstrap; Wilson 1927,
"Probable Inference, the Law of Succession, and Statistical Inference" (JASA 22) for success rates;
Brown, Cai and DasGupta 2001, "Interval Estimation for a Binomial Proportion" (Statistical Science 16)
for why the bootstrap is not used there.

One deviation: Agarwal et al. resample the runs of each task; here a stratum is a training seed and
its episodes are resampled. The intervals tell how far more *episodes* could move a number. How far
another training *seed* could move it shows only between seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgf.errors import UserError

__all__ = ["Scores", "bootstrap_interval", "iqm", "mean_interval", "success_interval", "wilson_interval"]

Scores = ArrayLike | Sequence[ArrayLike]  # [episodes], [seeds, episodes], or one array of episodes a seed

_DRAWN_AT_ONCE = 4_000_000  # resampled scores held in memory, 32 MB


def iqm(scores: ArrayLike, axis: int | None = None) -> Any:
    """Interquartile mean: the mean of what is left without the lowest and the highest quarter.

    With scores sorted, s_1 <= ... <= s_n, and k = floor(n / 4): IQM = (s_{k+1} + ... + s_{n-k}) / (n - 2k).
    It is the 25 % trimmed mean of Agarwal et al. 2021: less moved by outliers than the
    mean, and with less variance than the median.

    Args:
        scores: any shape, finite.
        axis: the axis to average over; None takes all scores together.

    Returns:
        A float for ``axis=None``, else an array without that axis.

    Raises:
        UserError: when there is no score.
    """
    array = np.asarray(scores, dtype=np.float64)
    array, axis = (array.reshape(-1), 0) if axis is None else (array, axis)
    count = array.shape[axis]
    if count == 0:
        raise UserError("the interquartile mean of no scores is not defined; evaluate at least one episode")
    cut = count // 4
    middle = np.take(np.sort(array, axis=axis), np.arange(cut, count - cut), axis=axis)
    return middle.mean(axis=axis)


def bootstrap_interval(
    scores: Scores,
    statistic: Callable[..., Any] = np.mean,
    *,
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of the stratified bootstrap (Agarwal et al. 2021).

    For b = 1..samples, draw n_s episodes with replacement from the n_s episodes of each seed s, pool
    them and take the statistic theta_b. The interval runs from the (1 - level)/2 to the (1 + level)/2
    quantile of theta. It collapses to a point when all scores of every seed are equal, and it is too
    narrow for success rates near 0 or 1: use :func:`success_interval` for those.

    Args:
        scores: [episodes], [seeds, episodes], or a list of one array of episodes a seed; finite.
        statistic: called as ``statistic(array [samples, episodes], axis=1)``; np.mean, np.median, iqm.
        level: confidence level, in (0, 1).
        samples: number of resamplings.
        seed: of the resampling; the same scores and seed always give the same interval.

    Raises:
        UserError: no seeds, a seed without episodes, a score that is not finite, a level outside (0, 1).
    """
    _check_level(level)
    strata = _strata(scores)
    generator = np.random.default_rng(seed)
    at_once = max(1, _DRAWN_AT_ONCE // sum(len(stratum) for stratum in strata))
    thetas = []
    for first in range(0, samples, at_once):
        rows = min(at_once, samples - first)
        drawn = [s[generator.integers(0, len(s), size=(rows, len(s)))] for s in strata]  # [rows, n_s] each
        thetas.append(statistic(np.concatenate(drawn, axis=1), axis=1))  # [rows]
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(thetas), [tail, 1 - tail])
    return float(low), float(high)


def mean_interval(scores: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """:func:`bootstrap_interval` of the mean of one stratum, a hundred times as fast when called often.

    How often each score is drawn does not depend on the scores: the 2,000 resamplings of n scores are drawn once
    for every n and kept, so the intervals of paired measurements also rest on the same resamplings.

    Args:
        scores: [scores], finite.
        level: confidence level, in (0, 1).

    Raises:
        UserError: no score, one that is not finite, or a level outside (0, 1).
    """
    _check_level(level)
    (stratum,) = _strata([scores])
    tail = (1 - level) / 2
    low, high = np.quantile(_resampling(len(stratum)) @ stratum, [tail, 1 - tail])
    return float(low), float(high)


@lru_cache(maxsize=4)
def _resampling(count: int) -> NDArray[np.float64]:
    """Share of each of ``count`` scores in each of 2,000 resamplings; rows add up to 1."""
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=2000)
    return drawn / count


def success_interval(successes: Scores, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a success rate, for scores that are all 0 or 1.

    With p = successes / n and z the (1 + level)/2 quantile of the normal law (Wilson 1927)::

        (p + z^2/2n  -+  z * sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)

    A bootstrap of 50 failures only ever draws failures: its interval is the point 0, while 0 of 50 is
    compatible with a rate of up to 7 %. Near 0 and 1 it stays too short (1 of 50 would give an upper
    end below that of 0 of 50). Wilson's interval has neither fault, stays inside [0, 1], and comes
    close to its nominal coverage already at 10 episodes (Brown, Cai and DasGupta 2001). Episodes of
    several seeds are pooled, which can only make it wider than a stratified one.

    Args:
        successes: 0 or 1 each; [episodes], [seeds, episodes], or a list of one array a seed.
        level: confidence level, in (0, 1).

    Raises:
        UserError: as for :func:`bootstrap_interval`, or a score that is neither 0 nor 1.
    """
    _check_level(level)
    pooled = np.concatenate(_strata(successes))
    if not np.isin(pooled, (0.0, 1.0)).all():
        raise UserError("a success is 0 or 1; use bootstrap_interval for other scores")
    return wilson_interval(float(pooled.mean()), len(pooled), level=level)


def wilson_interval(rate: float, count: int, *, level: float = 0.95) -> tuple[float, float]:
    """The interval of :func:`success_interval` from a rate in [0, 1] and the number of trials behind it.

    The rate need not be a multiple of 1/count: a win rate counts ties as half a win.

    Raises:
        UserError: a rate outside [0, 1], no trial, or a level outside (0, 1).
    """
    _check_level(level)
    if not 0 <= rate <= 1 or count < 1:
        raise UserError(f"a rate of {rate:g} in {count} trials has no interval; the rate is in [0, 1], of 1 or more")
    n, p = count, rate
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = p + z**2 / (2 * n)
    half = z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    scale = 1 + z**2 / n
    # The rounding error of the ends must not exclude a rate of exactly 0 or 1.
    low = 0.0 if p == 0 else (centre - half) / scale
    high = 1.0 if p == 1 else (centre + half) / scale
    return low, high


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise UserError(f"level={level!r} is not a confidence level; give a number between 0 and 1, such as 0.95")


def _strata(scores: Scores) -> list[NDArray[np.float64]]:
    """One array of episodes a seed; plain scores are the episodes of one seed."""
    parts = list(scores) if isinstance(scores, Sequence | np.ndarray) else [scores]
    if parts and all(np.ndim(part) == 0 for part in parts):
        parts = [parts]
    strata = [np.asarray(part, dtype=np.float64).reshape(-1) for part in parts]
    if not strata or any(len(stratum) == 0 for stratum in strata):
        raise UserError("an interval needs at least one episode of every seed; evaluate first")
    if not all(np.isfinite(stratum).all() for stratum in strata):
        raise UserError("a score is not a finite number; look for NaN or infinity among the returns")
    return strata
