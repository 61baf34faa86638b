"""Talks to the driver, reads what a run has left behind, and counts the faults that were injected."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

COUNTS: Counter[str] = Counter()  # faults injected in this session of pytest, by category
_TESTS = Path(__file__).parents[1]
_CLOCKS = ("seconds", "steps_per_second", "milliseconds")  # what no two runs have in common


@dataclass(frozen=True)
class Ended:
    """How a call ended: exit status (negative: killed by that signal), what it printed, and its duration."""

    status: int
    said: str
    seconds: float

    @property
    def last_line(self) -> str:
        return (self.said.strip().splitlines() or [""])[-1]


class Driver:
    """The driver's process, started when the first call is made."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def call(self, work: str, *args: Any, **how: Any) -> Ended:
        """Run a function of ``works``; ``kill_after`` is in seconds, ``terminate_when`` a path."""
        if self._process is None:
            folders = [_TESTS / part for part in ("faults", "data", "trainers", "")]
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders)), "MPLBACKEND": "Agg"}
            self._process = subprocess.Popen(
                [sys.executable, str(_TESTS / "faults" / "driver.py")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            )  # fmt: skip
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == "ready\n"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"work": work, "args": args, **how}) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()


def extras(trainer: str, finished: Callable[[str], Path]) -> dict[str, Any]:
    """``trainer=extras`` adds networks to a finished run; the others need no settings."""
    return {"init": str(finished("offline")), "net__extras": ["gradient", "flow_map"]} if trainer == "extras" else {}


def killed_until_done(
    driver: Driver, work: str, *args: Any, kills: int, seconds: float, rng: random.Random, category: str
) -> None:
    """Give the same call again and again, killed at a random moment ``kills`` times, and let it finish.

    A call that ends by itself before its moment is one that found its work done; then the next moment is sooner.
    """
    left, misses = kills, 0
    while left and misses < 20:
        ended = driver.call(work, *args, kill_after=rng.uniform(0.0, seconds / (1 + misses)))
        if ended.status == -9:
            left -= 1
            COUNTS[category] += 1
        else:
            assert ended.status == 0, ended.said
            misses += 1
    assert not left, f"{left} of {kills} kills came too late"
    ended = driver.call(work, *args)
    assert ended.status == 0, ended.said


def contents(run_dir: Path) -> dict[str, Any]:
    """All that a run has left, without clocks, to compare it with another run's."""
    found: dict[str, Any] = {"files": sorted(p.name for p in run_dir.iterdir() if p.name != ".run.lock")}
    newest = run_dir / "checkpoints" / (run_dir / "checkpoints" / "latest").read_text().strip()
    found["checkpoints"] = sorted(p.name for p in (run_dir / "checkpoints").iterdir())
    for name in ("networks", "training"):
        for key, tensor in load_file(newest / f"{name}.safetensors").items():
            found[f"{name}.{key}"] = hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
    manifest = json.loads((newest / "manifest.json").read_text())
    found["manifest"] = {
        k: v for k, v in manifest.items() if k in ("step", "config_sha256", "seeds", "trained", "sha256")
    }
    metrics = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    found["metrics"] = [_timeless(row) for row in metrics]
    for table in ("eval.csv", "offline.csv"):
        if (run_dir / table).exists():
            with (run_dir / table).open(newline="") as file:
                found[table] = [_timeless(row) for row in csv.DictReader(file)]
    return found


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Compare two contents key by key, so that a failure names the part."""
    assert a.keys() == b.keys()
    for key in a:
        assert a[key] == b[key], key


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in _CLOCKS}
