"""Normalised scores: by hand, kept with the run, shown beside the return, and absent without a scale."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from vgf.compose import with_own_preset
from vgf.errors import UserError
from vgf.report.control_report import summarise, terminal_table, write_report
from vgf.report.episodes import Row
from vgf.report.points import with_scale
from vgf.rundir import EVAL_COLUMNS
from vgf.scale import ScoreScale, read_scale, write_scale

SCALE = ScoreScale(-100.0, 300.0, "made up for a test")
QGF = ("qgf", 0.1)


def rows(returns: dict[float, float]) -> list[Row]:
    return [
        Row(10, "qgf", budget, e, total, None, 50.0, budget, 1.0, 2.0)
        for budget, total in returns.items()
        for e in (0, 1)
    ]


def test_scores_by_hand() -> None:
    assert [SCALE.score(x) for x in (-100, 0, 300, 500)] == [0, 25, 100, 150]


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (0.0, math.inf)])
def test_a_scale_needs_two_rising_returns(low: float, high: float) -> None:
    with pytest.raises(UserError, match="finite rising"):
        ScoreScale(low, high, "")


def test_a_run_keeps_its_scale(tmp_path: Path) -> None:
    write_scale(tmp_path, SCALE)
    assert read_scale(tmp_path) == SCALE


def test_no_scale_is_no_file(tmp_path: Path) -> None:
    write_scale(tmp_path, SCALE)
    write_scale(tmp_path, None)
    assert not list(tmp_path.iterdir())
    assert read_scale(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["", "{}", '{"low": 1, "high": 0, "source": ""}', '{"low": "x", "high": 0, "source": ""}']
)
def test_a_damaged_scale_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "scale.json").write_text(text)
    with pytest.raises(UserError, match=r"scale\.json cannot be read"):
        read_scale(tmp_path)


def test_the_table_shows_it_only_where_there_is_one() -> None:
    points = summarise(rows({0.0: 0.0, 0.1: 200.0}))
    assert "normalised" not in terminal_table(with_scale(points, None), configured=QGF)
    head, first, second = terminal_table(with_scale(points, SCALE), configured=QGF).splitlines()[1:]
    place = head.split().index("normalised") - head.split().index("return")
    assert place > 0
    assert " 25.00 " in first
    assert " 75.00 " in second


def test_the_report_reads_it_from_the_run(tmp_path: Path) -> None:
    lines = [",".join(EVAL_COLUMNS), "10,qgf,0,0,0,,5,0,1,2,", "10,qgf,0.1,0,200,,5,0.1,1,2,", ""]
    (tmp_path / "eval.csv").write_text("\n".join(lines))
    assert "normalised" not in write_report(tmp_path, title="x", configured=QGF)
    assert "Normalised score" not in (tmp_path / "report.html").read_text()
    write_scale(tmp_path, SCALE)
    assert " 75.00 " in write_report(tmp_path, title="x", configured=QGF)
    page = (tmp_path / "report.html").read_text()
    assert "made up for a test" in page
    assert "<th>normalised</th>" in page


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["task=mujoco", "seed=1"], ["task=mujoco", "seed=1", "preset=mujoco"]),
        (["task=mujoco", "preset=default"], ["task=mujoco", "preset=default"]),
        (["task=ogbench"], ["task=ogbench"]),
        (["-m", "seed=1,2"], ["-m", "seed=1,2"]),
    ],
)
def test_a_task_brings_the_preset_of_its_name(given: list[str], expected: list[str]) -> None:
    assert with_own_preset(given) == expected
