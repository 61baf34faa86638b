"""Several seeds of one run, trained at once: the networks of all seeds are stacked, and one batched update moves them.

    networks of seed k  --  views of  -->  stack [K, ...]        one Adam over the stack
    draw of seed k      --  stacked   -->  draws [K, B, ...]     losses [K] by torch.func.vmap, summed, one backward

Adam and the target networks act entry by entry and a sum of losses has each seed's own gradient, so a seed trains as it
would alone, up to the rounding of batched products. Every seed has a ``Trainer`` of its own with its data stream, its
random numbers and its run directory: checkpoints are those of a single run, which either can go on with.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from vgf.adam import SideBySideAdam
from vgf.config import Config, TrainConfig
from vgf.data.sharded_store import ShardedStore
from vgf.data.store import Store, TransitionStore
from vgf.errors import UserError
from vgf.nets import ActorCritic
from vgf.nets.targets import Targets
from vgf.problem import Problem
from vgf.rundir import RunDirectory
from vgf.speed import compiled, precision_context
from vgf.trainers.loop import advance_to, require_points
from vgf.trainers.nonfinite import is_finite, summed
from vgf.trainers.pieces import Gradients, Readers, accumulated, gradients_of, losses_of
from vgf.trainers.terms import Draw, Losses, Piece, Term
from vgf.trainers.trainer import Trainer
from vgf.transport.gradient import inside_vmap

__all__ = ["SeedStack", "train"]

_ADAM = ("exp_avg", "exp_avg_sq")


def train(
    configs: Sequence[Config],
    problem: Problem,
    runs: Sequence[RunDirectory],
    device: torch.device,
    objective: Mapping[str, Term],
) -> int:
    """Train one run a configuration, which differ in seed and directory alone; otherwise as ``loop.train``.

    Runs that were interrupted at an earlier step than the furthest catch up one by one before they train together.

    Raises:
        UserError: data in shards, of which every seed would hold its own; and what ``loop.train`` raises.
    """
    problem = replace(problem, store=_shared(problem.store or TransitionStore))
    if configs[0].compile == "graph":
        print("vgf: compile=graph is for one run at a time; seeds= goes on with compile=on", file=sys.stderr)
        configs = [replace(config, compile="on") for config in configs]
    trainers = [Trainer(config, problem, device, objective) for config in configs]
    for trainer, config, run in zip(trainers, configs, runs, strict=True):
        trainer.begin(config, run)
        require_points(config, trainer)
    furthest = max(trainer.step for trainer in trainers)
    for trainer, config, run in zip(trainers, configs, runs, strict=True):
        if trainer.step < furthest:
            _catch_up(furthest, trainer, config, run)
    stack = SeedStack(trainers)
    return advance_to(
        configs[0].total_steps, stack, configs[0], lambda *made: stack.log(runs, *made), lambda: stack.save(runs)
    )


def _catch_up(step: int, trainer: Trainer, config: Config, run: RunDirectory) -> None:
    advance_to(step, trainer, config, lambda *made: trainer.log(run, *made), lambda: trainer.save(run.path))


def _shared(make: Callable[..., Store]) -> Callable[..., Store]:
    """Makes one store for each data set, whoever asks: batches are drawn from a generator that each seed brings."""
    made: dict[int, Store] = {}

    def store(data: Any, **settings: Any) -> Store:
        if id(data) not in made:
            made[id(data)] = make(data, **settings)
            if isinstance(made[id(data)], ShardedStore):
                raise UserError(
                    "seeds= trains on data in memory; with shards train one seed after another: -m seed=0,1,2"
                )
        return made[id(data)]

    return store


class _Objective(nn.Module):
    """All losses as a module's forward pass, so that its parameters can be handed in."""

    def __init__(self, networks: ActorCritic, objective: Mapping[str, Term], config: TrainConfig) -> None:
        super().__init__()
        self.networks, self.objective, self.config = networks, objective, config

    def forward(self, draw: Mapping[str, Tensor], held_out: Mapping[str, Tensor] | None) -> Losses:
        judged = None if held_out is None else Draw.of(held_out)
        return losses_of(self.networks, self.objective, self.config, Draw.of(draw), judged)


