"""Trackers get the names of ``metrics.jsonl``; one that fails, is missing or hangs costs a line and never the run."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
import time
import types
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from vgf import trackers
from vgf.errors import UserError
from vgf.evaluation import EpisodeRecord
from vgf.rundir import RunDirectory
from vgf.trackers import TRACKERS, Trackers, tracker_names


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


class Notes:
    """A tracker that remembers what it was told."""

    told: list[tuple[int, dict[str, float]]]

    def __init__(self, run_dir, config):
        type(self).told, type(self).config, type(self).finished = [], dict(config), False

    def log(self, step, metrics):
        self.told.append((step, dict(metrics)))

    def finish(self):
        type(self).finished = True


class Broken(Notes):
    def log(self, step, metrics):
        super().log(step, metrics)
        raise ConnectionError("the network\nis gone")


def run_of(tmp_path: Path, *names: str) -> RunDirectory:
    (tmp_path / "run").mkdir(exist_ok=True)
    return RunDirectory(tmp_path / "run", Trackers(names, tmp_path / "run", {"seed": 3}))


def play(run: RunDirectory) -> None:
    """Two lines of metrics and one evaluated budget."""
    run.log({"step": 10, "critic/loss": 0.5, "seconds": 1})
    run.log({"step": 20, "critic/loss": 0.25, "seconds": 2})
    episodes = [
        EpisodeRecord(e, episode_return=e, success=float(e), travelled=0.1, judged=float("nan")) for e in (0, 1)
    ]
    run.add_evaluation(20, "qgf", 0.02, episodes)
    run.trackers.finish()


def test_names_are_those_of_the_local_files(tmp_path, monkeypatch):
    monkeypatch.setitem(TRACKERS, "notes", Notes)
    run = run_of(tmp_path, "notes")
    assert not list(run.path.iterdir())  # nothing is started before there is something to tell
    play(run)
    first, second, evaluated = Notes.told
    assert first == (10, {"critic/loss": 0.5, "seconds": 1.0})
    assert second[0] == 20
    step, scores = evaluated
    assert step == 20
    assert scores["eval/qgf/0.02/return"] == 0.5
    assert scores["eval/qgf/0.02/success"] == 0.5
    assert "eval/qgf/0.02/judge" not in scores
    assert Notes.config == {"seed": 3}
    assert Notes.finished
    assert [json.loads(line)["step"] for line in (run.path / "metrics.jsonl").open()] == [10, 20]


def test_a_tracker_that_fails_is_one_line_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(TRACKERS, "broken", Broken)
    monkeypatch.setitem(TRACKERS, "notes", Notes)
    monkeypatch.setitem(TRACKERS, "unable", lambda run_dir, config: 1 / 0)
    play(run_of(tmp_path, "broken", "unable", "notes"))
    warned = capsys.readouterr().err.splitlines()
    assert len(warned) == 2
    assert any("tracker=broken is left out from here on (ConnectionError: the network is gone)" in w for w in warned)
    assert any("tracker=unable is left out from here on (ZeroDivisionError" in w for w in warned)
    assert (len(Broken.told), len(Notes.told)) == (1, 3)


def test_a_tracker_that_does_not_finish_is_left(tmp_path, monkeypatch, capsys):
    class Slow(Notes):
        def finish(self):
            time.sleep(30)

    monkeypatch.setitem(TRACKERS, "slow", Slow)
    monkeypatch.setattr(trackers, "_SECONDS_TO_FINISH", 0.05)
    play(run_of(tmp_path, "slow"))
    assert "tracker=slow" in capsys.readouterr().err


def test_unknown_and_missing_trackers_are_one_line(monkeypatch):
    assert tracker_names("none") == tracker_names(None) == tracker_names([]) == []
    with pytest.raises(UserError, match=r"tracker=wandv is unknown.*'wandb'"):
        tracker_names("wandv")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"tracker=wandb needs the package wandb: pip install 'vgf\[wandb\]'"):
        tracker_names(["wandb"])


@needs("tensorboard")
def test_tensorboard_reads_back_what_was_logged(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = run_of(tmp_path, "tensorboard")
    play(run)
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("critic/loss")] == [(10, 0.5), (20, 0.25)]
    assert [(e.step, e.value) for e in events.Scalars("eval/qgf/0.02/success")] == [(20, 0.5)]


@needs("wandb")
@pytest.mark.slow
def test_wandb_offline_keeps_the_metrics_in_the_run_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = run_of(tmp_path, "wandb")
    play(run)
    assert "left out" not in capsys.readouterr().err
    (stored,) = run.path.glob("wandb/offline-run-*/*.wandb")
    content = stored.read_bytes()
    assert b"critic/loss" in content
    assert b"eval/qgf/0.02/success" in content


def test_each_run_of_several_tells_trackio_about_itself(tmp_path, monkeypatch):
    """As trackio 0.43: ``init`` returns a run and ends the one before it; the module's functions talk to the last."""
    told: list[tuple[str, int, float]] = []
    stand_in = types.ModuleType("trackio")
    current: ContextVar[Any] = ContextVar("current", default=None)

    class Run:
        ended = False

        def __init__(self, name: str) -> None:
            self.name = name

        def log(self, metrics, step):
            assert not self.ended
            told.append((self.name, step, metrics["loss"]))

        def finish(self):
            self.ended = True
            told.append((self.name, -1, 0.0))

    def init(name: str, **_):
        if current.get():
            current.get().finish()
        current.set(Run(name))
        return current.get()

    stand_in.init = init
    stand_in.log = lambda metrics, step: current.get().log(metrics, step)
    stand_in.finish = lambda: current.get().finish()
    monkeypatch.setitem(sys.modules, "trackio", stand_in)
    both = [Trackers(["trackio"], tmp_path / "runs" / name, {}) for name in ("seed0", "seed1")]
    for step in (10, 20):
        for number, one in enumerate(both):
            one.log(step, {"loss": number / step})
    for one in both:
        one.finish()
    first, second = ([row[1:] for row in told if row[0] == f"runs-seed{seed}"] for seed in (0, 1))
    assert first == [(10, 0.0), (20, 0.0), (-1, 0.0)]
    assert second == [(10, 0.1), (20, 0.05), (-1, 0.0)]


@needs("trackio")
@pytest.mark.slow
def test_trackio_keeps_the_metrics_in_its_own_folder(tmp_path):
    program = (
        "import sys; from pathlib import Path; from tests.test_trackers import play, run_of; "
        "play(run_of(Path(sys.argv[1]), 'trackio'))"
    )
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    assert "left out" not in done.stderr
    (database,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as connection:
        told = [json.loads(row[0]) for row in connection.execute("select metrics from metrics order by step, id")]
    assert told[0]["critic/loss"] == 0.5
    assert any(row.get("eval/qgf/0.02/success") == 0.5 for row in told)
