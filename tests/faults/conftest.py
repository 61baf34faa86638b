"""One driver for all tests of faults, and the count of the faults they have injected."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[1]
sys.path += [str(_TESTS / part) for part in ("", "faults", "data", "trainers")]  # these tests use helpers of others

import walking  # noqa: E402
from cycles import COUNTS, Driver, extras  # noqa: E402


@pytest.fixture(scope="session")
def driver() -> Iterator[Driver]:
    """Forks a process for each call."""
    one = Driver()
    yield one
    one.close()


@pytest.fixture(scope="session")
def uninterrupted(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Directory of a run of a trainer that nothing has befallen. Do not change it: copy it."""

    @functools.cache
    def finished(trainer: str) -> Path:
        path = tmp_path_factory.mktemp("uninterrupted") / trainer
        ended = driver.call("train", trainer, str(path), extras(trainer, finished))
        assert ended.status == 0, ended.said
        return path

    return finished


@pytest.fixture(scope="session")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data file of random walks."""
    return walking.record(tmp_path_factory.mktemp("walks") / "walks.npz")


@pytest.fixture(scope="session")
def tiny_walk(walks: Path) -> list[str]:
    """Overrides of a run that takes a second: 40 updates, 12 evaluated episodes."""
    return [
        "task=custom", f"data.path={walks}", "env=walking:Walk-v0", "device=cpu", "threads=1", "net.hidden=8",
        "net.layers=1", "train.steps=40", "train.batch_size=8", "train.log_every=4", "train.save_every=6",
        "eval.episodes=4", "eval.environments=2", "eval.processes=1", "eval.budgets=[0,0.1]", "budget.size=0.1",
    ]  # fmt: skip


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many faults of each kind were injected."""
    if COUNTS:
        terminalreporter.write_line(
            "faults injected: " + ", ".join(f"{n} {name}" for name, n in sorted(COUNTS.items()))
            + f"; {sum(COUNTS.values())} in all"
        )  # fmt: skip
