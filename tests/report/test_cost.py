"""The cost panel: which budget a method is marked at, and names that stay within the panel and near their lines."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from tests.report.made_rows import rows_of
from vgf.report.control_report import summarise
from vgf.report.cost import draw_cost, spread
from vgf.report.palette import styles


def marked(rates: dict[str, dict[float, float]], configured: tuple[str, float] | None = None) -> dict[str, float]:
    """Names of the marks with their scores in percent, and the title under ``title``."""
    points = summarise([row for method, sweep in rates.items() for row in rows_of(method, sweep)])
    ax = Figure().add_subplot()
    marks = draw_cost(ax, points, styles(rates), configured)
    return {mark.name: mark.y for mark in marks} | {ax.get_title(loc="left"): -1}


def test_a_method_is_marked_at_the_budget_of_its_file() -> None:
    assert marked({"qgf": {0: 0.1, 0.02: 0.4, 0.1: 0.6}}) == {"qgf": 40, "success at its own budget": -1}


def test_the_runs_method_is_marked_at_the_runs_budget() -> None:
    assert marked({"qgf": {0: 0.1, 0.02: 0.4, 0.1: 0.6}}, ("qgf", 0.1))["qgf"] == pytest.approx(60)


def test_another_budget_than_its_own_is_named_and_never_the_unmoved_one() -> None:
    found = marked({"qgf": {0: 0.1, 0.3: 0.4, 0.5: 0.6}, "best_of_n": {0: 0.2}})
    assert found == {"best_of_n": 20, "qgf at 0.5": 60, "success at its own budget, or at the one named": -1}


heights = st.lists(st.floats(-1, 101), max_size=16)


@given(heights)
def test_names_stay_in_the_panel_in_order_and_apart(places: list[float]) -> None:
    found = spread(places, 0, 100)
    assert all(0 <= height <= 100 for height in found)
    ordered = [height for _, height in sorted(zip(places, found, strict=True))]
    room = min(6.5, 100 / max(len(places), 1))
    assert all(after - before >= room - 1e-6 for before, after in pairwise(sorted(ordered)))
    assert ordered == sorted(ordered)


def test_names_with_room_stay_where_they_are_and_close_ones_share_the_push() -> None:
    assert spread([50, 20, 80], 0, 100) == [50, 20, 80]
    assert spread([50, 50], 0, 100) == pytest.approx([46.75, 53.25])
    assert spread([100, 100], 0, 100) == pytest.approx([90.25, 96.75])  # not beyond the top
