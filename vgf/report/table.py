"""Plain text tables for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

__all__ = ["aligned"]

Row = TypeVar("Row")  # a point of control or of text
_LEFT = {"method", "95 % interval", "lowest to highest seed", ""}  # columns of words; numbers end at their right end


def aligned(columns: Mapping[str, Callable[[Row], str]], points: Sequence[Row]) -> list[str]:
    """One line a point under a line of column names; ``columns``: name -> the text of a point's cell."""
    table = [list(columns), *([cell(point) for cell in columns.values()] for point in points)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    sides = [str.ljust if name in _LEFT else str.rjust for name in columns]
    cells = [[side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)] for row in table]
    return ["  ".join(row).rstrip() for row in cells]
