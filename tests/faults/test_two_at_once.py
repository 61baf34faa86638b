"""Two processes on one run directory: the second gets one line, and a dead one is in nobody's way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from cycles import COUNTS

from vgf import UserError
from vgf.rundir import RunDirectory

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
