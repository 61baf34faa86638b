"""The episodes of a run: reads and checks ``eval.csv``.

One row an episode. Where a later evaluation was appended, an episode can occur twice; the later row
counts.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

from vgf.errors import UserError

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
    path = Path(run_dir) / "eval.csv"
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = csv.reader(io.StringIO(text, newline=""))
        records = [(lines.line_num, cells) for cells in lines if cells]
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; evaluate the run first: mode=eval run={run_dir}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as CSV text ({error}); delete it and evaluate again") from error

    header = records[0][1] if records else []
    if absent := [column for column in COLUMNS if column not in header]:
        raise UserError(f"{path} lacks the column {absent[0]!r} in its first line; it needs {','.join(COLUMNS)}")
    rows: dict[tuple[int, str, float, int], Row] = {}
    for line, cells in records[1:]:
        try:
            row = _row(dict(zip(header, cells, strict=True)))
        except ValueError as error:
            if line == records[-1][0] and not text.endswith(("\n", "\r")):
                break  # the run was interrupted while it wrote this line
            raise UserError(f"{path} line {line}: {error}; correct or delete this line") from error
        rows[row.step, row.method, row.budget, row.episode] = row
    if not rows:
        raise UserError(f"{path} holds no episode yet; evaluate the run first: mode=eval run={run_dir}")
    return [rows[key] for key in sorted(rows)]


def _row(cells: dict[str, str]) -> Row:
    """One row from its cells; ValueError says which cell is wrong."""
    if not cells["method"].strip():
        raise ValueError("method is empty")
    row = Row(
        step=_whole(cells, "step"),
        method=cells["method"].strip(),
        budget=_number(cells, "budget"),
        episode=_whole(cells, "episode"),
        episode_return=_number(cells, "return"),
        success=None if cells["success"].strip().lower() in ("", "nan") else _number(cells, "success"),
        length=_measured(cells, "length"),
        travelled=_measured(cells, "travelled"),
        value=_measured(cells, "value"),
        milliseconds=_measured(cells, "milliseconds"),
        judge=_measured(cells, "judge"),
    )
    if row.budget < 0:
        raise ValueError(f"budget={row.budget:g} is below 0")
    if row.success not in (None, 0.0, 1.0):
        raise ValueError(f"success={row.success:g} is neither 0 nor 1")
    return row


def _number(cells: dict[str, str], column: str) -> float:
    try:
        number = float(cells[column])
    except ValueError:
        raise ValueError(f"{column}={cells[column]!r} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{column}={number} is not finite")
    return number


def _whole(cells: dict[str, str], column: str) -> int:
    number = _number(cells, column)
    if number != int(number) or number < 0:
        raise ValueError(f"{column}={number:g} is not 0, 1, 2, ...")
    return int(number)


def _measured(cells: dict[str, str], column: str) -> float:
    """A side measurement: it may be absent or have diverged, the score still stands."""
    text = cells.get(column, "").strip().lower()
    return math.nan if text in ("", "nan", "inf", "-inf") else _number(cells, column)
