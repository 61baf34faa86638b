"""Rows of an ``eval.csv``: read line by line and checked, with one line that says what is wrong and where.

Where a later evaluation was appended, a row can occur twice; the later one counts. A last line that was cut
off by an interruption is left out, and further columns are ignored.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vgf.errors import UserError

__all__ = ["measured", "method_name", "number", "read_rows", "whole"]

Row = TypeVar("Row")


def read_rows(
    run_dir: Path,
    columns: Sequence[str],
    make_row: Callable[[Mapping[str, str]], Row],
    key: Callable[[Row], Hashable],
) -> list[Row]:
    """Rows of ``eval.csv`` in a run directory, sorted by key.

    Args:
        run_dir: holds the file.
        columns: that the file must have.
        make_row: from column -> cell; its ValueError says which cell is wrong.
        key: what makes two rows the same measurement; sortable.

    Raises:
        UserError: the file is missing, unreadable or empty, lacks a column, or a row is broken.
    """
    path = run_dir / "eval.csv"
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = csv.reader(io.StringIO(text, newline=""))
        records = [(lines.line_num, cells) for cells in lines if cells]
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; evaluate the run first: mode=eval run={run_dir}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as CSV text ({error}); delete it and evaluate again") from error

    header = records[0][1] if records else []
    if absent := [column for column in columns if column not in header]:
        raise UserError(f"{path} lacks the column {absent[0]!r} in its first line; it needs {','.join(columns)}")
    rows: dict[Any, Row] = {}
    for line, cells in records[1:]:
        try:
            row = make_row(dict(zip(header, cells, strict=True)))
        except ValueError as error:
            if line == records[-1][0] and not text.endswith(("\n", "\r")):
                break  # the run was interrupted while it wrote this line
            raise UserError(f"{path} line {line}: {error}; correct or delete this line") from error
        rows[key(row)] = row
    if not rows:
        raise UserError(f"{path} holds no row yet; evaluate the run first: mode=eval run={run_dir}")
    return [rows[name] for name in sorted(rows)]


def method_name(cells: Mapping[str, str]) -> str:
    """The cell ``method``; ValueError when it is empty."""
    if not cells["method"].strip():
        raise ValueError("method is empty")
    return cells["method"].strip()


def number(cells: Mapping[str, str], column: str) -> float:
    """A finite number; ValueError otherwise."""
    try:
        value = float(cells[column])
    except ValueError:
        raise ValueError(f"{column}={cells[column]!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{column}={value} is not finite")
    return value


def whole(cells: Mapping[str, str], column: str) -> int:
    """0, 1, 2, ...; ValueError otherwise."""
    value = number(cells, column)
    if value != int(value) or value < 0:
        raise ValueError(f"{column}={value:g} is not 0, 1, 2, ...")
    return int(value)


def measured(cells: Mapping[str, str], column: str) -> float:
    """A side measurement, NaN when it is absent or has diverged: the rest of the row still stands."""
    text = cells.get(column, "").strip().lower()
    return math.nan if text in ("", "nan", "inf", "-inf") else number(cells, column)
