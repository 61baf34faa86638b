"""The examples run, on small runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve.runs import save_text_run

EXAMPLES = Path(__file__).parents[1] / "examples"
pytestmark = pytest.mark.slow


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_control(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    said = run("control.py", str(tmp_path / "run"))
    assert "success" in said
    assert "(40, 2)" in said
    assert (tmp_path / "run" / "collected" / "maze-v0" / "data" / "main_data.hdf5").is_file()


def test_text(tmp_path: Path) -> None:
    said = run("text.py", str(save_text_run(tmp_path)), "w1 w2 ")
    assert said.count("reference: ") == 3
    assert "travelled 0." in said
