"""A trained policy: the reference flow and its critic, moved by any method at any budget, per call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vgf.checkpoint import load_checkpoint
from vgf.config import MethodConfig
from vgf.errors import UserError
from vgf.evaluation import Decision, particle_noise
from vgf.methods import configured_budget, load_method, missing_extra
from vgf.nets import ActorCritic, NetSizes
from vgf.nets.extras import EXTRAS
from vgf.rundir import read_config
from vgf.transport import Budget, Moved, get_rule, select, transport

__all__ = ["Policy", "load"]


def load(run_dir: str | Path, *, device: str | torch.device = "cpu") -> Policy:
    """Load the policy of a run directory: newest checkpoint, method and budget as configured.

    Raises:
        UserError: when the directory is no run, holds no checkpoint, or a damaged one.
    """
    config = read_config(Path(run_dir))
    checkpoint = load_checkpoint(Path(run_dir))
    networks = ActorCritic(NetSizes(**checkpoint.manifest["sizes"])).to(device)
    networks.load_state_dict(checkpoint.networks)
    return Policy(networks, config, checkpoint.manifest["flow_steps"], checkpoint.step)


class Policy:
    """Acts with the particles of a reference flow, moved along value gradients.

    Nothing is retrained to change the method or the budget: both are arguments of every call.

    Args:
        networks: trained networks; put into eval mode.
        method: what a call that names no method uses.
        flow_steps: Euler steps of the reference flow.
        step: updates the networks were trained for.
    """

    def __init__(self, networks: ActorCritic, method: MethodConfig, flow_steps: int, step: int = 0) -> None:
        self.networks = networks.eval().requires_grad_(False)
        self.method = method
        self.flow_steps = flow_steps
        self.step = step

    def act(
        self, obs: np.ndarray, budget: Budget | None = None, seed: int = 0, method: str | MethodConfig | None = None
    ) -> np.ndarray:
        """Choose one action for every observation.

        Args:
            obs: [B, S], or [S] for a single one.
            budget: how far particles may move; fields left None, and None itself, mean the
                configured budget of the method. ``Budget(steps=0)`` is the reference.
            seed: of the particles' noise. The same seed, observation and budget give the same
                action; in an environment loop pass a different seed at every step.
            method: a name such as ``qgf`` or ``vgf``, or a configuration; None: the run's own.

        Returns:
            [B, A] (or [A]) in [-1, 1]: the first action of each chunk.

        Raises:
            UserError: observations of the wrong shape or not finite, an unknown method.
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
        if seed < 0:
            raise UserError(f"seed={seed} must be 0 or more")
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
        actions = self.decide(batch, noise, budget, chosen).actions
        return actions if obs.ndim == 2 else actions[0]

    def resolve(self, method: str | MethodConfig | None) -> MethodConfig:
        """The configuration that a method argument means."""
        if method is None:
            return self.method
        return load_method(method) if isinstance(method, str) else method

    def noise_shape(self, method: MethodConfig) -> tuple[int, int]:
        """(N, D) of the noise one decision takes."""
        return method.transport.particles, self.networks.sizes.particle

    def decide(self, obs: np.ndarray, noise: np.ndarray, budget: Budget | None, method: MethodConfig) -> Decision:
        """Move the particles of ``noise`` [B, N, D] and choose one an observation [B, S]."""
        device = next(self.networks.parameters()).device
        moved = self.move(torch.from_numpy(obs).to(device), torch.from_numpy(noise).to(device), budget, method)
        chosen = select(method.transport.select, moved.values)  # [B]
        rows = torch.arange(len(chosen), device=device)
        sizes = self.networks.sizes
        return Decision(
            actions=moved.particles[rows, chosen].view(-1, sizes.chunk, sizes.action).cpu().numpy(),
            travelled=moved.travelled[rows, chosen].cpu().numpy(),
            values=moved.values[rows, chosen].cpu().numpy(),
        )

    def move(self, obs: Tensor, noise: Tensor, budget: Budget | None, method: MethodConfig) -> Moved:
        """Apply a method's rule: obs [B, S], noise [B, N, D] -> particles [B, N, D]."""
        how = method.transport
        default = configured_budget(method)
        return transport(
            how.rule,
            obs,
            noise,
            budget=budget.filled(default) if budget else default,
            critic=_CRITICS[how.critic](self.networks),
            velocity=self.networks.velocity,
            flow_steps=self.flow_steps,
            aggregate=how.aggregate,
            alpha=how.alpha,
            bandwidth=how.bandwidth,
            step=how.step,
            start_is_noise=True,
            **self._rule_options(method),
        )

    def _rule_options(self, method: MethodConfig) -> dict[str, Any]:
        """The rule's own options: numbers from the configuration, networks that the run trained for it."""
        missing_extra(method, self.networks.sizes.extras)
        wanted = get_rule(method.transport.rule).options
        networks = {option: self.networks.extras[name] for name, (_, option) in EXTRAS.items() if option in wanted}
        return dict(method.transport.options) | networks


_CRITICS = {"target": lambda nets: nets.target_critic, "online": lambda nets: nets.critic}
