"""Two at once: of processes on a run directory the second gets one line; what runs share is written in turns."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from cycles import COUNTS

from vgf import UserError, files
from vgf.bench import results
from vgf.config import SACConfig
from vgf.data.formats.minari import MAIN_FILE, find_minari
from vgf.data.formats.minari_writer import METADATA_FILE
from vgf.rundir import RunDirectory
from vgf.tasks import mujoco_data

HOLD = """
import sys, time
from pathlib import Path
from vgf.rundir import RunDirectory
with RunDirectory(Path(sys.argv[1])).held():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that is working in the directory."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_gets_one_line_until_the_first_is_dead(holder, tmp_path, driver):
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(UserError, match=r"another process is working in .*run; wait until it has ended"), run.held():
        pass
    ended = driver.call("train", "offline", str(run.path), {})
    COUNTS["two runs on one directory"] += 2
    assert ended.status == 2
    assert (
        ended.said.strip()
        == f"vgf: another process is working in {run.path}; wait until it has ended, or choose another run_dir=..."
    )
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with run.held():
        pass
    assert list(run.path.iterdir()) == []


def test_one_process_may_come_back(tmp_path):
    run = RunDirectory(tmp_path)
    for _ in range(2):
        with run.held():
            run.log({"step": 1})
    assert len([json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]) == 2


def download(folder, work, monkeypatch):
    """Callers of a Minari data set that is not there yet."""

    def download_dataset(name, force_download):
        with work():
            files.atomic_write_text(folder / name / MAIN_FILE, "")

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder))
    monkeypatch.setitem(sys.modules, "minari", SimpleNamespace(download_dataset=download_dataset))
    return lambda caller: find_minari("door/human-v2")


def collect(folder, work, monkeypatch):
    """Callers of data that SAC has not collected yet."""

    def make(env_id, settings, seed, root, described):
        with work():
            for quality in mujoco_data.QUALITIES:
                files.atomic_write_text(root / f"{quality}-v0" / METADATA_FILE, "{}")

    monkeypatch.setattr(mujoco_data, "_require_sac", lambda env_id: None)
    monkeypatch.setattr(mujoco_data, "_make", make)
    return lambda caller: mujoco_data.sac_data("Hopper-v5", "medium", SACConfig(), 0, folder)


def measure(folder, work, monkeypatch):
    """Callers that add an item each to the results of the benchmarks."""

    def write(path, text):
        with work():
            files.atomic_write_text(path, text)

    for name in ("benchmarks", "docs"):
        (folder / name).mkdir()
    (folder / "docs" / "speed.md").write_text(f"{results._BEGIN}\n{results._END}\n")
    monkeypatch.setattr(results, "folder", lambda: folder / "benchmarks")
    monkeypatch.setattr(results, "table", lambda name, item: f"### {name}")
    monkeypatch.setattr(results, "atomic_write_text", write)
    return lambda caller: results.write({f"item {caller}": {}})


@pytest.mark.parametrize(("calls", "times"), [(download, 1), (collect, 1), (measure, 4)])
def test_what_runs_share_is_made_once_or_in_turns(tmp_path, monkeypatch, calls, times):
    at_work, seen = [], []

    @contextmanager
    def work():
        at_work.append("somebody")
        time.sleep(0.05)  # the other caller comes in the meantime
        seen.append(len(at_work))
        yield
        at_work.pop()

    call = calls(tmp_path, work, monkeypatch)
    with ThreadPoolExecutor(2) as two:
        list(two.map(call, range(2)))
    assert seen == [1] * times
    if calls is measure:
        assert json.loads((tmp_path / "benchmarks" / "results.json").read_text()).keys() == {"item 0", "item 1"}
