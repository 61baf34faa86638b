"""The trainer: networks, optimiser and random streams of one run, and one update on one batch.

What is minimised is a dictionary of terms (``terms.py``) that is handed over; the trainer knows nothing of them.

    draw  ->  losses of all terms, and of the judge on held-out data  ->  one Adam step  ->  target networks follow
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vgf.adam import SideBySideAdam
from vgf.checkpoint import latest_step
from vgf.config import Config
from vgf.data.fingerprint import fingerprint
from vgf.data.store import Store, TransitionStore
from vgf.errors import UserError
from vgf.identity import config_sha256
from vgf.nets import ActorCritic
from vgf.nets.actor_critic import network_of
from vgf.nets.targets import Targets
from vgf.problem import Problem
from vgf.rundir import RunDirectory
from vgf.speed import Recorder, compiled, precision_context, records, rounds
from vgf.trainers import resume
from vgf.trainers.extra_losses import action_gradient
from vgf.trainers.networks import network_sizes
from vgf.trainers.nonfinite import Guard, examine, is_finite, require_finite, summed
from vgf.trainers.pieces import Gradients, Readers, accumulated, gradients_of, losses_of, pieces_of
from vgf.trainers.streams import flow_times, stream
from vgf.trainers.terms import Draw, Losses, Piece, Term
from vgf.transport import get_rule

__all__ = ["Trainer"]

_JUDGE_EVERY = 3  # updates; held-out episodes are few, and a judge that is updated each time doubles the cost of one
_STREAMS = ("batches", "judge")  # random streams of every run; a term that takes spare numbers has one of its own


class Trainer:
    """Networks, optimiser and random streams of one run.

    Args:
        config: of the whole run; its seed decides the initial weights and every random number of training.
        problem: the data, and those held out for the judge.
        device: where networks and batches are.
        objective: the terms whose losses are summed, by name.

    Attributes:
        data, validation: stores of the training data and of held-out episodes; the latter None where there are none.
        networks: all of the run's, those that are not trained among them.
        parameters: what the optimiser moves, by name: the networks' parameters without those of train.freeze.
        targets: the target networks, which follow at every update.
        readers: the networks as the threads of an update read them.
        judged: whether the judge is among them, which learns from ``validation`` in every third update.
        streams: random generators by purpose; so no purpose takes another's numbers, and all are in a checkpoint.
        spare: W, spare normal numbers of a row of the batch, by the name of the term that takes them.
        recorder: replays updates as CUDA graphs (``compile=graph``); None: they are made one by one.
        inherited: networks that were trained before this call, by this run or by that of ``init=``.
        extra_state: further tensors of a checkpoint, of trainers that have more to remember.
        step: updates made, of ``last_step``.
        seconds: of training, over all calls that went on with this run.

    Raises:
        UserError: train.freeze leaves nothing to train, or the data do not suit the settings.
    """

    def __init__(
        self,
        config: Config,
        problem: Problem,
        device: torch.device,
        objective: Mapping[str, Term],
    ) -> None:
        self.config = config.train
        self.objective = objective
        c = config.train
        n_step = c.chunk if c.n_step is None else c.n_step
        store = partial(
            problem.store or TransitionStore, chunk=c.chunk, n_step=n_step, discount=c.discount, device=device
        )
        self.data = store(problem.train)
        try:
            self.validation = store(problem.validation) if problem.validation else None
        except UserError as error:  # the same settings suit the training data
            raise UserError(
                f"held-out episodes: {error}; or hold out others (data.seed), or more (data.held_out)"
            ) from error
        torch.manual_seed(config.seed)
        self.networks = ActorCritic(network_sizes(config, problem, self.data.observation_size)).to(device)
        if config.train.freeze:
            for name, parameter in self.networks.named_parameters():
                parameter.requires_grad_(parameter.requires_grad and not name.startswith(tuple(config.train.freeze)))
        self.parameters = {k: p for k, p in self.networks.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise UserError(f"train.freeze={list(config.train.freeze)} leaves nothing to train")
        rounded = config.compile == "off" and rounds(device, c.precision)
        self.readers = Readers(self.networks, self.parameters, rounded)
        self.judged = any(name.startswith("judge.") for name in self.parameters)
        recorded = records(config.compile, device, self.against_recording())
        self.optimizer = SideBySideAdam(self.parameters.values(), c.learning_rate, capturable=recorded)
        self.targets = Targets(self.networks, c.target_rate)
        widths = {name: term.spare(self.networks.sizes, c) for name, term in objective.items()}
        self.spare = {name: width for name, width in widths.items() if width}
        self.streams = {name: stream(device, config.seed, name) for name in (*_STREAMS, *self.spare)}
        self.streams["batches"].manual_seed(config.seed)
        self.compile = config.compile
        self.loss: Callable[..., Losses] = compiled(self._loss, config.compile)
        self.recorder = Recorder(lambda: self.update(self.data), self.streams.values()) if recorded else None
        self.last_step = config.total_steps
        self.inherited: set[str] = set()
        self.origin: dict[str, Any] = {
            "config_sha256": config_sha256(config),
            "seeds": {"run": config.seed, "data": config.data.seed, "evaluation": config.eval.seed},
            "data": fingerprint(problem),
        }
        self.extra_state: dict[str, Tensor] = {}
        self.guard = Guard(c.nonfinite)
        self.trainer_name = config.trainer
        self.step = 0
        self.seconds = 0.0

    def against_recording(self) -> str | None:
        """What keeps updates from being recorded as CUDA graphs; None: nothing."""
        if not all(store.fixed for store in (self.data, self.validation) if store is not None):
            return "needs data that stay in memory as they are"
        if self.config.nonfinite == "skip":
            return "cannot leave out single updates (train.nonfinite=skip)"
        rule = self.config.td.rule
        if "critic" in self.objective and self.config.critic == "td" and get_rule(rule).draws:
            return f"cannot record noise that is drawn on the host (train.td.rule={rule})"
        return None

    def begin(self, config: Config, run: RunDirectory) -> None:
        """Go on from the run's checkpoint, or start from the networks of ``config.init``, or from new ones."""
        self.guard.folder = run.path / "nonfinite"
        if latest_step(run.path) is not None:
            self.restore(run.path)
        elif config.init:
            resume.start_from(self, Path(config.init))

    def advance(self) -> Losses | None:
        """What one turn of the loop does: an update, or a launch of several. None when it made no update."""
        if self.recorder is None:
            return self.update(self.data)
        begin = self.step
        losses, made = self.recorder.run(
            phase=begin % _JUDGE_EVERY, count=min(self.config.updates_per_launch, self._until_due())
        )
        self.step = begin + made  # a replay does not count for itself
        return losses

    def _until_due(self) -> int:
        """Updates until the next log entry, checkpoint or the end."""
        every = self.config.log_every, self.config.save_every
        return min(self.last_step - self.step, *(n - self.step % n for n in every))

    def update(self, data: Store) -> Losses | None:
        """One gradient step on one batch, then the target networks follow; None where the batch was left out.

        Raises:
            UserError: a loss or gradient that is not finite, unless ``train.nonfinite=skip``.
        """
        draw, held_out = self.draws(data)
        losses, gradients = self._gradients(draw, held_out)
        if self.recorder is None and not is_finite(summed(losses), gradients):
            self.refuse(draw, held_out)
            self.step += 1
            return None
        self.optimizer.step(gradients, then=self.targets.follow)
        self.step += 1
        return losses

    def draws(self, data: Store) -> tuple[Draw, Draw | None]:
        """What the next update is computed from, and what its judge learns from when it is the judge's turn."""
        draw = self.draw(data, self.streams["batches"], self.streams)
        held_out = None
        if self.validation is not None and self.judged and self.step % _JUDGE_EVERY == 0:
            held_out = self.draw(self.validation, self.streams["judge"])
        return draw, held_out

    def _gradients(self, draw: Draw, held_out: Draw | None) -> tuple[Losses, Gradients]:
        """Mean losses of the micro-batches; their gradients add up to that of the whole batch."""
        count = self.config.accumulate
        held = held_out.split(count) if held_out else [None] * count
        self.readers.round(unread=() if held_out else ("judge.",))
        return accumulated(
            gradients_of(self._pieces(*micro), self.readers, self._precision, 1 / count)
            for micro in zip(draw.split(count), held, strict=True)
        )

    def _pieces(self, draw: Draw, held_out: Draw | None) -> list[Piece]:
        """Term by term, or everything as the one function that was compiled."""
        if self.compile != "off":
            return [lambda _: self.loss(draw, held_out)]
        return pieces_of(self.objective, self.config, draw, held_out)

    def _precision(self) -> AbstractContextManager[Any]:
        return precision_context(self.data.device, self.config.precision)

    def refuse(self, draw: Draw, held_out: Draw | None) -> None:
        """Say what is not finite in an update on these draws, and keep it for replay.

        Raises:
            UserError: unless ``train.nonfinite=skip``.
        """

        def losses(draw: Draw, held_out: Draw | None) -> Losses:
            with self._precision():
                return self._loss(draw, held_out)

        finding = examine(self.networks, self.parameters, losses, draw, held_out, self.step)
        facts = {"sizes": vars(self.networks.sizes), "trained": sorted(self.parameters), "trainer": self.trainer_name}
        self.guard.refuse(finding, self.networks, {"draw": draw, "held_out": held_out}, facts)

    def draw(self, data: Store, generator: torch.Generator, spare: Mapping[str, torch.Generator] | None = None) -> Draw:
        """All random numbers of one update; those of single terms come from streams of their own.

        So which extras are trained changes neither batches, nor reference, nor critic.
        """
        size, device = self.config.batch_size, data.device
        data.seek(self.step)
        batch = data.sample(size, generator)
        noise = torch.randn(size, batch.actions.shape[1], generator=generator, device=device)
        t = flow_times(size, self.config, generator)
        extra = {
            name: torch.randn(size, width, generator=spare[name], device=device)
            for name, width in self.spare.items()
            if spare
        }
        return Draw(batch, noise, t, extra)

    def _loss(self, draw: Draw, held_out: Draw | None = None) -> Losses:
        return losses_of(self.networks, self.objective, self.config, draw, held_out)

    def log(self, run: RunDirectory, losses: Losses, rate: float) -> dict[str, float]:
        """Append the metrics of this step to the run's, and return them.

        Raises:
            UserError: networks that are not finite, where updates are recorded: those are not looked at one by one.
        """
        if self.recorder is not None:
            require_finite(self.networks, self.step)
        metrics = self.metrics(losses)
        timing = {"seconds": round(self.seconds, 2), "steps_per_second": round(rate, 2)}
        run.log({"step": self.step, **timing, **metrics})
        return metrics

    def metrics(self, losses: Losses) -> dict[str, float]:
        """Losses of the last batch, those of held-out episodes, and the size of grad Q (it sets useful budgets)."""
        named = {k: float(v.detach()) for k, v in losses.items()}
        if self.config.nonfinite == "skip":
            named["skipped"] = self.guard.skipped
        # Streams that depend on the step alone: logging more often leaves training as it is.
        device = self.data.device
        spare = {name: stream(device, self.step, f"metrics.{name}") for name in self.spare}
        generator = torch.Generator(device).manual_seed(self.step)
        draw = self.draw(self.validation or self.data, generator, spare)
        if self.validation:
            with torch.no_grad():
                held_out = self._loss(draw)
            named |= {f"validation/{k}": float(v) for k, v in held_out.items()}
        nets = self.networks
        gradient = action_gradient(
            lambda s, a: nets.target_critic(s, a).amin(0), draw.batch.observations, draw.batch.actions
        )
        named["critic/action_gradient_norm"] = float(gradient.norm(dim=-1).mean())
        return {k: float(f"{v:.6g}") for k, v in named.items()}

    def save(self, run_dir: Path) -> None:
        """Write a checkpoint from which training goes on exactly (:func:`vgf.trainers.resume.save`)."""
        resume.save(self, run_dir)

    def restore(self, run_dir: Path) -> dict[str, Tensor]:
        """Go on from the run's newest checkpoint (:func:`vgf.trainers.resume.restore`)."""
        return resume.restore(self, run_dir)

    @property
    def trained(self) -> set[str]:
        """Networks that this run's updates have changed: parts of :class:`ActorCritic`, extras as ``extras.NAME``."""
        return {network_of(name) for name, p in self.parameters.items() if self.optimizer.state.get(p)}

    @property
    def will_have_trained(self) -> set[str]:
        """Networks that are trained once this run is at its end; V(s) has parameters even where no term trains it."""
        own = {network_of(name) for name in self.parameters}
        return (own if "value" in self.objective else own - {"v"}) | self.inherited
