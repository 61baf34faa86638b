"""Writes what finished runs came to into the registry: value and interval of every measure, where and when."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from vgf.errors import UserError
from vgf.results.experiment import Expected, Experiment
from vgf.results.grid import OneRun, runs_of
from vgf.results.measure import measured
from vgf.results.registry import path_of, read, write_expected
from vgf.results.runner import chosen_here, history, missing
from vgf.speed import cores, processor

__all__ = ["expected_of", "machine", "record"]

_VERSIONS = ("python", "torch", "numpy", "mujoco", "gymnasium", "ogbench")


def record(name: str, root: Path) -> str:
    """Read the runs in ``root/name`` into ``results/name.yaml``, and say what was read.

    Raises:
        UserError: nothing can be read.
    """
    experiment, folder = read(name), root / name
    expected, reasons = expected_of(experiment, folder)
    complete = not reasons and not missing(experiment, folder)
    write_expected(path_of(name), expected, "run" if complete and not experiment.not_run else "partly run")
    lines = [
        f"{name}: {len(expected.values)} of {len(expected.values) + len(reasons)} measures recorded in {path_of(name)}"
    ]
    return "\n".join([*lines, *(f"  not recorded: {measure}: {reason}" for measure, reason in reasons.items())])


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
    attempts = history(folder)
    facts = _environment(folder, runs_of(experiment, chosen))
    return Expected(
        commit=attempts[-1].commit if attempts else facts.get("commit", "unknown"),
        date=attempts[-1].date if attempts else datetime.datetime.now(datetime.UTC).date().isoformat(),
        machine=machine(),
        seconds=round(sum(attempt.seconds for attempt in attempts)) if attempts else None,
        versions={package: facts[package] for package in _VERSIONS if package in facts},
        chosen=chosen,
        values={name: [_rounded(x) for x in asdict(number).values()] for name, number in numbers.items()},
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


def machine() -> str:
    """Processor and number of cores, nothing that names the machine."""
    return f"{processor()}, {len(cores())} cores"
