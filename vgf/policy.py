"""A trained policy: the reference flow and its critic, moved by any method at any budget, per call."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vgf.checkpoint import load_checkpoint
from vgf.config import MethodConfig
from vgf.errors import UserError
from vgf.evaluation import Decision, particle_noise, require_seed
from vgf.methods import configured_budget, meant, missing_extra
from vgf.nets import ActorCritic, NetSizes
from vgf.nets.actor_critic import trained_networks
from vgf.nets.extras import networks_for
from vgf.rundir import as_loaded, read_config
from vgf.transport import Budget, Moved, get_rule, transport
from vgf.transport.distance import travelled
from vgf.transport.landscape import aggregate_heads
from vgf.transport.rules import Rule
from vgf.transport.select import Candidates, get_selector, select

__all__ = ["Choice", "Policy", "load", "require_steerable"]


@dataclass(frozen=True)
class Choice:
    """One action an observation.

    Attributes:
        actions: the chosen particles, flattened chunks [B, D].
        twins: the same choice among the unmoved particles [B, D].
        moved: all particles.
    """

    actions: Tensor
    twins: Tensor
    moved: Moved


def load(
    run_dir: str | Path, *, method: str | MethodConfig | None = None, device: str | torch.device = "cpu"
) -> Policy:
    """Load the policy of a run directory: newest checkpoint, method and budget as configured.

    Args:
        run_dir: directory of a training run.
        method: what a call that names no method uses; None: the run's own, at its own budget.
        device: where the networks live.

    Raises:
        UserError: when the directory is no run, holds no checkpoint, or a damaged one.
    """
    config = read_config(Path(run_dir))
    checkpoint = load_checkpoint(Path(run_dir))
    networks = ActorCritic(NetSizes(**checkpoint.manifest["sizes"])).to(device)
    networks.load_state_dict(checkpoint.networks)
    chosen = as_loaded(Path(run_dir), config, method)
    trained = trained_networks(checkpoint.manifest, checkpoint.networks)
    return Policy(networks, chosen, checkpoint.manifest["flow_steps"], checkpoint.step, trained=trained)


def require_steerable(name: str, rule: Rule, source: Any, flow_steps: int) -> None:
    """UserError that begins with ``name`` unless a rule is right for a source (its class will do) of so many steps."""
    if rule.skip_first and flow_steps == 1:
        raise UserError(f"{name} guides all steps but the first; this policy takes one")
    if rule.linear_path and not source.linear_path:
        raise UserError(f"{name} samples the posterior of a flow-matching policy, which this run's is not")


class Policy:
    """Acts with the particles of a reference flow, moved along value gradients.

    Nothing is retrained to change the method or the budget: both are arguments of every call.

    Args:
        networks: trained networks, on the device that they stay on; put into eval mode.
        method: what a call that names no method uses.
        flow_steps: Euler steps of the reference flow.
        step: updates the networks were trained for.
        frozen: False: the networks go on being trained elsewhere. What the parameters of frozen ones decide is
            computed once, here.
        trained: names of the networks that training has changed; None: all.
    """

    def __init__(
        self,
        networks: ActorCritic,
        method: MethodConfig,
        flow_steps: int,
        step: int = 0,
        *,
        frozen: bool = True,
        trained: Collection[str] | None = None,
    ) -> None:
        self.trained = trained
        self.networks = networks.eval().requires_grad_(False) if frozen else networks
        functions = {name: getattr(self.networks, name) for name in ("velocity", *_CRITICS.values())}
        self._functions = {name: f.prepared() if frozen else f for name, f in functions.items()}
        self.method = method
        self.flow_steps = networks.source.steps or flow_steps
        self.step = step

    def act(
        self, obs: np.ndarray, budget: Budget | None = None, seed: int = 0, method: str | MethodConfig | None = None
    ) -> np.ndarray:
        """Choose one action for every observation.

        Args:
            obs: [B, S], or [S] for a single one.
            budget: how far particles may move; fields left None, and None itself, mean the
                configured budget of the method. ``Budget(steps=0)`` moves nothing: the reference, or where the
                method selects, the best of N of its samples.
            seed: of the particles' noise, a whole number of 0 or more. Each row has noise of its own: the same seed,
                observations and budget give the same actions; in an environment loop pass another seed at every step.
            method: a name such as ``qgf`` or ``vgf``, with the settings of its file, or a configuration; None, and the
                name of the policy's own: that, as it is configured.

        Returns:
            [B, A] (or [A]) in [-1, 1]: the first action of each chunk.

        Raises:
            UserError: observations of the wrong shape or not finite, an unknown method; no seed, no budget.
        """
        return self.act_chunk(obs, budget, seed, method)[..., 0, :]

    def act_chunk(
        self, obs: np.ndarray, budget: Budget | None = None, seed: int = 0, method: str | MethodConfig | None = None
    ) -> np.ndarray:
        """Like :meth:`act`, but return whole chunks to be played open loop: [B, H, A] or [H, A]."""
        try:
            obs = np.asarray(obs, np.float32)
        except (TypeError, ValueError) as error:
            raise UserError(f"obs is not an array of numbers ({error})") from error
        require_seed(seed)
        if not isinstance(budget, Budget | None):
            raise UserError(f"budget={budget!r} is no Budget; write Budget(size=...) or Budget(steps=...)")
        size = self.networks.sizes.observation
        if obs.ndim not in (1, 2) or obs.shape[-1] != size:
            raise UserError(
                f"obs has shape {obs.shape}; this policy was trained on observations of {size} numbers: [B, {size}]"
            )
        if not np.isfinite(obs).all():
            raise UserError("obs holds a number that is not finite")
        batch = np.atleast_2d(obs)
        chosen = self.resolve(method)
        noise = np.empty((len(batch), *self.noise_shape(chosen)), np.float32)
        for row in range(len(batch)):
            noise[row] = particle_noise(seed, row, 0, noise.shape[1:])
        actions = self.chunks(batch, noise, budget, chosen)
        return actions if obs.ndim == 2 else actions[0]

    def resolve(self, method: str | MethodConfig | None) -> MethodConfig:
        """The configuration that a method argument means."""
        return meant(method, self.method)

    def noise_shape(self, method: MethodConfig) -> tuple[int, int]:
        """(N + R, D) of the noise one decision takes: N particles, and R rows more for a selector that draws."""
        particles, entries = method.transport.particles, self.networks.sizes.particle
        draws = get_selector(method.transport.select).draws
        return particles + (math.ceil(particles / entries) if draws else 0), entries

    def decide(self, obs: np.ndarray, noise: np.ndarray, budget: Budget | None, method: MethodConfig) -> Decision:
        """Move the particles of ``noise`` (see :meth:`noise_shape`), choose one an observation [B, S], and value it."""
        states = self._put(obs)
        choice = self.choose(states, self._put(noise), budget, method)
        return Decision(
            actions=self._chunks(choice.actions),
            travelled=travelled(choice.actions, choice.twins).cpu().numpy(),
            values=self.value(states, choice.actions, method).cpu().numpy(),
            judged=self.judge(states, choice.actions).cpu().numpy(),
        )

    def chunks(self, obs: np.ndarray, noise: np.ndarray, budget: Budget | None, method: MethodConfig) -> np.ndarray:
        """The actions of :meth:`decide`, without what only measurements need: [B, H, A]."""
        return self._chunks(self._acted(self._put(obs), self._put(noise), budget, method))

    def require(self, method: MethodConfig) -> None:
        """UserError unless this policy has what a method needs: trained networks, the right kind of source."""
        extras = [name for name in self.networks.sizes.extras if self._is_trained(f"extras.{name}")]
        missing_extra(method, extras)
        if get_selector(method.transport.select).needs_state_value and not self._is_trained("v"):
            raise UserError(
                f"method={method.method} compares values with V(s), which this run has not learned; "
                "train with train.critic=iql"
            )
        rule = get_rule(method.transport.rule)
        require_steerable(f"method={method.method}", rule, self.networks.source, self.flow_steps)

    def _is_trained(self, network: str) -> bool:
        return self.trained is None or network in self.trained

    @torch.no_grad()
    def choose(self, obs: Tensor, noise: Tensor, budget: Budget | None, method: MethodConfig) -> Choice:
        """Move particles and weigh them: obs [B, S], noise as of :meth:`noise_shape` -> one action an observation."""
        moved = self.move(obs, noise[:, : method.transport.particles], budget, method)
        assert moved.twins is not None
        weights = self._weights(moved, obs, noise, method)
        return Choice(select(weights, moved.particles), select(weights, moved.twins), moved)

    @torch.no_grad()
    def _acted(self, obs: Tensor, noise: Tensor, budget: Budget | None, method: MethodConfig) -> Tensor:
        """The actions of :meth:`choose`, without the twins that only measurements need: [B, D]."""
        single = method.transport.particles == 1  # nothing to choose from, so nobody asks for values
        moved = self.move(obs, noise[:, : method.transport.particles], budget, method, twins=False, values=not single)
        return moved.particles[:, 0] if single else select(self._weights(moved, obs, noise, method), moved.particles)

    def _weights(self, moved: Moved, obs: Tensor, noise: Tensor, method: MethodConfig) -> Tensor:
        """How much each moved particle counts, by the method's selector: [B, N]."""
        how = method.transport
        selector = get_selector(how.select)
        spare = noise[:, how.particles :].flatten(1)[:, : how.particles]  # [B, N] standard normal numbers
        return selector.weigh(
            Candidates(
                moved.values,
                gumbel=-torch.special.ndtr(spare).log().neg().log() if selector.draws else None,
                state_value=self.networks.value(obs) if selector.needs_state_value else None,
                temperature=how.temperature,
                expectile=how.expectile,
            )
        )

    def move(
        self,
        obs: Tensor,
        noise: Tensor,
        budget: Budget | None,
        method: MethodConfig,
        *,
        twins: bool = True,
        values: bool = True,
    ) -> Moved:
        """Apply a method's rule: obs [B, S], noise [B, N, D] -> particles [B, N, D]; twins, values: see transport."""
        how = method.transport
        default = configured_budget(method)
        self.require(method)
        return transport(
            how.rule,
            obs,
            noise,
            budget=budget.filled(default) if budget else default,
            critic=self._functions[_CRITICS[how.critic]],
            velocity=self._functions["velocity"],
            flow_steps=self.flow_steps,
            aggregate=how.aggregate,
            alpha=how.alpha,
            bandwidth=how.bandwidth,
            step=how.step,
            start_is_noise=True,
            gate=how.gate,
            keep_best=how.keep_best or get_selector(how.select).keep_best,
            twins=twins,
            values=values,
            **dict(how.options) | networks_for(get_rule(how.rule).options, self.networks.extras),
        )

    @torch.no_grad()
    def value(self, obs: Tensor, actions: Tensor, method: MethodConfig) -> Tensor:
        """What the critic that moves thinks of flattened chunks: obs [B, S], actions [B, D] -> [B]."""
        return aggregate_heads(
            self._functions[_CRITICS[method.transport.critic]](obs, actions), method.transport.aggregate
        )

    @torch.no_grad()
    def judge(self, obs: Tensor, actions: Tensor) -> Tensor:
        """What the judge, which never moved anything, thinks of them, the least of its heads: [B]; NaN without one.

        A judge that was never trained is none.
        """
        if self.networks.judge is None or not self._is_trained("judge"):
            return torch.full_like(actions[:, 0], float("nan"))
        return self.networks.judge.target_critic(obs, actions).amin(0)

    def _put(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(next(self.networks.parameters()).device)

    def _chunks(self, actions: Tensor) -> np.ndarray:
        sizes = self.networks.sizes
        if not actions.isfinite().all():
            raise UserError(
                "the policy's actions are not finite: its networks have diverged; lower train.learning_rate"
            )
        return actions.view(-1, sizes.chunk, sizes.action).cpu().numpy()


_CRITICS = {"target": "target_critic", "online": "critic"}
