"""Collectors for ``test_generate``, in a module of their own because spawned workers import it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

Episode = dict[str, np.ndarray]


def walk(split: int, index: int) -> Episode:
    """Return a random walk; its length and its numbers depend on the arguments alone."""
    rng = np.random.default_rng([split, index])
    rows = 5 + index % 3
    terminals = np.zeros(rows, bool)
    terminals[-1] = True
    return {
        "observations": rng.normal(size=(rows, 2)).cumsum(0).astype(np.float32),
        "actions": rng.uniform(-1, 1, size=(rows, 2)).astype(np.float32),
        "terminals": terminals,
    }


def logged(folder: Path, split: int, index: int) -> Episode:
    """Note each call in ``folder/log``; do what a file in ``folder`` says, most for episode 3 of split 0."""
    with (folder / "log").open("a") as log:
        log.write(f"{split} {index} {os.environ['OMP_NUM_THREADS']}\n")
    if (folder / "slow").exists():
        time.sleep(0.4)
    if (split, index) == (0, 3):
        if (folder / "raise").exists():
            raise ValueError("the simulator\nexploded")
        if (folder / "die").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if (folder / "uneven").exists():
            return {"observations": np.zeros((3, 1)), "actions": np.zeros((2, 1))}
    return walk(split, index)


def slow(split: int, index: int) -> Episode:
    """Take a while, so that an interruption falls into the middle."""
    time.sleep(0.05)
    return walk(split, index)
