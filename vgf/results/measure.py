"""Measures: from the files of an experiment's runs to numbers with 95 % intervals.

Statistics are those of :mod:`vgf.stats` and :mod:`vgf.aggregate`.

Scores of a prompt over its noise seeds are averaged before anything else: they are not independent.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from vgf.aggregate import iqm_interval
from vgf.errors import UserError, did_you_mean
from vgf.methods import load_method
from vgf.results.experiment import Experiment, Measure
from vgf.results.grid import CHOSEN, OneRun, measures_of, runs_of
from vgf.results.scores import Evaluated, Scores, read_scores
from vgf.rundir import read_auto_budget
from vgf.stats import bootstrap_interval, mean_interval, success_interval

__all__ = ["STATISTICS", "Number", "measured", "runs_needed"]

AUTO = "auto"  # as a measure's budget: what budget=auto chose in the run


@dataclass(frozen=True)
class Number:
    """A measured value with the ends of its 95 % interval; NaN where the scores tell none."""

    value: float
    low: float
    high: float


def measured(
    experiment: Experiment, folder: Path, chosen: Mapping[str, float]
) -> tuple[dict[str, Number], dict[str, str]]:
    """Every measure's number, and the reasons of those that cannot be read.

    Args:
        folder: with the experiment's run directories.
        chosen: the budgets for ``budget: chosen``.

    Raises:
        UserError: a measure that no run could satisfy: an unknown statistic, runs that ``where`` leaves none of.
    """
    runs = runs_of(experiment, chosen)
    read: dict[str, Evaluated] = {}
    numbers, reasons = {}, {}
    for measure in measures_of(experiment).values():
        wanted = _runs_for(measure, runs, experiment.name)
        try:
            scores = [_of_run(measure, run, runs, folder, chosen, read) for run in wanted]
            numbers[measure.name] = _statistic(measure)(scores, wanted)
        except UserError as reason:
            reasons[measure.name] = str(reason)
    return numbers, reasons


def runs_needed(experiment: Experiment, names: Collection[str]) -> set[str]:
    """Run directories that measures of these names need: those they read, of what they subtract as well, and origins.

    Raises:
        UserError: a measure that no run could satisfy.
    """
    runs, needed = runs_of(experiment), set[str | None]()
    for measure in (one for name, one in measures_of(experiment).items() if name in names):
        for run in _runs_for(measure, runs, experiment.name):
            needed |= {run.folder, _beside(measure, run, runs).folder}
    for run in reversed(runs):  # a run starts from one before it
        if run.folder in needed:
            needed.add(run.origin)
    return {folder for folder in needed if folder is not None}


def _runs_for(measure: Measure, runs: Sequence[OneRun], name: str) -> list[OneRun]:
    found = [
        run
        for run in runs
        if run.template == measure.runs
        and all(str(run.params.get(key)) in map(str, values) for key, values in measure.where.items())
    ]
    if not found:
        raise UserError(f"{name}.yaml, {measure.name}: where leaves none of the runs {measure.runs!r}")
    return found


def _of_run(
    measure: Measure,
    run: OneRun,
    runs: Sequence[OneRun],
    folder: Path,
    chosen: Mapping[str, float],
    read: dict[str, Evaluated],
) -> np.ndarray:
    """Scores of one run: one for each episode, or prompt."""
    own = _scores(measure, _evaluated(run, folder, read), chosen)
    if (minus := measure.minus) is not None:
        other = replace(
            measure,
            method=minus.method,
            budget=minus.budget,
            travelled=measure.travelled if minus.budget is None else None,
            field=minus.field or measure.field,
        )
        theirs = _scores(other, _evaluated(_beside(measure, run, runs), folder, read), chosen)
        own = {key: own[key] - theirs[key] for key in own if key in theirs}
    units: dict[int, list[float]] = {}
    for (unit, _), score in own.items():
        units.setdefault(unit, []).append(score)
    return np.array([np.mean(units[unit]) for unit in sorted(units)])


def _beside(measure: Measure, run: OneRun, runs: Sequence[OneRun]) -> OneRun:
    """The run that is subtracted from a run of the measure: itself, unless ``minus`` names others."""
    template = (measure.minus.runs if measure.minus else None) or measure.runs
    found = next((each for each in runs if each.template == template and each.params == run.params), None)
    if found is None:
        raise UserError(f"{measure.name}: no run {template!r} has the grid values of {run.folder}")
    return found


def _evaluated(run: OneRun, folder: Path, read: dict[str, Evaluated]) -> Evaluated:
    if run.folder not in read:
        read[run.folder] = read_scores(folder / run.folder)
    return read[run.folder]


def _scores(measure: Measure, run: Evaluated, chosen: Mapping[str, float]) -> Scores:
    budgets = run.budgets(measure.method, measure.step)
    if measure.travelled is not None:
        return _at_distance(measure, run.path, budgets)
    return _field(measure, measure.field, run.path, budgets[_budget(measure, budgets, chosen, run.path)])


def _field(measure: Measure, name: str, path: Path, fields: Mapping[str, Scores]) -> Scores:
    if name not in fields:
        raise UserError(f"{path / 'eval.csv'} has no {name} of {measure.method}.{did_you_mean(name, fields)}")
    return fields[name]


def _budget(measure: Measure, there: Mapping[float, object], chosen: Mapping[str, float], path: Path) -> float:
    """The budget among those evaluated."""
    method, budget = measure.method, measure.budget
    if budget == CHOSEN and method not in chosen:
        raise UserError(f"no budget of {method} has been chosen; the pilot has not been run")
    if budget is None and len(there) > 1:
        raise UserError(f"{path / 'eval.csv'} has {method} at several budgets; the measure must name one")
    if budget == AUTO:
        value = float(getattr(read_auto_budget(path, method), load_method(method).transport.knob))
    else:
        value = next(iter(there)) if budget is None else float(chosen[method] if budget == CHOSEN else budget)
    for each in there:
        if abs(each - value) <= 1e-9 + 1e-6 * abs(value):
            return each
    raise UserError(
        f"{path / 'eval.csv'} has no row of {method} at {value:g}; it has {', '.join(f'{b:g}' for b in there)}"
    )


def _at_distance(measure: Measure, path: Path, budgets: Mapping[float, Mapping[str, Scores]]) -> Scores:
    """Scores at a travelled distance: of the two budgets that enclose it, mixed linearly, episode by episode."""
    distance = measure.travelled
    assert distance is not None
    travelled = {budget: _field(measure, "travelled", path, fields) for budget, fields in budgets.items()}
    far = sorted((float(np.mean(list(scores.values()))), budget) for budget, scores in travelled.items())
    for (near, one), (farther, other) in itertools.pairwise(far):
        if near <= distance <= farther and farther > near:
            share = (distance - near) / (farther - near)
            a, b = (_field(measure, measure.field, path, budgets[budget]) for budget in (one, other))
            return {key: (1 - share) * a[key] + share * b[key] for key in a if key in b}
    raise UserError(
        f"{path.name}: {measure.method}: its sweep reaches from {far[0][0]:.3g} to {far[-1][0]:.3g}, "
        f"not a distance of {distance:g}"
    )


# --- statistics --------------------------------------------------------------------------------------

Statistic = Callable[[Sequence[np.ndarray], Sequence[OneRun]], Number]


def _success(scores: Sequence[np.ndarray], runs: Sequence[OneRun]) -> Number:
    return Number(float(np.concatenate(scores).mean()), *success_interval(list(scores)))


def _mean(scores: Sequence[np.ndarray], runs: Sequence[OneRun]) -> Number:
    ends = mean_interval(scores[0]) if len(scores) == 1 else bootstrap_interval(list(scores))
    return _told(scores, float(np.concatenate(scores).mean()), *ends)


def _iqm(scores: Sequence[np.ndarray], runs: Sequence[OneRun]) -> Number:
    """Over runs; those that differ in nothing but the seed are a task."""
    tasks: dict[str, list[float]] = {}
    for each, run in zip(scores, runs, strict=True):
        tasks.setdefault(str({k: v for k, v in run.params.items() if k != "seed"}), []).append(float(each.mean()))
    return _told(list(tasks.values()), *iqm_interval(list(tasks.values())))


def _told(strata: Sequence[ArrayLike], value: float, low: float, high: float) -> Number:
    """No interval where all resamplings are the same: a bootstrap of equal scores cannot tell how far off they are."""
    spread = any(np.ptp(np.asarray(stratum)) > 0 for stratum in strata)
    return Number(value, low, high) if spread else Number(value, math.nan, math.nan)


STATISTICS: dict[str, Statistic] = {"success": _success, "mean": _mean, "iqm": _iqm}


def _statistic(measure: Measure) -> Statistic:
    if measure.statistic not in STATISTICS:
        hint = did_you_mean(measure.statistic, STATISTICS)
        raise UserError(
            f"{measure.name}: statistic={measure.statistic!r} is unknown; use one of {', '.join(STATISTICS)}.{hint}"
        )
    return STATISTICS[measure.statistic]
