"""Writes what finished runs came to into the registry: value and interval of every measure, where and when.

results/scores/NAME/   what the measures read of every run that was recorded, in the shape of a folder of runs

So an experiment can be run in parts, here and there and one day after another: ``record`` adds the runs it finds to
those that are kept, and reads the measures from all of them.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from vgf.errors import UserError
from vgf.results.experiment import Expected, Experiment
from vgf.results.figures import copy_figures
from vgf.results.grid import OneRun, runs_of
from vgf.results.history import history, machine, that_counts
from vgf.results.keep import VERSIONS, keep
from vgf.results.measure import measured
from vgf.results.registry import path_of, read, write_expected
from vgf.results.runner import chosen_here, missing

__all__ = ["expected_of", "record"]


def record(name: str, root: Path, docs: Path) -> str:
    """Keep the scores of the runs in ``root/name``, read all that are kept into ``results/name.yaml``, and say so.

    Figures of the page that those runs drew are copied to ``docs`` with their numbers, and at no other time.

    Raises:
        UserError: nothing can be read, or a number that was recorded could be read no more; the YAML then stays.
    """
    experiment, kept = read(name), path_of(name).parent / "scores" / name
    keep([run for run in runs_of(experiment) if run.pilot], root / name, kept)
    done = keep(runs_of(experiment, chosen_here(experiment, kept, pilot=False)), root / name, kept)
    expected, reasons = expected_of(experiment, kept)
    recorded = experiment.expected.values if experiment.expected else {}
    if lost := [measure for measure in recorded if measure not in expected.values]:
        raise UserError(
            f"{path_of(name)} stays as it is: {len(lost)} of its {len(recorded)} numbers cannot be read, neither from "
            f"{root / name} nor from what was kept ({lost[0]}: {reasons.get(lost[0], 'no such measure')}). Run what is "
            f"missing, or take 'expected' out of the file; the scores that were found are kept in {kept}"
        )
    complete = not reasons and not missing(experiment, kept)
    write_expected(path_of(name), expected, "run" if complete and not experiment.not_run else "partly run")
    figures = [f"  figure: {path}" for path in copy_figures(experiment, docs, root / name, done)]
    count = len(expected.values)
    heading = f"{name}: {count} of {count + len(reasons)} measures recorded in {path_of(name)}"
    return "\n".join([heading, *_told(reasons), *figures])


def _told(reasons: Mapping[str, str]) -> Iterator[str]:
    """A line for every reason, with the measures that it keeps from being recorded."""
    measures: dict[str, list[str]] = {}
    for measure, reason in reasons.items():
        measures.setdefault(reason, []).append(measure)
    for reason, names in measures.items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"  not recorded: {names[0]}{others}: {reason}"


def expected_of(experiment: Experiment, folder: Path) -> tuple[Expected, dict[str, str]]:
    """What the runs in a folder came to, and why measures are missing.

    Raises:
        UserError: no measure can be read.
    """
    chosen = chosen_here(experiment, folder, pilot=False)
    if chosen is None:
        raise UserError(f"{folder} holds no finished pilot to choose budgets; run it first")
    numbers, reasons = measured(experiment, folder, chosen)
    if not numbers:
        raise UserError(f"{folder} holds no number of {experiment.name}: {next(iter(reasons.values()), 'no measures')}")
    attempts = that_counts(history(folder))
    last = next((attempt for attempt in reversed(attempts) if attempt.status == 0), None)
    facts, here = _environment(folder, runs_of(experiment, chosen)), machine()
    unnamed = experiment.expected.machine if experiment.expected else here  # of attempts that older versions wrote
    machines = [each for attempt in attempts for each in (attempt.machine or unnamed).split(" and ")]
    commit = last.commit if last else facts.get("commit", "unknown")
    return Expected(
        commit=commit,
        earlier=[other for other in dict.fromkeys(attempt.commit for attempt in attempts) if other != commit],
        date=last.date if last else datetime.datetime.now(datetime.UTC).date().isoformat(),
        machine=" and ".join(dict.fromkeys(machines)) or here,
        seconds=round(sum(attempt.seconds for attempt in attempts)) if attempts else None,
        versions={package: facts[package] for package in VERSIONS if package in facts},
        chosen=chosen,
        values={
            name: [_rounded(x) for x in asdict(number).values() if math.isfinite(x)] for name, number in numbers.items()
        },
    ), reasons


def _rounded(x: float) -> float:
    return float(f"{x:.5g}")


def _environment(folder: Path, runs: Sequence[OneRun]) -> dict[str, str]:
    """Lines of the first run's ``environment.txt``."""
    for run in runs:
        path = folder / run.folder / "environment.txt"
        if path.is_file() and not run.pilot:
            lines = path.read_text().splitlines()
            return dict(line.split(": ", 1) for line in lines if ": " in line)
    return {}
