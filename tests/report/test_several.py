"""Several runs at once: what each scored, and which of them are one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.report.made_runs import SWEEP, make_run
from vgf.errors import UserError
from vgf.report.several import group_runs, read_run


def test_a_copy_that_was_evaluated_further_is_the_same_run(tmp_path):
    first = make_run(tmp_path / "a", SWEEP)
    copy = make_run(tmp_path / "b", {("qgf", 0.0): 0.1, ("vgf", 2.0): 0.4})
    other = make_run(tmp_path / "c", SWEEP, seed=1)
    (group,) = group_runs([read_run(path) for path in (first, copy, other)])
    assert [run.path for run in group.runs] == [first, other]
    points = {(point.method, point.budget): point for point in group.runs[0].points}
    assert set(points) == {*SWEEP, ("vgf", 2.0)}
    assert np.mean(points["vgf", 2.0].scores) == pytest.approx(0.4)


def test_one_training_run_with_two_scores_is_refused_by_its_two_folders(tmp_path):
    runs = [make_run(tmp_path / "a", SWEEP), make_run(tmp_path / "b", SWEEP | {("qgf", 0.1): 0.6})]
    with pytest.raises(UserError, match=r"/a and .*/b are one training run \(seed 0\) .* scores of qgf at 0\.1,"):
        group_runs([read_run(path) for path in runs])


@pytest.mark.parametrize("changes", [{"env": "cube-v0"}, {"seed": 4}, {"init": "runs/x"}])
def test_the_environment_the_seed_and_what_training_began_with_make_another_run(tmp_path, changes):
    runs = [make_run(tmp_path / "a", SWEEP), make_run(tmp_path / "b", SWEEP, **changes)]
    (group,) = group_runs([read_run(path) for path in runs], by_task=True)
    assert len(group.runs) == 2


def auto_run(folder: Path) -> Path:
    """A run that is configured to act with the budget that budget=auto chooses."""
    run = make_run(folder, SWEEP)
    text = (run / "config.yaml").read_text().replace("budget: {", "budget: {auto: true, ")
    (run / "config.yaml").write_text(text)
    return run


def test_the_budget_that_was_chosen_is_the_configured_one(tmp_path):
    run = auto_run(tmp_path / "a")
    (run / "auto_budget.json").write_text(json.dumps({"qgf": {"auto": False, "size": 0.1}}))
    configured = {(point.method, point.budget) for point in read_run(run).points if point.configured}
    assert configured == {("qgf", 0.1), ("best_of_n", 0.0)}
    shutil.rmtree(run)
    with pytest.raises(UserError, match=r"auto_budget\.json cannot be read .* budget=auto' writes it"):
        read_run(auto_run(tmp_path / "a"))
