"""``history.jsonl`` of an experiment's folder: a line for every command that was started and ended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vgf.cores import cores
from vgf.files import atomic_write_text
from vgf.results.grid import OneRun
from vgf.speed import processor

__all__ = ["Attempt", "add", "finished", "history", "machine", "merge", "that_counts"]

_FILE = "history.jsonl"


@dataclass(frozen=True)
class Attempt:
    """A command that was started, and how it ended.

    Attributes:
        status: of the process; a shell's 128 + signal, or a negative number, where a signal ended it.
        seconds: wall time.
        commit: checked out when it was started; date: when it ended.
        machine: as :func:`machine`; None in lines that older versions wrote.
    """

    command: str
    status: int
    seconds: float
    commit: str
    date: str
    machine: str | None = None


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
    """Add the newest attempt, on a line of its own: the last one may be torn."""
    path = folder / _FILE
    torn = path.is_file() and path.read_text()[-1:] not in ("", "\n")
    with path.open("a") as file:
        file.write("\n" * torn + _line(attempt))


def merge(folder: Path, attempts: Iterable[Attempt]) -> None:
    """Add attempts that are not there yet, in the order of their days."""
    both = sorted(dict.fromkeys([*history(folder), *attempts]), key=lambda attempt: attempt.date)
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write_text(folder / _FILE, "".join(map(_line, both)))


def that_counts(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Attempts that finished runs were made by: those that ended well, and those that were stopped and gone on from."""
    attempts = list(attempts)
    done = {attempt.command for attempt in attempts if attempt.status == 0}
    return [each for each in attempts if each.status == 0 or (_was_stopped(each) and each.command in done)]


def _was_stopped(attempt: Attempt) -> bool:
    return attempt.status < 0 or attempt.status > 128


def machine() -> str:
    """Processor and number of cores here, nothing that names the machine."""
    count = len(cores())
    return f"{processor()}, {count} core{'s' * (count > 1)}"


def finished(runs: Sequence[OneRun], folder: Path) -> list[OneRun]:
    """Runs whose command has ended well."""
    done = {attempt.command for attempt in history(folder) if attempt.status == 0}
    return [run for run in runs if run.command in done]


def _line(attempt: Attempt) -> str:
    return json.dumps({name: value for name, value in asdict(attempt).items() if value is not None}) + "\n"