class SeedStack:
    """Trainers at the same step, advanced together.

    Attributes:
        trainers: one a seed; their networks' parameters are views of the stack.
        networks: the same networks with a leading axis of K seeds on every parameter.
        step, seconds: of all seeds.
    """

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        first = trainers[0]
        self.trainers, self.config = trainers, first.config
        self.step, self.seconds = first.step, max(trainer.seconds for trainer in trainers)
        self.networks = copy.deepcopy(first.networks)
        singles = [dict(trainer.networks.named_parameters()) for trainer in trainers]
        for name, parameter in self.networks.named_parameters():
            parameter.data = torch.stack([single[name].data for single in singles])  # [K, ...]
            for k, single in enumerate(singles):
                single[name].data = parameter.data[k]
        for trainer in trainers:  # readers of the numbers where they were before
            trainer.readers = Readers(trainer.networks, trainer.parameters)
        self.parameters = {k: p for k, p in self.networks.named_parameters() if p.requires_grad}
        self.optimizer = SideBySideAdam(self.parameters.values(), self.config.learning_rate)
        self.targets = Targets(self.networks, self.config.target_rate)
        self._take_adam()
        self.readers = Readers(self.networks, self.parameters)
        self._objective = _Objective(self.networks, first.objective, self.config)
        self._loss = compiled(self._losses, first.compile)

    def _take_adam(self) -> None:
        """Stack the seeds' optimiser states, for the parameters that have one."""
        for name, parameter in self.parameters.items():
            states = [trainer.optimizer.state.get(trainer.parameters[name]) for trainer in self.trainers]
            if all(states):
                stacked = {key: torch.stack([state[key] for state in states]) for key in _ADAM}  # type: ignore[index]
                self.optimizer.state[parameter] = {"step": states[0]["step"].clone(), **stacked}  # type: ignore[index]

    def _hand_adam(self) -> None:
        """Give every seed its part of the optimiser's state."""
        for name, parameter in self.parameters.items():
            if state := self.optimizer.state.get(parameter):
                for k, trainer in enumerate(self.trainers):
                    own = {key: state[key][k] for key in _ADAM}
                    trainer.optimizer.state[trainer.parameters[name]] = {"step": state["step"].clone(), **own}

    def advance(self) -> Losses:
        """One gradient step of every seed on a batch of its own: losses [K]."""
        drawn = [trainer.draws(trainer.data) for trainer in self.trainers]
        losses, gradients = self._gradients(drawn)
        if not is_finite(summed(losses), gradients):
            worst = self._furthest_out(losses, gradients)
            self.trainers[worst].refuse(*drawn[worst])
        self.optimizer.step(gradients, then=self.targets.follow)
        self.step += 1
        for trainer in self.trainers:
            trainer.step = self.step
        return losses

    def _gradients(self, drawn: Sequence[tuple[Draw, Draw | None]]) -> tuple[Losses, Gradients]:
        """Mean losses [K] of the micro-batches; their gradients add up to those of the whole batches."""
        count = self.config.accumulate
        draws = zip(*(draw.split(count) for draw, _ in drawn), strict=True)
        held = list(zip(*(held_out.split(count) for _, held_out in drawn if held_out), strict=True)) or [()] * count
        return accumulated(
            gradients_of([self._piece(*micro)], self.readers, self._precision, 1 / count)
            for micro in zip(draws, held, strict=True)
        )

    def _piece(self, draws: Sequence[Draw], held_out: Sequence[Draw]) -> Piece:
        draw, held = _stacked(draws), _stacked(held_out)
        return lambda _: self._loss(draw, held)

    def _precision(self) -> AbstractContextManager[Any]:
        return precision_context(self.trainers[0].data.device, self.config.precision)

    def _furthest_out(self, losses: Losses, gradients: Gradients) -> int:
        """The seed whose loss or gradient is not finite, or largest."""
        loss = torch.stack([loss for name, loss in losses.items() if name.endswith("/loss")]).sum(0)  # [K]
        norms = [gradient.flatten(1).norm(dim=1) for gradient in gradients if gradient is not None]
        size = loss.abs() + torch.stack(norms).sum(0)
        return int(size.nan_to_num(float("inf")).argmax())

    def _losses(self, draw: dict[str, Tensor], held_out: dict[str, Tensor] | None) -> Losses:
        stacks: dict[str, Tensor] = {
            f"networks.{name}": parameter for name, parameter in self.networks.named_parameters()
        }
        with inside_vmap():
            batched = vmap(self._one, in_dims=(0, 0, None if held_out is None else 0), randomness="same")
            return batched(stacks, draw, held_out)  # rules that draw noise of their own draw it from a fixed seed

    def _one(self, stacks: dict[str, Tensor], draw: dict[str, Tensor], held_out: dict[str, Tensor] | None) -> Losses:
        return functional_call(self._objective, stacks, (draw, held_out))

    def log(self, runs: Sequence[RunDirectory], losses: Losses, rate: float) -> dict[str, float]:
        """Append every seed's metrics to its run; returns the last seed's. The rate is of updates of all seeds."""
        metrics: dict[str, float] = {}
        for k, (trainer, run) in enumerate(zip(self.trainers, runs, strict=True)):
            trainer.seconds = self.seconds
            metrics = trainer.log(run, {name: loss[k] for name, loss in losses.items()}, rate)
        return metrics

    def save(self, runs: Sequence[RunDirectory]) -> None:
        """Write every seed's checkpoint."""
        self._hand_adam()
        for trainer, run in zip(self.trainers, runs, strict=True):
            trainer.seconds = self.seconds
            trainer.save(run.path)


def _stacked(draws: Sequence[Draw]) -> dict[str, Tensor] | None:
    """The tensors of draws, by name, with a leading axis of K; None for no draws."""
    columns = [draw.tensors() for draw in draws]
    return {name: torch.stack([column[name] for column in columns]) for name in columns[0]} if columns else None
