"""How a value and its interval are written."""

from __future__ import annotations

import math

import pytest

from vgf.results.experiment import Against, Measure
from vgf.results.text import value_text


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0.045353, 0.00056952, 0.088699), "0.045 [0.001, 0.089]"),
        ((0.12, 0.0004, 0.25), "0.12 [0.00, 0.25]"),
        ((1.4712, 1.3391, 1.6049), "1.47 [1.34, 1.60]"),
        ((9.32, 8.04, 10.46), "9.3 [8.0, 10.5]"),
        ((-71.46, -75.2, -69.04), "-71.5 [-75.2, -69.0]"),
        ((1234.6, 12.3, 20000.0), "1,235 [12, 20,000]"),
        ((3.2e-7,), "3.2e-07"),
        ((0.5, math.nan, math.inf), "0.50"),
        ((0.0, 0.0, 0.0), "0.00 [0.00, 0.00]"),
        ((math.nan,), "-"),
    ],
)
def test_a_value_and_its_interval_have_as_many_decimals(numbers: tuple[float, ...], text: str) -> None:
    assert value_text(Measure("loss", "qgf", field="loss"), numbers) == text


def test_differences_carry_a_sign_and_successes_are_percent() -> None:
    gain = Measure("gain", "qgf", field="gold", minus=Against("reference", 0))
    assert value_text(gain, (0.2, -0.1, 0.5)) == "+0.20 [-0.10, 0.50]"
    assert value_text(Measure("success", "qgf"), (0.62, 0.004, 0.744)) == "62 % [0, 74]"
