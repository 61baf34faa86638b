"""A small real run, made once through the command line and shared by the tests that need one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # two cores: test processes must not spin against each other
os.environ["HYDRA_FULL_ERROR"] = "1"
os.environ["MUJOCO_GL"] = "disable"  # no films of small runs: drawing takes longer than they do

MAZE = "pointmaze-medium-navigate-singletask-task1-v0"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests may take an hour."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of a run that takes seconds; its data are generated once and then cached."""
    folder = tmp_path_factory.mktemp("data")
    return [
        "task=ogbench", f"env={MAZE}", "data.source=generate", "data.transitions=4000", f"data.folder={folder}",
        "net.hidden=32", "net.layers=2", "train.steps=60", "train.chunk=3", "train.log_every=20", "train.save_every=20",
        "eval.episodes=2", "eval.environments=2", "eval.budgets=[0,0.1]", "budget.size=0.1",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def vgf_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m vgf.run`` with the given overrides in a process of its own."""

    folder = tmp_path_factory.mktemp("elsewhere")

    def run(*overrides: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vgf.run", *overrides]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=folder)

    return run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny: list[str], vgf_run: Callable) -> Path:
    """Directory of a finished run. Do not change it: copy it."""
    run_dir = tmp_path_factory.mktemp("runs") / "tiny"
    done = vgf_run(*tiny, f"run_dir={run_dir}")
    assert done.returncode == 0, done.stderr
    return run_dir
