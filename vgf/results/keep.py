"""Keeps the scores of runs: what measures and notes read of them, without networks, pictures, settings and paths."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from vgf.files import atomic_write_text
from vgf.results.grid import OneRun
from vgf.results.history import finished, history, merge

__all__ = ["VERSIONS", "keep"]

VERSIONS = ("python", "torch", "numpy", "mujoco", "gymnasium", "ogbench")
_FILES = ("eval.csv", "offline.csv", "text.json", "auto_budget.json")


def _named(parts: str) -> str:
    """The facts of a language run, with the name of its reward's folder in place of the path."""
    told = json.loads(parts)
    if told.get("reward_path"):
        told["reward_path"] = Path(told["reward_path"]).name
    return json.dumps(told, indent=2) + "\n"


_TOLD = {"text.json": _named}


def keep(runs: Sequence[OneRun], folder: Path, kept: Path) -> set[str]:
    """Copy the scores of those runs of an experiment that have ended, and the history of its commands.

    Args:
        folder: ``ROOT/NAME``. Without a history its runs were started by hand, and all of them count.
        kept: gets the same folders. Runs and commands that are there already, and not in ``folder``, stay.

    Returns:
        The run directories that were kept.
    """
    attempts, done = history(folder), set()
    for run in finished(runs, folder) if attempts else runs:
        here, there = folder / run.folder, kept / run.folder
        if not (here / "eval.csv").is_file():
            continue
        done.add(run.folder)
        there.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            if (here / name).is_file():
                atomic_write_text(there / name, _TOLD.get(name, str)((here / name).read_text()))
        if (here / "environment.txt").is_file():
            lines = (here / "environment.txt").read_text().splitlines()
            told = [line for line in lines if line.partition(": ")[0] in ("commit", *VERSIONS)]
            atomic_write_text(there / "environment.txt", "".join(f"{line}\n" for line in told))
    if attempts:
        merge(kept, attempts)
    return done
