"""A small real run, made once through the command line and shared by the tests that need one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from vgf.files import locked

os.environ["OMP_NUM_THREADS"] = "1"  # two cores: test processes must not spin against each other
os.environ["HYDRA_FULL_ERROR"] = "1"
os.environ["MUJOCO_GL"] = "disable"  # no films of small runs: drawing takes longer than they do

MAZE = "pointmaze-medium-navigate-singletask-task1-v0"


_LONGEST = ("test_run.py", "test_seeds.py", "test_verify.py", "test_llm_reward.py", "test_add_a_rule.py")


def pytest_configure(config: pytest.Config) -> None:
    """Files in the order below; a stalled core is no failure of a property."""
    if hasattr(config.option, "loadscopereorder"):  # pytest-xdist would begin with the files of the most tests
        config.option.loadscopereorder = False
    if not os.environ.get("CI"):  # Hypothesis has a profile of its own there
        settings.register_profile("patient", deadline=None)
        settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that none is begun when all others have ended; slow tests may take an hour."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="session")
def of_all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that pytest-xdist's workers share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def tiny(of_all_workers: Path) -> list[str]:
    """Overrides of a run that takes seconds; its data are generated once and then cached."""
    return [
        "task=ogbench", f"env={MAZE}", "data.source=generate", "data.transitions=4000", f"data.folder={of_all_workers}",
        "data.processes=1", "net.hidden=32", "net.layers=2", "train.steps=60", "train.chunk=20", "train.log_every=20",
        "train.save_every=20", "eval.episodes=2", "eval.environments=2", "eval.processes=1", "eval.budgets=[0,0.1]",
        "budget.size=0.1",
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
def tiny_run(of_all_workers: Path, tiny: list[str], vgf_run: Callable) -> Path:
    """Directory of a finished run. Do not change it: copy it."""
    run_dir = of_all_workers / "tiny"
    with locked(run_dir):
        if not (run_dir / "report.html").exists():  # the last file of a run
            done = vgf_run(*tiny, f"run_dir={run_dir}")
            assert done.returncode == 0, done.stderr
    return run_dir
