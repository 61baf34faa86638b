"""What the driver's calls do: real commands and real parts of them, on tiny problems."""

from __future__ import annotations

import functools
import importlib
import itertools
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import collectors
import operations
import torch
import walking  # noqa: F401
from omegaconf import OmegaConf
from small import problem, small_config

import vgf.launch
import vgf.run
import vgf.scoring
import vgf.tasks.custom
from vgf.complaints import one_line_errors
from vgf.config import Config, EvalConfig
from vgf.data.generate import generate
from vgf.interrupt import raise_on_sigterm
from vgf.methods import load_method
from vgf.rundir import RunDirectory

CPU = torch.device("cpu")
CONFIGS = Path(__file__).parents[2] / "configs" / "trainer"
TRAINERS = ("offline", "online", "extras", "fql", "rebrac", "qam")
for name in TRAINERS:
    importlib.import_module(f"vgf.trainers.{name}")


def command(*arguments: str) -> None:
    """``python -m vgf.run`` with arguments."""
    sys.argv = ["vgf", *arguments]
    vgf.run.main()


def configured(trainer: str, changes: dict[str, Any]) -> Config:
    """A small run of 30 steps with what the trainer's own file sets; ``extras`` starts from the run ``init``."""
    settings: dict[str, Any] = {"train__steps": 30, "train__log_every": 3, "train__save_every": 4}
    if trainer == "online":
        settings |= {"train__steps": 6, "online__steps": 24, "online__start": 2, "online__eval_every": 8}
    merged = OmegaConf.merge(
        OmegaConf.structured(small_config(**settings | changes)), OmegaConf.load(CONFIGS / f"{trainer}.yaml")
    )
    config = OmegaConf.to_object(merged)
    assert isinstance(config, Config)
    config.eval = EvalConfig(episodes=4, environments=2, processes=1, budgets=[0.0, 0.1], baselines=[])
    return config


def train(trainer: str, run_dir: str, changes: dict[str, Any], resume: str = "auto") -> None:
    """What the command line does to train, on the made-up data of ``small``."""
    config = configured(trainer, changes)
    config.resume = resume
    module = importlib.import_module(f"vgf.trainers.{trainer}")

    class Task:
        prepare = staticmethod(lambda config: problem(validation=True))
        environment_factory = staticmethod(lambda config: problem().make_environment)

    with one_line_errors():
        raise_on_sigterm()
        run = RunDirectory(Path(run_dir))
        with run.held():
            vgf.launch._train([config], Task, module, [run], CPU)  # type: ignore[arg-type]


def evaluate(run_dir: str, methods: list[str]) -> None:
    """Play methods in a trained run, without the report."""
    run = RunDirectory(Path(run_dir))
    config = configured("offline", {})
    raise_on_sigterm()
    with one_line_errors(), run.held():
        policy = vgf.scoring.load(run.path, method=config)
        points = [(load_method(name), knob) for name in methods for knob in load_method(name).sweep[:2]]
        vgf.scoring.play_points(config, run, policy, points, problem().make_environment)


def collected(split: int, index: int) -> dict[str, Any]:
    """A random walk that takes a while."""
    time.sleep(0.004)
    return collectors.walk(split, index)


def data(folder: str, collect: Any = collected, counts: dict[str, int] | None = None) -> None:
    """A data set of 60 episodes from two processes."""
    with one_line_errors():
        raise_on_sigterm()
        generate(
            collect,
            target=Path(folder) / "X.npz",
            counts=counts or {"": 50, "-val": 10},
            work=Path(folder) / "X.work",
            processes=2,
            manifest={"seed": 0},
            label="walks",
        )


def dying_data(folder: str, kind: str) -> None:
    """A data set whose fourth episode raises, or kills its process."""
    Path(folder, kind).touch()
    data(folder, functools.partial(collectors.logged, Path(folder)), {"": 6, "-val": 2})


def endless_data(folder: str) -> None:
    """A data set that takes minutes."""
    data(folder, collected, {"": 100_000})


def struck(root: str, kind: str, at: int, work: str, *args: Any) -> None:
    """Another work, with a fault in its n-th file operation below ``root``."""
    with operations.failing(operations.Fault(Path(root), kind, at)) as fault:
        try:
            globals()[work](*args)
        finally:
            print(f"operations: {fault.seen}")


class Crash(BaseException):
    """Nobody handles it, as nobody handles a power cut."""


def crashed(where: str, at: int, work: str, *args: Any) -> None:
    """Another work that breaks off: before an ``update`` with this number, or in its n-th ``evaluation``."""
    loop, online = (importlib.import_module(f"vgf.trainers.{name}") for name in ("loop", "online"))
    update, evaluate, count = loop.Trainer.update, vgf.scoring.evaluate, itertools.count(1)

    def broken_update(self: Any, *given: Any) -> Any:
        if where == "update" and self.step == at:
            raise Crash
        return update(self, *given)

    def broken_evaluation(*given: Any, **named: Any) -> Any:
        if where == "evaluation" and next(count) == at:
            raise Crash
        return evaluate(*given, **named)

    with (
        mock.patch.object(loop.Trainer, "update", broken_update),
        mock.patch.object(vgf.scoring, "evaluate", broken_evaluation),
    ):
        assert online.play_points is vgf.scoring.play_points
        globals()[work](*args)
