"""``vgf collect DIR``: all runs under a folder in one table.

One row for every kind of run (what differs but the seed and the environment) and every method it was evaluated with,
at the method's configured budget, and one for each reference. A run counts as one score; over seeds and environments:
mean, interquartile mean with a 95 % interval (runs resampled within each environment), and the probability that a run
does better than a run of the reference, budget 0. Of one run there is no spread between runs, so there is no interval.
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
from vgf.report.several import Group, StoredRun, group_runs, read_run

__all__ = ["Line", "collect", "run"]

_COLUMNS = (
    "runs of", "method", "budget", "environments", "seeds", "score", "mean", "IQM", "low", "high",
    "P(better than reference)", "P low", "P high",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One row: its first columns as text, and the scores of its runs by environment."""

    group: str
    method: str
    budget: str
    unit: str
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
    table = [_COLUMNS, *collect(runs)]
    print("\n".join(_markdown(table)))
    for reason in left_out:
        print(f"left out: {reason}")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    target = given.csv or given.folder / "collect.csv"
    atomic_write_text(target, text.getvalue())
    print(f"\n{len(runs)} runs; table: {target}")


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


def collect(runs: Sequence[StoredRun]) -> list[tuple[str, ...]]:
    """Rows of the table below its heading.

    Raises:
        UserError: runs whose scores are of different kinds.
    """
    return [cells for group in group_runs(runs, by_task=True) for cells in _rows(group)]


def _rows(group: Group) -> Iterator[tuple[str, ...]]:
    lines = list(_lines(group))
    moved = {line.method for line in lines if line.budget != "0"}
    references = [line for line in lines if line.budget == "0" and line.method in moved | {"reference"}]
    for line in lines:
        own = [reference for reference in references if reference.method == line.method]
        reference = next(iter(own or references), None)  # a method without a budget has none of its own
        yield _cells(line, None if reference is line else reference)


def _lines(group: Group) -> Iterator[Line]:
    """Configured points first of each method, then its reference."""
    points = [(run, point) for run in group.runs for point in run.points]
    methods = dict.fromkeys(point.method for _, point in points)
    for method in methods:
        mine = [(run, point) for run, point in points if point.method == method]
        for budget in dict.fromkeys(p.budget for _, p in mine if p.configured or p.budget == 0):
            scores: dict[str, list[float]] = {}
            for run, point in mine:
                if point.budget == budget:
                    name = str(run.config.get("env") or run.config.get("task"))
                    scores.setdefault(name, []).append(float(point.scores.mean()))
            yield Line(group.name, method, f"{budget:g}", group.runs[0].unit, scores)


def _cells(line: Line, reference: Line | None) -> tuple[str, ...]:
    tasks = list(line.scores.values())
    counts = sorted({len(task) for task in tasks})
    mean = float(np.mean(np.concatenate(tasks)))
    centre, low, high = iqm_interval(tasks)
    if max(counts) == 1:
        low = high = math.nan
    improvement = (math.nan, math.nan, math.nan)
    if reference is not None and (shared := [env for env in line.scores if env in reference.scores]):
        ours, theirs = ([each.scores[env] for env in shared] for each in (line, reference))
        ends = improvement_interval(ours, theirs) if max(counts) > 1 else (math.nan, math.nan)
        improvement = (probability_of_improvement(ours, theirs), *ends)
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    numbers = tuple("" if math.isnan(x) else f"{x:.4g}" for x in (mean, centre, low, high, *improvement))
    return (line.group, line.method, line.budget, f"{len(tasks)}", seeds, line.unit, *numbers)


def _markdown(table: Sequence[Sequence[str]]) -> Iterator[str]:
    """Aligned columns between bars; a bar inside a cell is escaped."""
    cells = [[cell.replace("|", r"\|") for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        if number == 0:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"
