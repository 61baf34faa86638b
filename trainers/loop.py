"""The training loop: one update after another, with checkpoints from which it goes on exactly.

A trainer (``trainer.py``) makes the updates; what stands here is when they are logged and stored, and how they stop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Protocol

import torch

from vgf.config import Config
from vgf.errors import UserError
from vgf.interrupt import deferred_interrupt
from vgf.methods import ALL
from vgf.policy import Policy
from vgf.problem import Problem
from vgf.progress import progress_bar
from vgf.rundir import RunDirectory
from vgf.scoring import points_of
from vgf.trainers.terms import Losses, Term
from vgf.trainers.trainer import Trainer

__all__ = ["Advancing", "Trainer", "advance_to", "go_on", "require_points", "train"]


def train(
    config: Config, problem: Problem, run: RunDirectory, device: torch.device, objective: Mapping[str, Term]
) -> int:
    """Train until ``config.total_steps`` steps are made, going on from the run's checkpoint. Returns the step.

    Ctrl-C and SIGTERM let the update in hand finish and save a checkpoint before they are passed on; the first update
    of a call, which may be compiling, and what is done between updates are broken off, and done again later.

    Raises:
        UserError: data that do not suit the settings, a loss that is not finite, a full disk.
    """
    return go_on(Trainer(config, problem, device, objective), config, run)


def go_on(trainer: Trainer, config: Config, run: RunDirectory, after: Callable[[], None] = lambda: None) -> int:
    """The loop itself, for a trainer that is made; ``after`` is called before the first step and after each one.

    Otherwise as :func:`train`.
    """
    trainer.begin(config, run)
    require_points(config, trainer)
    return advance_to(
        config.total_steps,
        trainer,
        config,
        lambda *made: trainer.log(run, *made),
        lambda: trainer.save(run.path),
        after,
    )


def require_points(config: Config, trainer: Trainer) -> None:
    """Raise, before anything is trained, the UserError of a method that evaluation would have to refuse afterwards.

    So too of a network that would be trained against one that is not, and of a budget that an untrained judge chooses.
    """
    trained = trainer.will_have_trained
    if "optimal" in config.net.extras and "v" not in trained:
        raise UserError(
            f"net.extras=[optimal] clones actions better than V(s), which init={config.init} has not learned; begin "
            "with a run of train.critic=iql"
        )
    if config.budget.auto and "judge" not in trained:
        raise UserError(
            "budget=auto asks the judge, which this run does not train; it needs held-out episodes in the data, "
            "net.judge=true, and no judge in train.freeze"
        )
    if config.method != ALL:  # which leaves out what it cannot play
        points_of(config, Policy(trainer.networks, config, config.train.flow_steps, frozen=False, trained=trained))


class Advancing(Protocol):
    """What :func:`advance_to` needs of a trainer: the step it is at, seconds spent so far, and how to make a step."""

    step: int
    seconds: float

    def advance(self) -> Losses | None:
        """One step; None when it made no update."""
        ...


def advance_to(
    steps: int,
    trainer: Advancing,
    config: Config,
    log: Callable[[Losses, float], Mapping[str, float]],
    save: Callable[[], None],
    after: Callable[[], None] = lambda: None,
) -> int:
    """Advance a trainer to a step; ``log`` gets the last losses and steps per second, and returns the metrics.

    The time that ``after`` takes, which may be evaluations, is not counted as training's.
    """
    first = kept = trainer.step
    began, earlier = time.perf_counter(), trainer.seconds
    bar = progress_bar("training", steps, "update", initial=first)
    losses: Losses = {}

    def do_after() -> None:
        nonlocal began
        left = time.perf_counter()
        after()
        began += time.perf_counter() - left

    with bar, deferred_interrupt() as stop:
        with stop.at_once():
            do_after()  # due before the first step, or broken off when the checkpoint was written
        while trainer.step < steps and not stop.asked:
            before = trainer.step
            with stop.at_once() if before == first else nullcontext():  # the first one may have to be compiled
                losses = trainer.advance() or losses
            trainer.seconds = earlier + time.perf_counter() - began
            bar.update(trainer.step - before)
            if trainer.step % config.train.log_every == 0 or trainer.step == steps:
                metrics = log(losses, (trainer.step - first) / (time.perf_counter() - began))
                bar.set_postfix({k: f"{metrics[k]:.3g}" for k in _SHOWN if k in metrics}, refresh=False)
            if trainer.step % config.train.save_every == 0 or trainer.step == steps or stop.asked:
                save()
                kept = trainer.step
            if not stop.asked:
                try:
                    with stop.at_once():
                        do_after()
                except (KeyboardInterrupt, UserError):
                    if kept != trainer.step:  # it may take long or fail: going on from this step repeats it
                        save()
                    raise
    return trainer.step


_SHOWN = ("critic/q_mean", "flow/loss", "actor/loss")
