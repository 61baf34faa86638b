"""A sweep on fewer prompts than the configured budget: what is best, and what is said of how many."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.made_rows import Page
from tests.report.made_text import HIDDEN, points_of, rows_of, write_run
from vgf.report.text_estimates import sweep_best
from vgf.report.text_report import write_text_report

FEW = 4  # prompts of the sweep; gold of a reference rises with the prompt, so all 8 have the higher mean


def swept(folder: Path, configured: float, others: dict[float, float]) -> Path:
    """Hidden gains ``configured`` at 4 steps on all prompts, and the others' gain at theirs on a few."""
    few = [row for steps, gain in others.items() for row in rows_of("hidden", steps, gain, prompts=FEW)]
    return write_run(folder, rows_of("reference", 0) + rows_of("hidden", 4, configured) + few, HIDDEN)


def test_the_best_of_the_sweep_gains_most_on_the_prompts_all_have(tmp_path: Path) -> None:
    points = points_of(swept(tmp_path, 0.2, {2: 0.5, 8: 0.4}))
    assert points["hidden", 4].means["gold"].mean > points["hidden", 2].means["gold"].mean  # of other prompts
    best = sweep_best(list(points.values()))
    assert best is not None
    assert best.key == ("hidden", 2)
    assert {points["hidden", steps].shared_gold.prompts for steps in (2, 4, 8)} == {FEW}
    assert points["hidden", 2].shared_gold.mean - points["hidden", 8].shared_gold.mean == pytest.approx(0.1)


def test_higher_levels_on_other_prompts_are_no_better_sweep(tmp_path: Path) -> None:
    high = [row for row in rows_of("hidden", 2, 0.2) if row["prompt"] >= FEW]
    run = write_run(tmp_path, rows_of("reference", 0) + rows_of("hidden", 4, 0.5) + high, HIDDEN)
    points = points_of(run)
    assert points["hidden", 2].means["gold"].mean > points["hidden", 4].means["gold"].mean
    assert sweep_best(list(points.values())) is None


def test_how_many_prompts_a_level_rests_on_is_stated_where_they_differ(tmp_path: Path) -> None:
    run = swept(tmp_path / "few", 0.2, {2: 0.5})
    table = write_text_report(run)
    assert "4 to 8 prompts" in table
    assert "prompts" in table.splitlines()[1]
    words = Page(run / "report.html").words
    assert "gold, no selection" in words
    assert "(4 to 8 prompts a point)" in words
    assert "on the 4 prompts that all of the sweep have" in words
    same = write_run(tmp_path / "same", rows_of("reference", 0) + rows_of("hidden", 4, 0.5), HIDDEN)
    assert "prompts" not in write_text_report(same).splitlines()[1]
    assert "prompts a point" not in Page(same / "report.html").words
