"""``vgf verify NAME``: run an experiment of the registry again, and say which numbers fall inside their intervals.

Only runs that recorded numbers need are run. Without a name: every experiment with its wall time. ``--runs DIR`` only
reads runs that are there. The exit status is 1 where a number falls outside or cannot be read. A run that was
interrupted goes on with the same command.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from vgf.commands import Parser
from vgf.errors import UserError, did_you_mean
from vgf.report.page_parts import duration
from vgf.results.experiment import Experiment
from vgf.results.grid import measures_of
from vgf.results.measure import Number, measured, runs_needed
from vgf.results.registry import experiments, read
from vgf.results.runner import chosen_here, require_commands, run_missing, running_arguments
from vgf.results.text import value_text

__all__ = ["compared", "run"]


def run(arguments: Sequence[str]) -> None:
    """Verify one experiment, or list them all.

    Raises:
        UserError: an unknown experiment, one without numbers or runs, no folder of runs, options that go with running
            beside ``--runs``, or a run that failed.
        SystemExit: status 1: not all numbers fall inside.
    """
    parser = Parser("verify")
    parser.add_argument("name", nargs="?", metavar="NAME", help="of an experiment; without it they are listed")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="holds the run directories; nothing is run")
    running_arguments(parser)
    given = parser.parse_args(list(arguments))
    if given.name is None:
        print("\n".join(_listed(experiments())))
        return
    experiment = read(given.name)
    if experiment.expected is None or not experiment.expected.values:
        raise UserError(f"{given.name} has no numbers to compare with: it is {experiment.status}")
    require_commands(experiment)
    if given.runs is None:
        needed = runs_needed(experiment, experiment.expected.values)
        if not run_missing(
            read, given.name, given.root, pilot=given.pilot, limit_minutes=given.limit_minutes, folders=needed
        ):
            sys.exit(1)
    else:
        for option in ("root", "pilot", "limit_minutes"):
            if getattr(given, option) != parser.get_default(option):
                raise UserError(f"--{option.replace('_', '-')} is for running, and --runs only reads; leave one out")
        if not given.runs.is_dir():
            raise UserError(f"--runs {given.runs} is no folder; it holds the run directories of {given.name}")
    folder = given.runs or given.root / given.name
    chosen = chosen_here(experiment, folder, pilot=given.pilot) or {}
    lines, inside = compared(experiment, *measured(experiment, folder, chosen))
    print("\n".join(lines))
    if not inside:
        sys.exit(1)


def compared(experiment: Experiment, numbers: dict[str, Number], reasons: dict[str, str]) -> tuple[list[str], bool]:
    """A line for every recorded value, and whether all fall inside their recorded intervals.

    A value that was recorded without an interval is told, and counts neither way.
    """
    assert experiment.expected is not None
    lines, total, outside, measures = [], 0, 0, measures_of(experiment)
    for name, (value, *ends) in experiment.expected.values.items():
        if name not in measures:
            raise UserError(
                f"{experiment.name}.yaml: {name!r} has a value but no measure.{did_you_mean(name, measures)}"
            )
        recorded = value_text(measures[name], (value, *ends))
        total += bool(ends)
        if name not in numbers:
            outside += bool(ends)
            lines.append(f"missing  {name}: recorded {recorded}; {reasons[name]}")
            continue
        now = numbers[name]
        text = value_text(measures[name], (now.value, now.low, now.high))
        if not ends:
            lines.append(f"beside   {name}: {text}; recorded {recorded}, without an interval")
            continue
        low, high = ends
        fits = low - 1e-4 * abs(low) <= now.value <= high + 1e-4 * abs(high)
        outside += not fits
        lines.append(f"{'inside ' if fits else 'OUTSIDE'}  {name}: {text}; recorded {recorded}")
    lines.append(f"{experiment.name}: {total - outside} of {total} inside their recorded 95 % intervals")
    return lines, not outside


def _listed(known: Sequence[Experiment]) -> list[str]:
    width = max(len(experiment.name) for experiment in known)
    lines = []
    for experiment in known:
        told = duration(experiment.expected.seconds if experiment.expected else None) or "-"
        lines.append(f"{experiment.name:<{width}}  {experiment.status:<10}  {told:>10}  {experiment.title}")
    return lines
