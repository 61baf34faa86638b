"""``history.jsonl`` of an experiment's folder: a line for every command that was started and ended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vgf.files import atomic_write_text
from vgf.results.grid import OneRun

__all__ = ["Attempt", "add", "finished", "history", "merge"]

_FILE = "history.jsonl"


@dataclass(frozen=True)
class Attempt:
    """A command that was started, and how it ended."""

    command: str
    status: int
    seconds: float
    commit: str
    date: str


def history(folder: Path) -> list[Attempt]:
    """Every attempt in an experiment's folder, the oldest first; a torn last line is left out."""
    path = folder / _FILE
    found = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            found.append(Attempt(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found


def add(folder: Path, attempt: Attempt) -> None:
    """Add the newest attempt."""
    with (folder / _FILE).open("a") as file:
        file.write(_line(attempt))


def merge(folder: Path, attempts: Iterable[Attempt]) -> None:
    """Add attempts that are not there yet, in the order of their days."""
    both = sorted(dict.fromkeys([*history(folder), *attempts]), key=lambda attempt: attempt.date)
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write_text(folder / _FILE, "".join(map(_line, both)))


def finished(runs: Sequence[OneRun], folder: Path) -> list[OneRun]:
    """Runs whose command has ended well."""
    done = {attempt.command for attempt in history(folder) if attempt.status == 0}
    return [run for run in runs if run.command in done]


def _line(attempt: Attempt) -> str:
    return json.dumps(asdict(attempt)) + "\n"
