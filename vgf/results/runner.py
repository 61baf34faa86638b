"""Runs what an experiment has not run yet, one run after another; the same call goes on after an interruption.

ROOT/NAME/FOLDER/          the run directories of experiment NAME; its commands are started in ROOT/NAME
ROOT/NAME/history.jsonl    a line for every command that was started and ended: status, seconds, commit, machine
ROOT/NAME/chosen.json      budgets that the pilot chose here, to be read by people
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from vgf.errors import UserError, did_you_mean
from vgf.files import atomic_write_text
from vgf.identity import checked_out
from vgf.interrupt import Terminated
from vgf.results.choose import choose
from vgf.results.experiment import Experiment
from vgf.results.grid import OneRun, runs_of
from vgf.results.history import Attempt, add, finished, history, machine

__all__ = ["chosen_here", "missing", "require_commands", "run_missing", "running_arguments", "state"]

_LEFT_OUT = (
    "eval.csv", "evaluations.json", "offline.csv", "report.html", "curve.png", "videos", "particles.npz", ".run*",
    "text.json",
)  # fmt: skip


def chosen_here(experiment: Experiment, folder: Path, *, pilot: bool) -> dict[str, float] | None:
    """Budgets for ``{chosen}``: the recorded ones; with ``pilot`` (or none recorded) those of the pilot in the folder.

    None where that pilot has not ended.
    """
    recorded = experiment.expected.chosen if experiment.expected else {}
    if recorded and not pilot:
        return dict(recorded)
    pilots = [run for run in runs_of(experiment) if run.pilot]
    if not pilots:
        return {}
    if _unfinished(pilots, folder):
        return None
    return choose(folder, pilots)


def missing(experiment: Experiment, folder: Path, *, pilot: bool = False) -> list[OneRun]:
    """Runs that have not ended well, in order: pilots first, where budgets have yet to be chosen."""
    chosen = chosen_here(experiment, folder, pilot=pilot)
    if chosen is None:
        return _unfinished([run for run in runs_of(experiment) if run.pilot], folder)
    return _unfinished([run for run in runs_of(experiment, chosen) if not run.pilot], folder)


def _unfinished(runs: Sequence[OneRun], folder: Path) -> list[OneRun]:
    done = finished(runs, folder)
    return [run for run in runs if run not in done]


def run_missing(
    find: Callable[[str], Experiment],
    name: str,
    root: Path,
    *,
    pilot: bool = False,
    limit_minutes: float = math.inf,
    only: Mapping[str, str] | None = None,
    folders: Collection[str] | None = None,
) -> bool:
    """Run what is missing of an experiment, after what it copies from.

    Args:
        find: an experiment by its name.
        root: holds a folder for each experiment.
        pilot: choose budgets anew, also where some are recorded.
        limit_minutes: no run is started after them.
        only: grid key -> value; other runs are left out.
        folders: run directories; others are left out. Pilots are never left out.

    Returns:
        Whether nothing is missing now.

    Raises:
        UserError: a run that ended with an error, or nothing to run.
    """
    experiment, only = find(name), only or {}
    require_commands(experiment)
    end = time.monotonic() + 60 * limit_minutes
    for other, needed in _copied_from(_chosen_runs(experiment, only, folders)).items():
        left = (end - time.monotonic()) / 60
        if not run_missing(find, other, root, pilot=pilot, limit_minutes=left, folders=needed):
            return False
    folder = root / name
    while waiting := [run for run in missing(experiment, folder, pilot=pilot) if _wanted(run, only, folders)]:
        if time.monotonic() >= end:
            print(f"{name}: {len(waiting)} runs are left; the same command goes on", flush=True)
            return False
        _start(waiting[0], folder, f"{name}, {len(waiting)} to go")
        if waiting[0].pilot and (chosen := chosen_here(experiment, folder, pilot=pilot)):
            atomic_write_text(folder / "chosen.json", json.dumps(chosen, indent=2) + "\n")
    return True


def require_commands(experiment: Experiment) -> None:
    """Raise a UserError for numbers that no command makes again."""
    if not experiment.runs:
        told = experiment.where or "its page"
        raise UserError(f"{experiment.name} has no commands of its own to run, and no runs to read; {told} tells more")


def running_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of commands that run experiments."""
    parser.add_argument(
        "--root", type=Path, default=Path("runs/results"), metavar="DIR", help="holds a folder for each experiment"
    )
    parser.add_argument(
        "--limit-minutes", type=float, default=math.inf, metavar="M", help="start no run after M minutes"
    )
    parser.add_argument("--pilot", action="store_true", help="choose budgets anew, where some are recorded")


