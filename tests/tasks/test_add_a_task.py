"""The documentation's page on adding a task, followed literally in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_enough(tmp_path):
    for name, where in {
        "vgf": "vgf",
        "tasks": "vgf/tasks",
        "trainers": "vgf/trainers",
        "configs": "vgf/configs",
    }.items():
        shutil.copytree(ROOT / name, tmp_path / where, ignore=shutil.ignore_patterns("__pycache__"))
    page = (ROOT / "docs" / "add_a_task.md").read_text()
    blocks = re.findall(r"`(configs|tasks)/(\S+)`:\n\n```\w+\n(.*?)```", page, re.DOTALL)
    assert [(folder, name) for folder, name, _ in blocks] == [
        ("configs", "task/pendulum.yaml"),
        ("tasks", "pendulum.py"),
    ]
    for folder, name, text in blocks:
        (tmp_path / "vgf" / folder / name).write_text(text)
    command = re.search(r"```bash\npython (.*)\n```", page)[1].split()
    small = ["data.transitions=800", "net.hidden=16", "net.layers=1", "train.steps=20", "train.log_every=10"]
    small += [
        "train.save_every=20",
        "eval.episodes=2",
        "eval.environments=2",
        "eval.budgets=[0,0.1]",
        "eval.processes=1",
    ]
    done = subprocess.run(
        [sys.executable, *command, *small], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "pendulum" in done.stdout
    assert "judge gain" in done.stdout
    written = next((tmp_path / "runs").rglob("report.html"))
    assert "scripted episodes" in written.read_text()
