"""``vgf collect DIR``: all runs under a folder in one table.

One row for every kind of run (what differs but the seed and the environment) and every method it was evaluated with,
at the method's configured budget or at the only one it was moved by, and one for each reference. A run counts as one
score; over seeds and environments: mean, interquartile mean, the lowest and the highest run, and the probability that a
run does better than a run of the reference, budget 0. The 95 % intervals (runs resampled within each environment) need
five runs of every environment: a bootstrap of two or three draws hardly anything but the lowest and the highest.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vgf.aggregate import improvement_interval, iqm_interval, probability_of_improvement
from vgf.commands import Parser
from vgf.errors import UserError
from vgf.files import atomic_write_text
from vgf.methods import stays_put
from vgf.report.points import counts_text
from vgf.report.several import Group, StoredPoint, StoredRun, group_runs, read_run
from vgf.stats import iqm

__all__ = ["Line", "collect", "run"]

_COLUMNS = (
    "runs of", "method", "budget", "environments", "seeds", "score", "mean", "lowest", "highest", "IQM", "low", "high",
    "P(better than reference)", "P low", "P high",
)  # fmt: skip
_FEWEST_RUNS = 5  # of an environment, for an interval


@dataclass(frozen=True)
class Line:
    """One row: its first columns as text, and the scores of its runs by environment.

    ``moved``: whether it is a move, and not budget 0.
    """

    group: str
    method: str
    budget: str
    unit: str
    moved: bool
    scores: dict[str, list[float]]


def run(arguments: Sequence[str]) -> None:
    """Print the table as Markdown and write it as CSV.

    Raises:
        UserError: no run in the folder, or runs that cannot be put together.
    """
    parser = Parser("collect")
    parser.add_argument("folder", type=Path, metavar="DIR", help="with run directories in it, at any depth")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="default: DIR/collect.csv")
    given = parser.parse_args(list(arguments))
    runs, left_out = _read_all(given.folder)
    groups = group_runs(runs, by_task=True)
    table = [_COLUMNS, *collect(groups)]
    print("\n".join(_markdown(table)))
    for reason in [*left_out, *(reason for group in groups for reason in _without_a_line(group))]:
        print(f"left out: {reason}")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    target = given.csv or given.folder / "collect.csv"
    atomic_write_text(target, text.getvalue())
    print(f"\n{sum(len(group.runs) for group in groups)} runs; table: {target}")


def _read_all(folder: Path) -> tuple[list[StoredRun], list[str]]:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give one with run directories in it")
    paths = sorted(path.parent for path in folder.rglob("config.yaml") if (path.parent / "eval.csv").is_file())
    runs, left_out = [], []
    for path in paths:
        try:
            runs.append(read_run(path))
        except UserError as reason:  # one broken run of a sweep does not hide the others
            left_out.append(str(reason))
    if not runs:
        raise UserError(f"{folder} holds no evaluated run{f' ({left_out[0]})' if left_out else ''}")
    return runs, left_out


def collect(groups: Sequence[Group]) -> list[tuple[str, ...]]:
    """Rows of the table below its heading."""
    return [cells for group in groups for cells in _rows(group)]


def _rows(group: Group) -> Iterator[tuple[str, ...]]:
    lines = [line for method in _methods(group) for line in _lines(group, method)]
    movable = [line for line in lines if not line.moved and not stays_put(line.method)]
    references = [line for line in lines if line.method == "reference" and not line.moved] + movable
    for line in lines:
        own = [reference for reference in references if reference.method == line.method]
        other = None if line in references else next(iter(own or references), None)
        yield _cells(line, other if other and (line.moved or line.scores != other.scores) else None)


def _methods(group: Group) -> list[str]:
    return list(dict.fromkeys(point.method for run in group.runs for point in run.points))


def _lines(group: Group, method: str) -> Iterator[Line]:
    """A method's reference and its move: each run's configured point, else the only budget it was moved by."""
    points = [(run, point) for run in group.runs for point in run.points if point.method == method]
    if unmoved := [(run, point) for run, point in points if point.budget == 0]:
        yield _line(group, unmoved)
    moved = [(run, point) for run, point in points if point.budget > 0]
    if configured := [(run, point) for run, point in moved if point.configured]:
        yield _line(group, configured)
    elif len({point.budget for _, point in moved}) == 1:
        yield _line(group, moved, " (the only one)")


def _line(group: Group, points: Sequence[tuple[StoredRun, StoredPoint]], remark: str = "") -> Line:
    scores: dict[str, list[float]] = {}
    for run, point in points:
        scores.setdefault(run.task, []).append(float(point.scores.mean()))
    budgets = sorted({point.budget for _, point in points})  # several where budget=auto chose one for each run
    named = ", ".join(f"{budget:g}" for budget in budgets) + remark
    return Line(group.name, points[0][1].method, named, group.runs[0].unit, budgets[-1] > 0, scores)


def _without_a_line(group: Group) -> Iterator[str]:
    """Methods that were moved by several budgets, none of them the configured one."""
    for method in _methods(group):
        moved = sorted({p.budget for run in group.runs for p in run.points if p.method == method and p.budget > 0})
        if moved and not any(line.moved for line in _lines(group, method)):
            there = ", ".join(f"{budget:g}" for budget in moved)
            yield f"{method} of {group.name} at {there} (not at its configured budget; vgf compare shows all budgets)"


def _cells(line: Line, reference: Line | None) -> tuple[str, ...]:
    tasks = list(line.scores.values())
    counts = [len(task) for task in tasks]
    runs = np.concatenate(tasks)
    centre, *ends = iqm_interval(tasks) if min(counts) >= _FEWEST_RUNS else (float(iqm(runs)), math.nan, math.nan)
    improvement = (math.nan, math.nan, math.nan)
    if reference is not None and (shared := [env for env in line.scores if env in reference.scores]):
        ours, theirs = ([each.scores[env] for env in shared] for each in (line, reference))
        enough = min(map(len, ours + theirs)) >= _FEWEST_RUNS
        interval = improvement_interval(ours, theirs) if enough else (math.nan, math.nan)
        improvement = (probability_of_improvement(ours, theirs), *interval)
    numbers = tuple(
        "" if math.isnan(x) else f"{x:.4g}" for x in (runs.mean(), runs.min(), runs.max(), centre, *ends, *improvement)
    )
    return (line.group, line.method, line.budget, f"{len(tasks)}", counts_text(counts), line.unit, *numbers)


def _markdown(table: Sequence[Sequence[str]]) -> Iterator[str]:
    """Aligned columns between bars; a bar inside a cell is escaped."""
    cells = [[cell.replace("|", r"\|") for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        if number == 0:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"
