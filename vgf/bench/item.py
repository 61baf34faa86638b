"""What an item of the benchmark reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Item", "Row", "rounded"]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: the work, such as ``4x512, batch 256, 1 thread``.
        who: whose implementation.
        value: the measurement in the item's unit; None where it could not be made, and ``note`` says why.
        spread: half the distance between the quartiles of its turns, as a share of the value.
        ratio: how ``value`` compares with the comparison's, as the item says; None for the comparison itself.
        processor_ratio: the same in processor time.
        p99: of single calls, in the item's unit; ``value`` is then their median.
        peak_mb: largest resident memory of the process.
        note: anything else.
    """

    what: str
    who: str
    value: float | None
    spread: float | None = None
    ratio: float | None = None
    processor_ratio: float | None = None
    p99: float | None = None
    peak_mb: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Item:
    """One item: a headline, ``ours`` against ``other``, and every row behind it.

    Attributes:
        unit: of ``ours`` and ``other``.
        better: ``higher`` or ``lower``; of the values and of the ratio.
        ours, other: the headline's two measurements; None where there is none, and ``note`` says why.
        ratio: ours / other, the median over turns that alternate.
        ours_is, other_is: what they are.
        rows: all measurements.
        extra: facts of this item alone.
        note: anything a reader has to know.
    """

    unit: str
    better: str
    ours: float | None
    other: float | None
    ratio: float | None
    ours_is: str
    other_is: str
    rows: list[Row] = field(default_factory=list)
    extra: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON, numbers to four digits."""
        return rounded(asdict(self))


def rounded(value: Any) -> Any:
    """A tree of numbers to four significant digits."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: rounded(entry) for key, entry in value.items()}
    return [rounded(entry) for entry in value] if isinstance(value, list | tuple) else value
