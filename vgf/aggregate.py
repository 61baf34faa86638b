"""Scores of several training runs on several tasks: interquartile mean and probability of improvement, with intervals.

Agarwal et al. 2021 (arXiv 2108.13264), as their package rliable has them. A run's score is one number, its mean over
episodes; the unit that is resampled is the run, within each task. Intervals tell how far other *training seeds* could
move a number, where :mod:`vgf.stats` tells how far other episodes of one run could.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgf.errors import UserError
from vgf.stats import bootstrap_interval, iqm

__all__ = ["improvement_interval", "iqm_interval", "probability_of_improvement"]

Runs = Sequence[ArrayLike]  # scores of the runs of each task, [runs] a task
_SAMPLES = 2000


def iqm_interval(scores: Runs) -> tuple[float, float, float]:
    """Interquartile mean over all runs of all tasks, and its 95 % stratified bootstrap interval (strata: tasks).

    Raises:
        UserError: a task without runs, or a score that is not finite.
    """
    low, high = bootstrap_interval(list(scores), iqm)
    return float(iqm(np.concatenate([np.ravel(np.asarray(task, float)) for task in scores]))), low, high


def probability_of_improvement(scores: Runs, others: Runs) -> float:
    """P(X > Y): mean over tasks of the Mann-Whitney statistic, ties counting half.

    With runs x_1..x_n and y_1..y_m of a task: 1/(nm) sum_ij [x_i > y_j] + [x_i = y_j] / 2.

    Raises:
        UserError: not the same number of tasks, or a task without runs.
    """
    ours, theirs = _tasks(scores), _tasks(others)
    if len(ours) != len(theirs):
        raise UserError(f"{len(ours)} tasks cannot be compared with {len(theirs)}")
    return float(np.mean([_wins(x[None], y[None])[0] for x, y in zip(ours, theirs, strict=True)]))


def improvement_interval(scores: Runs, others: Runs, *, seed: int = 0) -> tuple[float, float]:
    """95 % interval of :func:`probability_of_improvement`: runs of both resampled within each task.

    Raises:
        UserError: as :func:`probability_of_improvement`.
    """
    probability_of_improvement(scores, others)
    generator = np.random.default_rng(seed)
    drawn = [
        _wins(*(each[generator.integers(0, len(each), size=(_SAMPLES, len(each)))] for each in (x, y)))
        for x, y in zip(_tasks(scores), _tasks(others), strict=True)
    ]
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    return float(low), float(high)


def _wins(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """x [samples, n], y [samples, m] -> share of pairs that x wins, [samples]."""
    difference = x[:, :, None] - y[:, None, :]
    return ((difference > 0) + 0.5 * (difference == 0)).mean(axis=(1, 2))


def _tasks(scores: Runs) -> list[NDArray[np.float64]]:
    tasks = [np.asarray(task, dtype=np.float64).reshape(-1) for task in scores]
    if not tasks or any(len(task) == 0 for task in tasks):
        raise UserError("every task needs at least one run")
    return tasks
