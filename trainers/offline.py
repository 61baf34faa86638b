r"""Offline training: flow-matching behaviour cloning and an IQL critic on action chunks (QGF's recipe).

One training run serves every method and budget: they only differ at test time.

.. math::
    L_Q &= \sum_e \big( Q_e(s, a_{0:H}) - (R_n + \gamma^n m V(s_n)) \big)^2 \\
    L_V &= L_2^\tau \big( \min_e \bar Q_e(s, a_{0:H}) - V(s) \big), \quad
           L_2^\tau(u) = |\tau - 1\{u \le 0\}| u^2 \\
    L_v &= \| v(s, x_t, t) - (a_{0:H} - x_0) \|^2, \quad x_t = (1 - t) x_0 + t a_{0:H}, \; x_0 \sim N(0, I)

Source: QGF, arXiv 2606.11087, code zhouzypaul/qgf. As there, t is uniform on {0, 1/T, ..., 1}, the
grid the sampler visits, and chunks that cross an episode's end are masked out.

Deviations: n may exceed the chunk length H (uncorrected n-step returns; n = H by default). The three
losses share one Adam and one backward pass; their parameters are disjoint, so this changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from vgf.checkpoint import latest_step, load_checkpoint, save_checkpoint
from vgf.config import Config
from vgf.data.store import TransitionStore
from vgf.errors import UserError
from vgf.interrupt import deferred_interrupt
from vgf.losses import expectile_loss, flow_matching_pair, masked_mean, td_target
from vgf.nets import ActorCritic, NetSizes
from vgf.problem import Problem
from vgf.progress import progress_bar
from vgf.rundir import RunDirectory
from vgf.speed import compiled, precision_context
from vgf.trainers.extras import EXTRA_LOSSES, Draw, action_gradient

__all__ = ["OfflineTrainer", "train"]


def train(config: Config, problem: Problem, run: RunDirectory, device: torch.device) -> int:
    """Train until ``config.train.steps`` updates are made, going on from the run's checkpoint. Returns the step.

    Ctrl-C and SIGTERM let the update in hand finish and save a checkpoint before they are passed on.

    Raises:
        UserError: data that do not suit the settings, a loss that is not finite, a full disk.
    """
    trainer = OfflineTrainer(config, problem, device)
    if latest_step(run.path):
        trainer.restore(run.path)
    steps, first = config.train.steps, trainer.step
    began, earlier = time.perf_counter(), trainer.seconds
    bar = progress_bar("training", steps, "update", initial=first)
    with bar, deferred_interrupt() as stop:
        while trainer.step < steps and not stop.asked:
            losses = trainer.update()
            trainer.seconds = earlier + time.perf_counter() - began
            bar.update()
            if trainer.step % config.train.log_every == 0 or trainer.step == steps:
                rate = (trainer.step - first) / (time.perf_counter() - began)
                metrics = trainer.metrics(losses)
                run.log(
                    {
                        "step": trainer.step,
                        "seconds": round(trainer.seconds, 2),
                        "steps_per_second": round(rate, 2),
                        **metrics,
                    }
                )
                bar.set_postfix(q=f"{metrics['critic/q_mean']:.1f}", bc=f"{metrics['flow/loss']:.3f}", refresh=False)
            if trainer.step % config.train.save_every == 0 or trainer.step == steps or stop.asked:
                trainer.save(run.path)
    return trainer.step


class OfflineTrainer:
    """Networks, optimiser and random stream of one run."""

    def __init__(self, config: Config, problem: Problem, device: torch.device) -> None:
        self.config = config.train
        c = config.train
        n_step = c.chunk if c.n_step is None else c.n_step
        store = partial(TransitionStore, chunk=c.chunk, n_step=n_step, discount=c.discount, device=device)
        self.data = store(problem.train)
        self.validation = store(problem.validation) if problem.validation else None
        torch.manual_seed(config.seed)
        net = config.net
        sizes = NetSizes(
            problem.observation_size, problem.action_size, c.chunk, net.hidden, net.layers, net.heads, tuple(net.extras)
        )
        self.networks = ActorCritic(sizes).to(device)
        self.parameters = {k: p for k, p in self.networks.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.Adam(self.parameters.values(), lr=c.learning_rate, fused=True)
        self.generator = torch.Generator(device).manual_seed(config.seed)
        self.precision = c.precision
        self.loss: Callable[..., dict[str, Tensor]] = compiled(self._loss, config.compile)
        self.step = 0
        self.seconds = 0.0  # of training, over all calls that went on with this run

    def update(self) -> dict[str, Tensor]:
        """One gradient step on one batch, then the target critic follows."""
        draw = self._draw(self.data, self.config.batch_size, self.generator)
        with precision_context(self.data.device, self.precision):
            losses = self.loss(draw)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack([loss for name, loss in losses.items() if name.endswith("/loss")]).sum().backward()
        self.optimizer.step()
        self.networks.update_target(self.config.target_rate)
        self.step += 1
        return losses

    def _draw(self, data: TransitionStore, size: int, generator: torch.Generator) -> Draw:
        batch = data.sample(size, generator)
        particle = batch.actions.shape[1]
        noise = torch.randn(size, particle, generator=generator, device=data.device)
        grid = self.config.flow_steps
        t = torch.randint(grid + 1, (size, 1), generator=generator, device=data.device) / grid
        wants_spare = "flow_map" in self.networks.extras
        spare = torch.randn(size, particle + 5, generator=generator, device=data.device) if wants_spare else None
        return Draw(batch, noise, t, spare)

    def _loss(self, draw: Draw) -> dict[str, Tensor]:
        nets, batch = self.networks, draw.batch
        s, a = batch.observations, batch.actions

        with torch.no_grad():
            y = td_target(batch.returns, batch.discounts, nets.value(batch.next_observations))  # [B]
            q_target = nets.target_critic(s, a).amin(0)  # [B]

        q = nets.critic(s, a)  # [E, B]
        q_loss = masked_mean((q - y).square().sum(0), batch.valid)

        v_loss = expectile_loss(q_target - nets.value(s), self.config.expectile).mean()

        x_t, u = flow_matching_pair(a, draw.noise, draw.t)
        flow_loss = masked_mean((nets.velocity(s, x_t, draw.t) - u).square(), batch.valid_actions)

        extras = {f"{name}/loss": EXTRA_LOSSES[name](nets, draw) for name in nets.extras}
        return {
            "critic/loss": q_loss,
            "value/loss": v_loss,
            "flow/loss": flow_loss,
            **extras,
            "critic/q_mean": q.detach().mean(),
        }

    def metrics(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """Losses of the last batch, those of held-out episodes, and the size of grad Q (it sets useful budgets)."""
        named = {k: float(v.detach()) for k, v in losses.items()}
        bad = [k for k, v in named.items() if v != v or abs(v) == float("inf")]
        if bad:
            raise UserError(f"{bad[0]} is not finite at step {self.step}; lower train.learning_rate or check the data")
        generator = torch.Generator(self.data.device).manual_seed(self.step)  # leaves training's own stream alone
        draw = self._draw(self.validation or self.data, self.config.batch_size, generator)
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
        """Write a checkpoint from which training goes on exactly."""
        state: dict[str, Tensor] = {"generator": self.generator.get_state()}
        for name, parameter in self.parameters.items():
            for key, tensor in self.optimizer.state[parameter].items():
                state[f"adam.{key}.{name}"] = tensor
        manifest = {"sizes": vars(self.networks.sizes), "flow_steps": self.config.flow_steps, "seconds": self.seconds}
        save_checkpoint(run_dir, self.step, self.networks.state_dict(), state, manifest)

    def restore(self, run_dir: Path) -> None:
        """Load the run's newest checkpoint: networks, optimiser, random stream, step."""
        checkpoint = load_checkpoint(run_dir, training=True)
        self.networks.load_state_dict(checkpoint.networks)
        self.generator.set_state(checkpoint.training["generator"])
        for name, parameter in self.parameters.items():
            self.optimizer.state[parameter] = {
                key: checkpoint.training[f"adam.{key}.{name}"].to(parameter.device)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
        self.step = checkpoint.step
        self.seconds = checkpoint.manifest["seconds"]
