"""Workers that die, environments that raise or return NaN, SIGTERM: one line, a proper status, and nothing lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cycles import COUNTS, Driver, assert_same, contents

TROUBLE = {
    "kill": r"environment process 0 died (exit code -9",
    "raise": "the environment failed: RuntimeError: the point fell off the line",
    "nan": "observation is not finite",
}


@pytest.mark.parametrize("trouble", ["kill", *(pytest.param(t, marks=pytest.mark.slow) for t in ("raise", "nan"))])
def test_an_evaluation_that_fails_costs_the_evaluation_alone(driver, tmp_path, tiny_walk, trouble):
    run_dir = tmp_path / "run"
    quick = [*tiny_walk, "eval.budgets=[0]", "eval.baselines=[]", "budget.size=0", f"run_dir={run_dir}"]
    ended = driver.call("command", *quick, environment={"WALK_TROUBLE": trouble})
    COUNTS["worker processes that died" if trouble == "kill" else "broken environments"] += 1
    assert ended.status == 2, ended.said
    assert TROUBLE[trouble] in ended.last_line
    assert ended.last_line.startswith("vgf: ")
    assert "Traceback" not in ended.said
    trained = (run_dir / "checkpoints" / "latest").read_text()
    ended = driver.call("command", *quick)
    assert ended.status == 0, ended.said
    assert "trained to its end" in ended.said
    assert (run_dir / "checkpoints" / "latest").read_text() == trained
    assert len(contents(run_dir)["eval.csv"]) == 4


def test_an_evaluation_on_the_way_that_fails_leaves_the_step_before_it(driver, tmp_path, tiny_walk):
    run_dir = tmp_path / "run"
    online = [*tiny_walk, "trainer=online", "train.steps=39", "online.steps=20", "online.start=2"]
    ended = driver.call("command", *online, f"run_dir={run_dir}", environment={"WALK_TROUBLE": "raise"})
    COUNTS["broken environments"] += 1
    assert ended.status == 2, ended.said
    said = "the environment failed: RuntimeError: the point fell off the line (toy_env.py:28)"
    assert ended.last_line == f"vgf: {said} (step 39 is kept in {run_dir})"
    assert "Traceback" not in ended.said


@pytest.mark.parametrize("kind", ["raise", "die"])
def test_a_process_that_makes_data_dies(driver, tmp_path, kind):
    ended = driver.call("dying_data", str(tmp_path), kind)
    COUNTS["worker processes that died" if kind == "die" else "broken environments"] += 1
    assert ended.status == 2, ended.said
    reason = {"die": "was killed by SIGKILL", "raise": "failed: ValueError: the simulator exploded"}[kind]
    assert reason in ended.last_line
    assert "episodes are kept in" in ended.last_line
    assert "Traceback" not in ended.said
    kept = len(list((tmp_path / "X.work").glob("split*.npz")))
    assert f"{kept} of 8 episodes are kept" in ended.last_line


def ended_by_sigterm(driver: Driver, when: Path, work: str, *args: object) -> None:
    """SIGTERM when a path is there; SIGKILL ten seconds later would be another status."""
    ended = driver.call(work, *args, terminate_when=str(when))
    COUNTS["SIGTERM"] += 1
    assert ended.status == 143, ended.said
    assert ended.last_line == "vgf: stopped"
    assert "Traceback" not in ended.said


def step_of(run_dir: Path) -> int:
    return int((run_dir / "checkpoints" / "latest").read_text().strip().removeprefix("step-"))


@pytest.mark.parametrize("trainer", ["offline", pytest.param("online", marks=pytest.mark.slow)])
def test_sigterm_saves_and_ends_and_the_same_command_goes_on(driver, tmp_path, trainer):
    many = {"train__steps": 3000, "train__save_every": 7, "train__log_every": 1000}
    if trainer == "online":
        many |= {"train__steps": 6, "online__steps": 3000, "online__eval_every": 20}
    run_dir = tmp_path / "run"
    folder = run_dir / "checkpoints"
    ended_by_sigterm(driver, folder / "step-000000014", "train", trainer, str(run_dir), many)
    first = step_of(run_dir)
    assert 14 <= first < 3000
    later = folder / f"step-{first // 7 * 7 + 14:09d}"
    ended_by_sigterm(driver, later, "train", trainer, str(run_dir), many)
    assert step_of(run_dir) > first


def test_sigterm_while_data_are_made(driver, tmp_path):
    ended = driver.call("endless_data", str(tmp_path), terminate_when=str(tmp_path / "X.work" / "split0-000003.npz"))
    COUNTS["SIGTERM"] += 1
    assert ended.status == 143, ended.said
    kept = len(list((tmp_path / "X.work").glob("split*.npz")))
    assert kept >= 3
    assert f"stopped; {kept} of 100000 episodes are kept in" in ended.said
    assert "Traceback" not in ended.said


@pytest.mark.slow
def test_sigterm_in_an_evaluation(driver, uninterrupted, tmp_path):
    for name in ("whole", "parts"):
        shutil.copytree(uninterrupted("offline"), tmp_path / name)
    methods = ["qgf", "vgf", "best_of_n"]
    whole = driver.call("evaluate", str(tmp_path / "whole"), methods)
    assert whole.status == 0, whole.said
    ended_by_sigterm(driver, tmp_path / "parts" / "eval.csv", "evaluate", str(tmp_path / "parts"), methods)
    assert driver.call("evaluate", str(tmp_path / "parts"), methods).status == 0
    assert_same(contents(tmp_path / "whole"), contents(tmp_path / "parts"))
