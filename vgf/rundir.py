"""The run directory: configuration, metrics, evaluations and checkpoints of one run.

A directory belongs to the run whose ``config.yaml`` it holds. Settings that only concern test time
(method, budget, evaluation) may differ from call to call; those that shape training may not.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from vgf.checkpoint import drop_old, settle
from vgf.config import BudgetConfig, Config, MethodConfig
from vgf.errors import UserError
from vgf.evaluation import EpisodeRecord
from vgf.files import atomic_write_text, locked, sweep, writing
from vgf.identity import difference
from vgf.methods import meant
from vgf.played import Played, keep_played, read_played
from vgf.provenance import environment_text
from vgf.trackers import Trackers

__all__ = ["EVAL_COLUMNS", "RunDirectory", "as_chosen", "as_loaded", "read_auto_budget", "read_config"]

EVAL_COLUMNS = (
    "step", "method", "budget", "episode", "return", "success", "length", "travelled", "value", "milliseconds",
    "judge",
)  # fmt: skip

# What is measured or played; all but metrics.jsonl, which follows the checkpoints.
_MEASURED = ("probe.npz", "scale.json", "eval.csv", "evaluations.json", "offline.csv", "auto_budget.json")
_RENAMED = {("transport.select", "first"): "none"}  # values that runs of earlier versions have stored


def read_config(run_dir: Path, *, key: str = "run") -> Config:
    """Read the resolved configuration of a run; ``key`` is what an error calls the directory.

    Raises:
        UserError: when the directory is no run, or its configuration cannot be read.
    """
    path = run_dir / "config.yaml"
    if not path.is_file():
        reason = "does not exist" if not run_dir.exists() else "is no run directory (it has no config.yaml)"
        raise UserError(f"{key}={run_dir} {reason}; give the run_dir that a training run printed")
    try:
        stored = OmegaConf.load(path)
        if "${" in str(OmegaConf.to_container(stored)):  # runs write theirs resolved; a stranger's could read variables
            raise UserError(f"{key}={run_dir}: config.yaml refers to things outside itself (${{...}}); it is not taken")
        loaded = OmegaConf.merge(_schema(), stored)
        for (name, was), now in _RENAMED.items():
            if OmegaConf.select(loaded, name) == was:
                OmegaConf.update(loaded, name, now)
        config = OmegaConf.to_object(loaded)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    assert isinstance(config, Config)
    return config


@functools.cache
def _schema() -> DictConfig:
    """Every key with its type and default: dear to make, and copied by whatever merges into it."""
    schema: DictConfig = OmegaConf.structured(Config)
    return schema


def as_chosen(run_dir: Path, config: Config) -> Config:
    """A run's configuration as it acts: with ``budget=auto``, at the budget that was chosen.

    Raises:
        UserError: as :func:`read_auto_budget`.
    """
    return replace(config, budget=read_auto_budget(run_dir, config.method)) if config.budget.auto else config


def as_loaded(run_dir: Path, config: Config, method: str | MethodConfig | None) -> MethodConfig:
    """What a ``method`` argument means of a run (:func:`vgf.methods.meant`), whose own method is :func:`as_chosen`."""
    named = meant(method, config)
    return as_chosen(run_dir, config) if named is config else named


def read_auto_budget(run_dir: Path, method: str) -> BudgetConfig:
    """The budget that ``budget=auto`` chose for a method of a run.

    Raises:
        UserError: when none has been chosen yet.
    """
    path = run_dir / "auto_budget.json"
    try:
        return BudgetConfig(**json.loads(path.read_text())[method])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} cannot be read ({error}); 'python -m vgf.run mode=eval run={run_dir} budget=auto' writes it"
        ) from error


class RunDirectory:
    """Reads and writes the files of one run, and passes metrics on to its trackers."""

    def __init__(self, path: Path, trackers: Trackers | None = None) -> None:
        self.path = path
        self.trackers = trackers or Trackers()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from working in the directory; the lock goes away with its process, however it ends.

        What a killed process of the run was writing there is removed; anybody else's folder stays as it is.

        Raises:
            UserError: another process is at work there.
        """

        def refuse() -> None:
            raise UserError(
                f"another process is working in {self.path}; wait until it has ended, or choose another run_dir=..."
            )

        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"run_dir={self.path} is a file; choose another run_dir=...")
        with locked(self.path / ".run", waiting=refuse):
            if (self.path / "config.yaml").is_file() and self._is_ours():
                sweep(self.path)
            yield

    def claim(self, config: Config) -> None:
        """Make the directory this run's, or go on with the same run.

        Raises:
            UserError: when it already holds another run, something else, or ``resume=never`` forbids to go on.
        """
        done = settle(self.path)
        if done is not None:
            drop_old(self.path, config.train.keep_every)
        begun = done is not None or (self.path / "text.json").is_file()  # of a language run
        if begun and config.resume == "never":
            raise UserError(f"{self.path} already holds a run and resume=never; choose another run_dir=...")
        if begun:
            self._require_same(config)
        elif self.path.exists() and not self.path.is_dir():
            raise UserError(f"run_dir={self.path} is a file; choose another run_dir=...")
        elif not self._is_ours():
            raise UserError(f"run_dir={self.path} is not empty and holds no run; choose another run_dir=...")
        atomic_write_text(self.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.structured(config), resolve=True))
        if not begun:  # a run that goes on keeps the command and the versions it was begun with
            atomic_write_text(self.path / "environment.txt", environment_text())
            with writing("the run directory", self.path):
                for name in _MEASURED:  # by an attempt that ended before its first checkpoint, maybe of other settings
                    (self.path / name).unlink(missing_ok=True)
        self._drop_metrics_after(math.inf if begun and done is None else done or 0)

    def _is_ours(self) -> bool:
        """Whether the directory is new, empty, or a run's: other programs have a ``config.yaml`` as well."""
        names = {path.name for path in self.path.glob("[!.]*")}
        return names <= {"config.yaml"} or {"config.yaml", "environment.txt"} <= names

    def _require_same(self, config: Config) -> None:
        if found := difference(config, read_config(self.path)):
            key, mine, old = found
            raise UserError(
                f"{self.path} already holds another run ({key} is {_shown(old)} there, {_shown(mine)} here); "
                "choose another run_dir=..."
            )

    def note(self, name: str, text: str) -> None:
        """Set a line of ``environment.txt``."""
        path = self.path / "environment.txt"
        lines = path.read_text().splitlines() if path.is_file() else []
        kept = [line for line in lines if not line.startswith(f"{name}: ")]
        atomic_write_text(path, "\n".join([*kept, f"{name}: {text}", ""]))

    def note_auto_budget(self, method: str, chosen: BudgetConfig) -> None:
        """Keep what ``budget=auto`` chose for a method: a run trained with it acts with its own method's."""
        path = self.path / "auto_budget.json"
        known = json.loads(path.read_text()) if path.is_file() else {}
        atomic_write_text(path, json.dumps(known | {method: vars(chosen)}, indent=2) + "\n")

    def log(self, row: Mapping[str, float | int]) -> None:
        """Append one line to ``metrics.jsonl``."""
        with writing("metrics", self.path), (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(dict(row)) + "\n")
        self.trackers.log(int(row["step"]), {name: float(value) for name, value in row.items() if name != "step"})

    def log_missing(self, rows: Iterable[Mapping[str, float | int]]) -> None:
        """Append those rows that are not there: a call that was interrupted may have logged some and lost others."""
        path = self.path / "metrics.jsonl"
        there = path.read_text().splitlines() if path.is_file() else []
        for row in rows:
            if json.dumps(dict(row)) not in there:
                self.log(row)

    def _drop_metrics_after(self, step: float) -> None:
        path = self.path / "metrics.jsonl"
        if path.is_file():
            kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
            atomic_write_text(path, "".join(line + "\n" for line in kept))

    def add_evaluation(
        self, step: int, method: str, budget: float, episodes: Iterable[EpisodeRecord], played: Played | None = None
    ) -> None:
        """Add one evaluated budget to ``eval.csv``; rows of the same step, method and budget are replaced.

        ``played`` goes to ``evaluations.json``, where it is known.
        """
        path = self.path / "eval.csv"
        rows: list[list[str]] = []
        if path.is_file():
            with path.open(newline="") as file:
                rows = [
                    r + [""] * (len(EVAL_COLUMNS) - len(r))  # of a version that knew fewer columns
                    for r in csv.reader(file)
                    if r and r[:3] != [str(step), method, _number(budget)] and r[0] != "step"
                ]
        episodes = list(episodes)
        for e in episodes:
            numbers = (e.episode_return, e.success, e.length, e.travelled, e.value, e.milliseconds, e.judged)
            rows.append([str(step), method, _number(budget), str(e.episode), *map(_number, numbers)])
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([EVAL_COLUMNS, *rows])
        point = (step, method, float(_number(budget)))
        keep_played(self.path, point, None)  # a process that ends between the two files leaves nothing untrue
        atomic_write_text(path, text.getvalue())
        keep_played(self.path, point, played)
        fields = {"return": "episode_return", "success": "success", "travelled": "travelled", "judge": "judged"}
        means = {name: _mean(getattr(e, field) for e in episodes) for name, field in fields.items()}
        self.track_evaluation(step, method, budget, means)

    def has_evaluation(self, step: int, method: str, budget: float, played: Played) -> bool:
        """Whether this budget's episodes are all there, played as this call would play them."""
        path, point = self.path / "eval.csv", [str(step), method, _number(budget)]
        if not path.is_file() or read_played(self.path).get((step, method, float(point[2]))) != played:
            return False
        with path.open(newline="") as file:
            return sum(row[:3] == point for row in csv.reader(file)) == played.episodes

    def track_evaluation(self, step: int, method: str, budget: float, means: Mapping[str, float]) -> None:
        """Tell the trackers what a method scored at a budget; what was not measured (NaN) is left out."""
        known = {name: mean for name, mean in means.items() if not math.isnan(mean)}
        self.trackers.log(step, {f"eval/{method}/{_number(budget)}/{name}": mean for name, mean in known.items()})


def _mean(numbers: Iterable[float]) -> float:
    known = [x for x in numbers if not math.isnan(x)]
    return sum(known) / len(known) if known else math.nan


def _number(x: float) -> str:
    return "" if math.isnan(x) else f"{x:.6g}"


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError, TypeError, ValueError):
        return math.nan  # a torn line of a killed run, which is before no step and after none


def _shown(x: Any) -> str:
    return "null" if x is None else str(x)
