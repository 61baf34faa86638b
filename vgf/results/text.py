"""How numbers of an experiment are written: percent for success, else two or three digits; intervals in brackets."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from vgf.errors import UserError, did_you_mean
from vgf.report.points import number_text
from vgf.results.experiment import Experiment, Measure
from vgf.results.grid import measures_of

__all__ = ["answered", "cells_of", "value_text"]


def value_text(measure: Measure, numbers: Sequence[float]) -> str:
    """``62 % [48, 74]`` or ``+1.47 [1.34, 1.60]``; differences carry a sign. The interval is left out where it is none.

    Args:
        measure: what was measured.
        numbers: value and, where known, the ends of its interval.
    """
    value, *ends = numbers
    share = measure.field == "success"
    sign = "+" if value > 0 and measure.minus is not None else ""
    largest = max((abs(number) for number in numbers if math.isfinite(number)), default=0.0)
    size = math.floor(math.log10(largest)) if largest else 0
    decimals = max(0, 2 - size - (size < 0))  # of value and interval alike

    def amount(number: float) -> str:
        if share:
            return f"{100 * number:.0f}" if round(100 * number) else "0"
        return f"{number:,.{decimals}f}" if math.isfinite(number) and decimals < 6 else number_text(number)

    interval = f" [{', '.join(map(amount, ends))}]" if ends and all(map(math.isfinite, ends)) else ""
    return f"{sign}{amount(value)}{' %' if share else ''}{interval}"


def cells_of(name: str) -> tuple[str, str]:
    """Row and column of a measure in a table: ``qgf, task 2`` is row ``qgf``, column ``task 2``."""
    row, _, column = name.partition(", ")
    return row, column


def answered(experiment: Experiment) -> str:
    """The answer with every ``{measure}`` filled in.

    Raises:
        UserError: a measure that has no value.
    """
    values = experiment.expected.values if experiment.expected else {}
    measures = measures_of(experiment)

    def text(match: re.Match[str]) -> str:
        if match[1] not in values:
            hint = did_you_mean(match[1], values)
            raise UserError(f"{experiment.name}.yaml, answer: {match[1]!r} has no recorded value.{hint}")
        return value_text(measures[match[1]], values[match[1]])

    return re.sub(r"\{([^}]+)\}", text, experiment.answer)