def state(experiments: Sequence[Experiment], root: Path) -> list[str]:
    """A line for every experiment that has a folder: runs done, minutes spent, what runs next."""
    lines = []
    for experiment in experiments:
        folder = root / experiment.name
        if not folder.is_dir():
            continue
        attempts = history(folder)
        try:
            waiting = missing(experiment, folder)
        except UserError as reason:  # one broken experiment does not hide the others
            lines.append(f"{experiment.name}: {reason}")
            continue
        done = len({attempt.command for attempt in attempts if attempt.status == 0})
        minutes = sum(attempt.seconds for attempt in attempts) / 60
        left = f"{len(waiting)} to go, next {waiting[0].folder}" if waiting else "complete"
        pilot = " (of its pilot)" if waiting and waiting[0].pilot else ""
        lines.append(f"{experiment.name}: {done} runs ended in {minutes:.0f} min; {left}{pilot}")
    return lines or [f"{root} holds no experiment yet"]


def _chosen_runs(experiment: Experiment, only: Mapping[str, str], folders: Collection[str] | None) -> list[OneRun]:
    """Runs, pilots aside, that a call is about.

    Raises:
        UserError: a key that no grid of the experiment has, or values that no run has.
    """
    runs = [run for run in runs_of(experiment) if not run.pilot]
    keys = sorted({key for run in runs for key in run.params})
    for key in only:
        if key not in keys:
            hint = did_you_mean(key, keys)
            raise UserError(f"--only {key}=...: {experiment.name} has no such key (its keys: {', '.join(keys)}).{hint}")
    found = [run for run in runs if _wanted(run, only, folders)]
    if only and not any(only.keys() & run.params.keys() for run in found):
        said = " ".join(f"{key}={value}" for key, value in only.items())
        raise UserError(f"--only {said} leaves no run of {experiment.name}")
    return found


def _copied_from(runs: Sequence[OneRun]) -> dict[str, list[str]]:
    """Other experiments, and those of their run directories that these runs start from."""
    found: dict[str, list[str]] = {}
    for run in runs:
        name, _, folder = (run.copy or ".").partition("/")
        if name != ".":
            found.setdefault(name, []).append(folder)
    return found


def _wanted(run: OneRun, only: Mapping[str, str], folders: Collection[str] | None) -> bool:
    if run.pilot:
        return True
    if folders is not None and run.folder not in folders:
        return False
    return all(str(run.params.get(key, value)) == value for key, value in only.items())


def _start(run: OneRun, folder: Path, said: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if run.copy is not None:
        _copied(run.copy, folder, folder / run.folder)
    print(f"{said}: {run.command}", flush=True)
    begun, status, commit = time.monotonic(), 130, checked_out() or "unknown"  # another may be when it has ended
    try:
        status = _ended([sys.executable, "-m", "vgf.run", *run.arguments], folder)
    finally:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        seconds = round(time.monotonic() - begun, 1)
        add(folder, Attempt(run.command, status, seconds, commit, today, machine()))
    if status:
        raise UserError(f"a run of {said.split(',')[0]} ended with status {status}: {run.command}")


def _ended(words: Sequence[str], folder: Path) -> int:
    """Status of a command that was waited for; one that is told to stop is given the time to save."""
    with subprocess.Popen(words, cwd=folder) as child:
        try:
            return child.wait()
        except KeyboardInterrupt as stop:
            if isinstance(stop, Terminated):  # Ctrl-C reaches the child as well, SIGTERM does not
                child.terminate()
            child.wait()
            raise


def _copied(source: str, folder: Path, target: Path) -> None:
    """A finished run without its scores, as a run directory of this experiment."""
    name, _, run = source.partition("/")
    origin = (folder if name == "." else folder.parent / name) / run
    if target.is_dir():
        return
    if not origin.is_dir():
        raise UserError(f"{origin} is no folder: the run that {target.name} starts from is not there")
    half = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(origin, half, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    half.rename(target)
