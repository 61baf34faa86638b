"""The episodes of a run: reads and checks ``eval.csv``, one row an episode."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vgf.report.csv_rows import measured, method_name, number, read_rows, whole

__all__ = ["COLUMNS", "Row", "read_evaluations"]

COLUMNS = (
    "step", "method", "budget", "episode", "return", "success", "length", "travelled", "value", "milliseconds",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One evaluated episode.

    Attributes:
        step: training step of the checkpoint.
        method: name of the transport rule's method.
        budget: value of the method's own knob, >= 0; 0 is the reference.
        episode: number of the episode; the same number means the same seeds at every budget.
        episode_return: undiscounted return.
        success: 0.0 or 1.0; None when the environment does not tell.
        length: decisions in the episode.
        travelled: mean RMS distance per coordinate of the action from its unmoved twin, action units.
        value: mean value of the chosen actions under the critic that moves them.
        milliseconds: mean wall time of a decision.
        judge: mean value of the chosen actions under the judge.

    The last five are NaN where they were not measured.
    """

    step: int
    method: str
    budget: float
    episode: int
    episode_return: float
    success: float | None
    length: float
    travelled: float
    value: float
    milliseconds: float
    judge: float = math.nan


def read_evaluations(run_dir: Path | str) -> list[Row]:
    """Read ``eval.csv`` of a run directory, sorted by step, method, budget and episode.

    A last line that was cut off by an interruption is left out. Further columns are ignored.

    Raises:
        UserError: the file is missing, unreadable or empty, lacks a column, or a row is broken.
    """
    return read_rows(Path(run_dir), COLUMNS, _row, key=lambda row: (row.step, row.method, row.budget, row.episode))


def _row(cells: Mapping[str, str]) -> Row:
    """One row from its cells; ValueError says which cell is wrong."""
    row = Row(
        step=whole(cells, "step"),
        method=method_name(cells),
        budget=number(cells, "budget"),
        episode=whole(cells, "episode"),
        episode_return=number(cells, "return"),
        success=None if cells["success"].strip().lower() in ("", "nan") else number(cells, "success"),
        length=measured(cells, "length"),
        travelled=measured(cells, "travelled"),
        value=measured(cells, "value"),
        milliseconds=measured(cells, "milliseconds"),
        judge=measured(cells, "judge"),
    )
    if row.budget < 0:
        raise ValueError(f"budget={row.budget:g} is below 0")
    if row.success not in (None, 0.0, 1.0):
        raise ValueError(f"success={row.success:g} is neither 0 nor 1")
    return row
