"""What a command line asks for: composed, checked, and done by task and trainer.

    mode=train   find or make the data, train reference and critic, evaluate, write the report
    mode=eval    run=DIR: evaluate a finished (or interrupted) run again, at other budgets or with another method
    a first word of vgf/commands.py (explain, serve, push, ...) is a command of its own

Only one process works in a run directory at a time.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import hydra
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from vgf.check import check_config
from vgf.checkpoint import latest_step
from vgf.commands import dispatch
from vgf.complaints import group_options, one_line_errors, told_errors
from vgf.compose import settled, with_own_preset
from vgf.config import Config
from vgf.cores import cores
from vgf.errors import UserError, did_you_mean
from vgf.language.ranks import is_first
from vgf.methods import ALL
from vgf.probe import write_probe
from vgf.report.facts import flatten
from vgf.report.seeds import seeds_table
from vgf.rundir import RunDirectory
from vgf.scale import write_scale
from vgf.scoring import score_run
from vgf.seeds import each_seed
from vgf.side_by_side import set_side_threads
from vgf.speed import pick_device, use_cores
from vgf.trackers import Trackers, tracker_names
from vgf.unread import require_read, require_read_by_demonstration

__all__ = ["launch", "main"]

_OPEN_KEYS = (  # dictionaries that take new names
    "transport.options.", "data.columns.", "text.columns.", "text.reward.columns.", "text.gold.columns.",
    "text.second.columns.",
)  # fmt: skip


def main() -> None:
    """Do what ``sys.argv`` says: a subcommand, or a run."""
    with one_line_errors():
        if dispatch(sys.argv[1:]):
            return
        _refuse_below_null(sys.argv[1:])
    given = sorted(with_own_preset(sys.argv[1:]), key=_is_option)  # keys in one piece, as Hydra wants them
    sys.argv[1:] = [f"++{a}" if a.startswith(_OPEN_KEYS) else a for a in given]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through to us instead of printing tracebacks
    ConfigStore.instance().store(name="schema", node=Config)
    with one_line_errors():
        _compose_and_launch()


def _is_option(word: str) -> bool:
    return word.startswith("-") or "=" not in word


def _refuse_below_null(given: list[str]) -> None:
    """Hydra itself fails there without saying why."""
    emptied: list[str] = []
    for argument in given:
        key, _, value = argument.partition("=")
        if parent := next((one for one in emptied if key.startswith(f"{one}.")), None):
            raise UserError(f"{parent}=null leaves nothing to set {key} in; leave one of the two out")
        emptied += [key] if value in ("null", "None") else []


@hydra.main(version_base="1.3", config_path="pkg://vgf.configs", config_name="config")
def _compose_and_launch(composed: DictConfig) -> None:
    job = HydraConfig.get()
    # Inside the job as well: Hydra would report an error there in its own words. Of a sweep, the other jobs still run.
    with told_errors() if job.mode is RunMode.MULTIRUN else one_line_errors():
        launch(composed, [override.split("=")[0] for override in job.overrides.task])


def launch(composed: DictConfig, given: list[str]) -> None:
    """Do what a composed configuration asks for. ``given``: the keys named on the command line."""
    given = [key.removeprefix("++") if key.startswith(tuple(f"++{k}" for k in _OPEN_KEYS)) else key for key in given]
    for key in given:
        if key.lstrip("+~") != key:
            raise UserError(f"{key}: keys can be set, not added or removed; write {key.lstrip('+~')}=...")
    composed = settled(composed, given)
    configs = list(each_seed(composed))
    config = configs[0]
    check_config(config)
    task, trainer = _module("task", config.task), _module("trainer", config.trainer)
    if hasattr(task, "demonstrate"):  # nothing to train or to play: one call shows it all
        require_read_by_demonstration(config.task, given)
        folder = Path(config.run_dir if "run_dir" in given else f"runs/{config.task}-seed{config.seed}")
        print(task.demonstrate(config.seed, folder))
        return
    require_read(config, given)
    if config.mode == "train":
        _require_fit(config, task, trainer)
        if hasattr(trainer, "require_playable"):
            trainer.require_playable(config, task)
    device = pick_device(config.device)
    use_cores(config, device, len(configs))
    if len(configs) > 1 and (hasattr(task, "solve") or not hasattr(trainer, "objective")):
        each = ",".join(str(one.seed) for one in configs)
        raise UserError(
            f"seeds={len(configs)} trains on fixed data, in one batched model; task={config.task} "
            f"trainer={config.trainer} does not; train one seed after another: -m seed={each}"
        )
    runs = [_run_directory(one) for one in configs]
    with contextlib.ExitStack() as holding:
        for run in runs:
            if is_first() or not hasattr(task, "solve"):  # text alone lets several processes share a run's directory
                holding.enter_context(run.held())
            holding.callback(run.trackers.finish)
        if hasattr(task, "solve"):  # a domain with data, evaluation and report of its own: text
            set_side_threads(1)
            torch.set_num_threads(config.threads or len(cores()))
            task.solve(config, runs[0], trainer, device)
            return
        if config.mode == "train":
            _train(configs, task, trainer, runs, device)
        set_side_threads(1)
        torch.set_num_threads(config.threads or 1)  # the other cores step environments
        make_environment = task.environment_factory(config)
        for one, run in zip(configs, runs, strict=True):
            score_run(one, run, make_environment, device)
        if len(runs) > 1 and make_environment is not None:
            own = {} if config.method == ALL else {config.method: config.transport.knob}
            print(f"\n{seeds_table([run.path for run in runs], knobs=own)}")


def _run_directory(config: Config) -> RunDirectory:
    path = Path(config.run_dir if config.mode == "train" else str(config.run))
    return RunDirectory(path, Trackers(tracker_names(config.tracker), path, flatten(asdict(config))))


def _train(
    configs: list[Config], task: ModuleType, trainer: ModuleType, runs: list[RunDirectory], device: torch.device
) -> None:
    """Train the runs that are not at their end: one by its trainer, several in one batched model."""
    waiting = []
    for config, run in zip(configs, runs, strict=True):
        run.claim(config)
        if latest_step(run.path) == config.total_steps:
            print(f"{run.path} holds this run, trained to its end: evaluating it (another run_dir=... trains anew)")
        else:
            waiting.append((config, run))
    if not waiting:
        return
    first = waiting[0][0]
    problem = replace(task.prepare(first), make_environment=task.environment_factory(first))
    for _, run in waiting:
        if latest_step(run.path) is None:  # a run that goes on does so with the same data, or is refused
            run.note("data", problem.origin)
        write_probe(run.path, problem)
        write_scale(run.path, problem.scale)
    folders = ", ".join(str(run.path) for _, run in waiting)
    print(f"{problem.name}: {len(problem.train['actions']):,} transitions ({problem.origin}); run directory {folders}")
    try:
        if len(waiting) == 1:
            trainer.train(first, problem, waiting[0][1], device)
        else:
            several = importlib.import_module("vgf.trainers.seeds")
            chosen, theirs = zip(*waiting, strict=True)
            several.train(chosen, problem, theirs, device, trainer.objective(first))
    except KeyboardInterrupt:
        done = latest_step(waiting[0][1].path)
        if done:
            print(
                f"\nvgf: stopped at step {done} of {first.total_steps}; the same command goes on, "
                f"and 'python -m vgf.run mode=eval run={waiting[0][1].path}' evaluates what there is",
                file=sys.stderr,
            )
        raise
    except UserError as error:
        if done := latest_step(waiting[0][1].path):
            raise UserError(f"{error} (step {done} is kept in {waiting[0][1].path})") from error
        raise


def _require_fit(config: Config, task: ModuleType, trainer: ModuleType) -> None:
    """Refuse a trainer whose ``train`` takes another kind of problem than the task's ``prepare`` returns."""
    takes, makes = _takes(trainer), _kind(task.prepare, "return")
    if takes and makes and takes != makes:
        names = group_options("trainer")
        fitting = [name for name in names if _takes(importlib.import_module(f"vgf.trainers.{name}")) == makes]
        raise UserError(
            f"trainer={config.trainer} does not go with task={config.task}: it trains on a {takes}, and the task makes "
            f"a {makes}; use one of {', '.join(fitting)}"
        )


def _takes(trainer: ModuleType) -> str:
    return _kind(trainer.train, "problem")


def _kind(function: Any, name: str) -> str:
    """The name of an annotated class; nothing where a module of one's own has no annotations."""
    kind = function.__annotations__.get(name, "")
    return getattr(kind, "__name__", str(kind)).rpartition(".")[2]


def _module(group: str, name: str) -> Any:
    """The module of a task or trainer: ``task=NAME`` is ``configs/task/NAME.yaml`` and ``tasks/NAME.py``."""
    names = group_options(group)
    if name not in names:
        raise UserError(f"{group}={name} is unknown; use one of {', '.join(names)}.{did_you_mean(name, names)}")
    return importlib.import_module(f"vgf.{group}s.{name}")
