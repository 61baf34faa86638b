"""``vgf verify NAME``: run an experiment of the registry again, and say which numbers fall inside their intervals.

Only runs that recorded numbers need are run. Without a name: every experiment with its wall time. ``--runs DIR`` only
reads runs that are there. The exit status is 1 where more numbers fall outside than chance explains, or one cannot be
read. A run that was interrupted goes on with the same command.
"""

from __future__ import annotations

import math
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

# Of a number that is drawn twice, the second draw is outside the first's 95 % interval: 1.96 deviations of one draw
# are 1.39 of the difference of two.
_MISSES = math.erfc(1.959964 / math.sqrt(2) / math.sqrt(2))
_TOO_RARE = 0.01


def run(arguments: Sequence[str]) -> None:
    """Verify one experiment, or list them all.

    Raises:
        UserError: an unknown experiment, one without numbers or runs, no folder of runs, options that go with running
            beside ``--runs``, or a run that failed.
        SystemExit: status 1: more numbers fall outside than chance explains, or one cannot be read.
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
    lines, holds = compared(experiment, *measured(experiment, folder, chosen))
    print("\n".join(lines))
    if not holds:
        sys.exit(1)


def compared(experiment: Experiment, numbers: dict[str, Number], reasons: dict[str, str]) -> tuple[list[str], bool]:
    """A line for every recorded value, and whether all were read and no more miss their intervals than chance explains.

    A value that was recorded without an interval is told, and counts neither way.
    """
    assert experiment.expected is not None
    lines, measures = [], measures_of(experiment)
    inside = outside = missing = missing_intervals = 0
    for name, (value, *ends) in experiment.expected.values.items():
        if name not in measures:
            raise UserError(
                f"{experiment.name}.yaml: {name!r} has a value but no measure.{did_you_mean(name, measures)}"
            )
        recorded = value_text(measures[name], (value, *ends))
        if name not in numbers:
            missing, missing_intervals = missing + 1, missing_intervals + bool(ends)
            lines.append(f"missing  {name}: recorded {recorded}; {reasons[name]}")
            continue
        now = numbers[name]
        text = value_text(measures[name], (now.value, now.low, now.high))
        if not ends:
            lines.append(f"beside   {name}: {text}; recorded {recorded}, without an interval")
            continue
        low, high = ends
        fits = low - 1e-4 * abs(low) <= now.value <= high + 1e-4 * abs(high)
        inside, outside = inside + fits, outside + (not fits)
        lines.append(f"{'inside ' if fits else 'OUTSIDE'}  {name}: {text}; recorded {recorded}")
    read = inside + outside
    told = f"{experiment.name}: {inside} of {read + missing_intervals} inside their recorded 95 % intervals"
    if outside:
        told += f"; chance alone leaves about {_MISSES * read:.1f} outside"
    return [*lines, told], not missing and _by_chance(outside, read)


def _by_chance(outside: int, total: int) -> bool:
    """Whether so many of ``total`` numbers may miss by chance: fewer than half, and not more than one time in 100.

    Numbers are taken for independent. Those of one experiment share runs and miss together, so that more may miss.
    """
    rarer = sum(math.comb(total, k) * _MISSES**k * (1 - _MISSES) ** (total - k) for k in range(outside, total + 1))
    return not outside or (2 * outside < total and rarer >= _TOO_RARE)


def _listed(known: Sequence[Experiment]) -> list[str]:
    width = max(len(experiment.name) for experiment in known)
    lines = []
    for experiment in known:
        told = duration(experiment.expected.seconds if experiment.expected else None) or "-"
        lines.append(f"{experiment.name:<{width}}  {experiment.status:<10}  {told:>10}  {experiment.title}")
    return lines
