"""Every task of control beside the others: one row a method, one column a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vgf.results.experiment import Experiment
from vgf.results.text import cells_of

__all__ = ["overview"]

_REFERENCE = "cloned flow"  # the row by which an experiment of all methods is told from one of a few
_NAMES = {"best_of_n": "best of 8", "best_of_16": "best of 16"}


def overview(experiments: Sequence[Experiment]) -> Iterator[str]:
    """A table of success in percent, without intervals, of the experiments whose budgets a pilot chose."""
    columns: dict[str, dict[str, float]] = {}  # task -> method -> success
    for experiment in experiments:
        if experiment.expected is None or not experiment.expected.chosen:
            continue
        for name, (value, *_) in experiment.expected.values.items():
            row, task = cells_of(name)
            if not task or task.startswith("task "):
                columns.setdefault(f"{experiment.name} {task}".strip(), {})[row] = value
    tasks = [task for task, methods in columns.items() if _REFERENCE in methods]
    if not tasks:
        return
    rows = [row for row in columns[tasks[0]] if all(row in columns[task] for task in tasks)]
    yield f"Success in percent on {len(tasks)} tasks, at budgets fixed beforehand; the last column is their mean.\n"
    yield f"| | {' | '.join([*tasks, 'mean'])} |\n" + "|---" * (len(tasks) + 2) + "|"
    for row in rows:
        values = [columns[task][row] for task in tasks]
        cells = [f"{100 * value:.0f}" for value in (*values, sum(values) / len(values))]
        shown = _NAMES.get(row, row if row == _REFERENCE else f"`{row}`")
        yield f"| {shown} | {' | '.join(cells)} |"
    yield (
        "\nIntervals, budgets and what to think of a column stand below. One that is nearly all zeros says nothing "
        "about methods, and no cell does of a method whose pilot succeeded at no budget.\n"
    )
