"""Points that were played with other seeds or settings than the rest of their curve: kept, and told in the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.made_rows import QGF, Page, rows_of, write_rows
from vgf.errors import UserError
from vgf.evaluation import EpisodeRecord
from vgf.methods import load_method
from vgf.played import Played, keep_played, played_with, read_played
from vgf.report.control_report import write_report
from vgf.report.series import make_series
from vgf.report.several import group_runs, read_run
from vgf.rundir import RunDirectory

COMMON = "the same environment seed and the same particle noise at every budget"
PLAYED = played_with(load_method("qgf"), seed=0, episodes=10)
CURVE = [0.0, 0.01, 0.03, 0.1]  # of made_rows.sweep


def words(run: Path) -> str:
    write_report(run, title="t", configured=QGF)
    return Page(run / "report.html").words.replace("\xa0", " ")


@pytest.fixture
def kept(run: Path) -> Path:
    """The finished run, of which it is known how each point was played."""
    for budget in CURVE:
        keep_played(run, (100, "qgf", budget), PLAYED)
    keep_played(run, (100, "best_of_n", 0.0), PLAYED)
    return run


def test_an_evaluation_keeps_what_it_was_played_with(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.add_evaluation(20, "qgf", 0.1 + 0.2, [EpisodeRecord(0)], PLAYED)
    run.add_evaluation(20, "qgf", 0.5, [EpisodeRecord(0)], replace(PLAYED, seed=7))
    assert read_played(tmp_path) == {(20, "qgf", 0.3): PLAYED, (20, "qgf", 0.5): replace(PLAYED, seed=7)}
    run.add_evaluation(20, "qgf", 0.5, [EpisodeRecord(0)])  # nobody knows how
    assert read_played(tmp_path) == {(20, "qgf", 0.3): PLAYED}


def test_settings_are_those_of_the_move_without_the_knob_and_with_the_rules_defaults() -> None:
    vgf = played_with(load_method("vgf"), seed=3, episodes=2)
    assert (vgf.seed, vgf.episodes) == (3, 2)
    assert "budget.steps" not in vgf.settings
    assert vgf.settings["budget.size"] is not None
    assert {"transport.rule", "transport.gate", "transport.knob", "budget.radius"} <= set(vgf.settings)
    assert "budget.size" not in PLAYED.settings


def test_the_seed_that_was_played_is_told_not_that_of_the_configuration(kept: Path) -> None:
    with (kept / "config.yaml").open("a") as file:
        file.write("eval: {seed: 5}\n")
    told = words(kept)
    assert "eval.seed 0" in told
    assert "eval.seed 5" not in told
    assert COMMON in told


def test_points_of_another_seed_are_named_and_common_episodes_not_claimed(kept: Path) -> None:
    keep_played(kept, (100, "qgf", 0.03), replace(PLAYED, seed=7))
    told = words(kept)
    assert "eval.seed 0; eval.seed 7 for qgf at size 0.03" in told
    assert COMMON not in told
    assert "note: Not all points are known to have been played with one seed" in write_report(
        kept, title="t", configured=QGF
    )


def test_points_of_other_settings_are_named(kept: Path) -> None:
    other = Played(0, 10, {**PLAYED.settings, "transport.gate": 1.5})
    keep_played(kept, (100, "qgf", 0.1), other)
    said = "qgf at size 0.1 was played with transport.gate=1.5; the curve it stands on with transport.gate=null."
    assert said in words(kept)
    assert f"note: {said}" in write_report(kept, title="t", configured=QGF)
    for budget in (0.0, 0.01):  # most points now have the gate, but the curve is the configured point's
        keep_played(kept, (100, "qgf", budget), other)
    assert said in words(kept)


def test_a_point_is_a_value_of_the_knob_it_was_played_with(run: Path) -> None:
    write_rows(run, rows_of("grad_step", {0: 0.1, 0.01: 0.5, 2: 0.8}))
    turned = load_method("grad_step")
    turned.transport.knob = "size"
    for budget in (0.0, 0.01):
        keep_played(run, (100, "grad_step", budget), played_with(turned, seed=0, episodes=10))
    keep_played(run, (100, "grad_step", 2.0), played_with(load_method("grad_step"), seed=0, episodes=10))
    table = write_report(run, title="t", configured=("grad_step", 0.01), knob="size")
    assert [" ".join(line.split()[1:3]) for line in table.splitlines()[2:5]] == ["size 0", "size 0.01", "steps 2"]
    assert "grad_step at steps 2 was played with" in table
    assert "warning" not in table
    (run / "config.yaml").write_text("method: grad_step\ntransport: {knob: steps}\nbudget: {steps: 2}\n")  # as trained
    stored = read_run(run)
    told = [(point.knob, point.budget, point.configured) for point in stored.points]
    assert told == [("size", 0.0, False), ("size", 0.01, False), ("steps", 2.0, True)]
    series = make_series(group_runs([stored]))
    assert {one.name: [mark.budget for mark in one.marks] for one in series} == {
        "grad_step, size": [0.0, 0.01], "grad_step, steps": [2.0],
    }  # fmt: skip


def test_what_is_not_known_is_not_claimed_and_old_runs_are_told_of_as_before(run: Path) -> None:
    with (run / "config.yaml").open("a") as file:
        file.write("eval: {seed: 5}\n")
    assert COMMON in (before := words(run))
    assert "eval.seed 5" in before
    keep_played(run, (100, "qgf", 0.03), PLAYED)
    assert COMMON not in (after := words(run))
    assert "seed not recorded; eval.seed 0 for qgf at size 0.03" in after


def test_a_damaged_file_is_named(run: Path) -> None:
    (run / "evaluations.json").write_text('[{"step": 1}]')
    with pytest.raises(UserError, match=r"evaluations\.json cannot be read .*delete it and evaluate again"):
        read_played(run)
