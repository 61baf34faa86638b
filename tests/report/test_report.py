"""Run directory in, report out: reading and checking ``eval.csv``, points, table, figure and page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.made_rows import QGF, Page, rows_of, sweep, write_rows
from vgf.errors import UserError
from vgf.report.control_report import draw_curve, read_evaluations, summarise, terminal_table, write_report
from vgf.report.curves import panel_svgs
from vgf.report.episodes import COLUMNS, Row
from vgf.report.measurements import Measurement, add_measurements, read_measurements
from vgf.report.points import Point, best_of_sweep, latest, number_text, with_measurements

# --- reading ---------------------------------------------------------------------------------------


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    assert read_evaluations(write_rows(tmp_path, sweep())) == sweep()
    assert read_evaluations(write_rows(tmp_path, sweep()[::-1])) == sweep()


def test_a_later_evaluation_of_the_same_episode_wins(tmp_path: Path) -> None:
    first, again = rows_of("qgf", {0.03: 0.0}), rows_of("qgf", {0.03: 1.0}, episodes=4)
    rows = read_evaluations(write_rows(tmp_path, first + again))
    assert [row.success for row in rows] == [1.0] * 4 + [0.0] * 6


def test_a_line_cut_off_by_an_interruption_is_left_out(tmp_path: Path) -> None:
    path = write_rows(tmp_path, sweep()) / "eval.csv"
    whole = path.read_text()
    path.write_text(whole.rstrip()[:-12])
    assert len(read_evaluations(tmp_path)) == len(sweep()) - 1


def test_values_that_were_not_measured_are_nan_and_success_may_be_unknown(tmp_path: Path) -> None:
    (tmp_path / "eval.csv").write_text(",".join(COLUMNS) + "\n1,qgf,0,0,-3,,,nan,inf,\n")
    (row,) = read_evaluations(tmp_path)
    assert row.success is None
    point = summarise([row])[0]
    assert (point.score, point.success) == (-3.0, False)
    assert np.isnan([point.length, point.travelled, point.travelled_low, point.value, point.milliseconds]).all()


def test_an_episode_during_which_the_machine_was_busy_tells_nothing_of_milliseconds() -> None:
    rows = rows_of("qgf", {0.1: 0.5})
    busy = [replace(row, milliseconds=2.0 if row.episode else 9000.0) for row in rows]
    assert summarise(busy)[0].milliseconds == 2.0


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("1,qgf,much,0,1,1,5,0,0,0", "line 2: budget='much' is not a number"),
        ("1,qgf,-1,0,1,1,5,0,0,0", "budget=-1 is below 0"),
        ("1,qgf,0,0,nan,1,5,0,0,0", "return=nan is not finite"),
        ("1.5,qgf,0,0,1,1,5,0,0,0", "step=1.5 is not 0, 1, 2"),
        ("1,qgf,0,0,1,2,5,0,0,0", "success=2 is neither 0 nor 1"),
        ("1,,0,0,1,1,5,0,0,0", "method is empty"),
        ("1,qgf,0", "line 2"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    (tmp_path / "eval.csv").write_text(f"{','.join(COLUMNS)}\n{line}\n1,qgf,0,1,1,1,5,0,0,0\n")
    with pytest.raises(UserError) as error:
        read_evaluations(tmp_path)
    assert complaint in str(error.value)
    assert "eval.csv" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "step,method\n", ",".join(COLUMNS) + "\n", b"\xff\xfe\x00"])
def test_a_file_without_episodes_is_an_error_of_one_line(tmp_path: Path, text: str | bytes) -> None:
    (tmp_path / "eval.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=r"eval\.csv"):
        read_evaluations(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        read_evaluations(tmp_path / "elsewhere")


# --- points and table ------------------------------------------------------------------------------


def test_points_are_means_with_intervals() -> None:
    points = {(p.method, p.budget): p for p in summarise(sweep())}
    point = points["qgf", 0.03]
    assert (point.episodes, point.score, point.return_mean, point.travelled) == (10, 0.8, -18.0, pytest.approx(0.03))
    assert point.iqm == -10, "of the returns, without the two of failures"
    assert point.low < 0.8 < point.high
    reference = points["qgf", 0]
    assert (reference.low, reference.high) == (0.0, pytest.approx(0.2775, abs=1e-4))


def test_knobs_are_the_methods_own_unless_told() -> None:
    rows = rows_of("vgf", {0: 0.1, 2: 0.5}) + rows_of("somebody's", {0: 0.1})
    assert [p.knob for p in summarise(rows)] == ["budget", "steps", "steps"]
    assert {p.knob for p in summarise(rows, knobs={"vgf": "size"}) if p.method == "vgf"} == {"size"}


def test_the_table_marks_the_configured_budget_and_a_better_one_as_found_afterwards() -> None:
    table = terminal_table(summarise(sweep()), configured=("qgf", 0.01)).splitlines()
    assert [line.split("  ")[-1] for line in table if "configured" in line] == ["<- configured"]
    (best,) = [line for line in table if "best of sweep (picked after the fact)" in line]
    assert "size 0.03" in best
    assert "80 %" in best
    assert "after the fact" not in terminal_table(summarise(sweep()), configured=QGF)
    rounded = ("qgf", 0.03 * (1 + 1e-6))  # eval.csv keeps six digits of it
    assert terminal_table(summarise(sweep()), configured=rounded) == terminal_table(summarise(sweep()), configured=QGF)


def test_of_equally_good_budgets_the_smallest_is_the_best() -> None:
    best = best_of_sweep(summarise(rows_of("qgf", {0: 0.0, 0.01: 0.8, 0.03: 0.5, 0.1: 0.8})), QGF)
    assert best is not None
    assert best.budget == 0.01


def test_the_table_shows_the_last_checkpoint_only() -> None:
    points = summarise(sweep() + rows_of("qgf", {0.03: 0.9}, step=200))
    assert [point.step for point in latest(points)] == [200]
    assert len(terminal_table(points, configured=None).splitlines()) == 3


@given(st.floats(-1e9, 1e9))
def test_numbers_are_written_with_at_least_two_digits(number: float) -> None:
    assert float(number_text(number).replace(",", "")) == pytest.approx(number, rel=0.06, abs=1e-9)


# --- figure ----------------------------------------------------------------------------------------


def many(count: int) -> list[Point]:
    names = ["qgf", "vgf", "grad_step", "bptt", "qfql", "qgf_jacobian", "qpilots_u", "my own $method_{"][:count]
    rows = [row for name in names for row in rows_of(name, {0: 0.1, 1: 0.5, 2: 0.9})]
    return summarise(rows + rows_of("best_of_n", {0: 0.5}))


def measured(points: list[Point]) -> list[Measurement]:
    """The critic that moves gains ever more, the judge less and less after a while; each method starts elsewhere."""
    starts = {method: (3.0 + 2 * k, -2.0 + 5 * k) for k, method in enumerate(sorted({p.method for p in points}))}
    return [
        Measurement(p.step, p.method, p.budget, 8, 16, value + p.budget, judge + judged(p.budget), 0.1, 0.3, 0.2, 0.1)
        for p in points
        for value, judge in [starts[p.method]]
    ]


def judged(budget: float) -> float:
    return budget - 9 * budget**2


def test_measurements_are_read_back_joined_and_shown(run: Path) -> None:
    points = summarise(read_evaluations(run))
    add_measurements(run, measured(points)[:2])
    add_measurements(run, measured(points))  # the first two are replaced
    assert read_measurements(run) == [replace(m, judge=float(f"{m.judge:.6g}")) for m in measured(points)]
    for point in with_measurements(points, read_measurements(run)):
        gains = (point.value_gain, point.judge_gain, point.w2)
        assert gains == pytest.approx((point.budget, judged(point.budget), 0.1)), point.key
    table = write_report(run, title="run", configured=QGF)
    assert "judge gain" in table
    words = Page(run / "report.html").words
    assert "W_inf at most" in words
    assert "never moves anything" in words


def test_without_measurements_nothing_is_said_of_them(run: Path) -> None:
    assert "judge" not in write_report(run, title="run", configured=QGF)
    assert "judge" not in Page(run / "report.html").words


def test_broken_measurements_are_named(run: Path) -> None:
    (run / "offline.csv").write_text("step,method\n1,qgf\n")
    with pytest.raises(UserError, match=r"offline\.csv cannot be read .*delete it and evaluate again"):
        read_measurements(run)


@pytest.mark.parametrize(
    ("points", "panels"),
    [
        (summarise(sweep()), 3),
        (with_measurements(summarise(sweep()), measured(summarise(sweep()))), 4),  # and the gains
        (many(3), 3),  # against size, steps, and travelled
        (many(8), 2),  # against travelled, and against milliseconds
        (summarise(rows_of("qgf", {0: 0.0})), 1),
        (summarise(rows_of("qgf", {0.03: 1.0}, episodes=1)), 3),
        (summarise([Row(1, "qgf", b, 0, 5.0, None, *[float("nan")] * 4) for b in (0.0, 1.0)]), 1),
    ],
)
def test_the_figure_is_drawn_whatever_was_evaluated(tmp_path: Path, points: list[Point], panels: int) -> None:
    before = dict(matplotlib.rcParams)
    draw_curve(points, tmp_path / "figure.tmp", title="a $title_{", configured=QGF)
    picture = matplotlib.image.imread(tmp_path / "figure.tmp", format="png")
    assert picture.std() > 0.05  # not blank
    svgs = panel_svgs(points, QGF)
    assert len(svgs) == panels
    assert "reference" in svgs[0] or panels == 2 or all(point.budget > 0 for point in points)
    assert ("configured" in svgs[0]) == any(point.budget == 0.03 for point in points)
    assert ("own budget" in svgs[-1]) == (len({point.method for point in points}) > 4)
    assert dict(matplotlib.rcParams) == before
