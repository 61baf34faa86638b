"""Rotation: the last two checkpoints stay, the best, and every k-th; what is best the run's own files say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vgf import checkpoint
from vgf.checkpoint import load_checkpoint, save_checkpoint
from vgf.config import Config
from vgf.rotation import best_step, kept_steps, scores_of
from vgf.rundir import RunDirectory

STEPS = st.lists(st.integers(1, 200), unique=True, min_size=1)


@given(STEPS, st.none() | st.integers(1, 50), st.data())
def test_what_stays(steps, every, data):
    best = data.draw(st.none() | st.sampled_from(steps))
    kept = kept_steps(steps, best, every)
    assert kept <= set(steps)
    assert {*sorted(steps)[-2:], *([best] if best else [])} <= kept
    others = kept - set(sorted(steps)[-2:]) - {best}
    assert others == {s for s in steps if every and s % every == 0} - set(sorted(steps)[-2:]) - {best}


def test_the_best_is_the_highest_and_of_equal_ones_the_latest():
    assert best_step([1, 2, 3], {1: 5.0, 2: 7.0, 3: 7.0, 9: 100.0}) == 3
    assert best_step([1, 2], {}) is None


def evaluated(run_dir: Path, rows: list[tuple[int, str, float, float]]) -> None:
    lines = [f"{step},{method},{budget},0,{value}" for step, method, budget, value in rows]
    (run_dir / "eval.csv").write_text("\n".join(["step,method,budget,episode,return", *lines, ""]))


def test_evaluations_on_the_way_are_compared_at_the_points_they_share(tmp_path):
    rows = [(10, "qgf", 0.1, 1.0), (20, "qgf", 0.1, 4.0), (20, "qgf", 0.1, 2.0), (20, "vgf", 3.0, -100.0)]
    evaluated(tmp_path, rows)
    assert scores_of(tmp_path) == {10: 1.0, 20: 3.0}
    evaluated(tmp_path, [(10, "qgf", 0.1, 1.0), (20, "vgf", 3.0, 4.0)])
    assert scores_of(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "\0", "step,method\n1,qgf\n", "step,method,budget,return\nx,qgf,0,1\n"])
def test_a_strange_table_is_no_score(tmp_path, text):
    (tmp_path / "eval.csv").write_text(text)
    assert scores_of(tmp_path) == {}


def test_checkpoints_of_a_run_are_rotated(tmp_path):
    returns = {10: 5.0, 20: 9.0, 30: 6.0, 40: 7.0, 50: 8.0, 60: 1.0}
    rows = []
    for step, value in returns.items():
        rows.append((step, "qgf", 0.1, value))
        evaluated(tmp_path, rows)
        save_checkpoint(tmp_path, step, {"w": torch.full((1,), float(step))}, {}, {}, keep_every=30)
    folder = tmp_path / "checkpoints"
    there = sorted(int(path.name[5:]) for path in folder.glob("step-*"))
    assert there == [20, 30, 50, 60]
    assert (folder / "best").read_text() == "step-000000020\n"
    assert load_checkpoint(tmp_path).step == 60


def test_a_run_that_was_not_played_has_no_best(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "validation/flow/loss": 1.0}\n')
    save_checkpoint(tmp_path, 1, {"w": torch.zeros(1)}, {}, {})
    assert not (tmp_path / "checkpoints" / "best").exists()


def half_removed(path: Path, **_) -> None:
    if path.is_dir():
        (path / "networks.safetensors").unlink()
        raise KeyboardInterrupt


def not_begun(*_) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("broken", "how"), [("shutil.rmtree", half_removed), ("drop_old", not_begun)])
def test_a_rotation_that_was_broken_off_after_the_last_save_is_made_up_for(tmp_path, monkeypatch, broken, how):
    """Nothing is saved again in a run that is at its end: the next call has to do it."""
    run = RunDirectory(tmp_path)
    run.claim(Config())
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"w": torch.zeros(1)}, {}, {})
    evaluated(tmp_path, [(3, "qgf", 0.1, 1.0)])
    with monkeypatch.context() as patched:
        patched.setattr(f"vgf.checkpoint.{broken}", how)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, 3, {"w": torch.zeros(1)}, {}, {})
    folder = tmp_path / "checkpoints"
    for path in folder.glob("step-*"):
        assert (path / "networks.safetensors").exists(), "no half of a checkpoint is there"
    run.claim(Config())
    assert sorted(path.name for path in folder.iterdir()) == ["best", "latest", "step-000000002", "step-000000003"]
    assert (folder / "best").read_text() == (folder / "latest").read_text() == "step-000000003\n"


def test_the_best_moves_before_the_latest(tmp_path, monkeypatch):
    """A crash between the two leaves a run that goes on; the other way round the best would stay the old one."""
    written = []
    whole = checkpoint.atomic_write_text
    monkeypatch.setattr(
        checkpoint, "atomic_write_text", lambda path, text: (written.append(path.name), whole(path, text))
    )
    evaluated(tmp_path, [(1, "qgf", 0.1, 1.0)])
    save_checkpoint(tmp_path, 1, {"w": torch.zeros(1)}, {}, {})
    assert written == ["best", "latest"]
