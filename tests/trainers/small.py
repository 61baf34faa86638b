"""Small made-up data and configurations that every trainer can be run on."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from vgf.config import Config
from vgf.nets import ActorCritic
from vgf.nets.actor_critic import network_of
from vgf.problem import Problem


def small_config(**changes) -> Config:
    """Twelve updates of tiny networks; ``group__key=value`` changes a setting."""
    config = Config(run_dir="unused")
    config.net.hidden, config.net.layers = 16, 2
    config.train.steps, config.train.batch_size, config.train.chunk = 12, 8, 2
    config.train.log_every, config.train.save_every = 4, 4
    for path, value in changes.items():
        *groups, name = path.split("__")
        target = config
        for group in groups:
            target = getattr(target, group)
        setattr(target, name, value)
    return config


def reached(nets: ActorCritic, loss: Tensor) -> set[str]:
    """Networks that a loss has a gradient for."""
    trained = {name: p for name, p in nets.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(loss, list(trained.values()), retain_graph=True, allow_unused=True)
    return {network_of(name) for name, gradient in zip(trained, gradients, strict=True) if gradient is not None}


class Hall(gymnasium.Env):
    """Three numbers that drift with two actions, five to nine steps long; the seed decides start, drift and length."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.state, self.left = self.np_random.normal(size=3), int(self.np_random.integers(5, 10))
        return self.state.astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.state[:2] += 0.3 * np.asarray(action, float)
        self.state += 0.1 * self.np_random.normal(size=3)
        self.left -= 1
        reached = bool(np.abs(self.state[:2]).max() < 0.2)
        return self.state.astype(np.float32), float(reached) - 1, reached, self.left == 0, {"success": float(reached)}


def problem(seed: int = 0, rows: int = 60, validation: bool = False) -> Problem:
    """Episodes of seven transitions; rewards, masks and states at random."""

    def data(seed: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        arrays = {
            "observations": rng.normal(size=(rows, 3)),
            "actions": rng.uniform(-1, 1, size=(rows, 2)),
            "rewards": rng.normal(size=rows),
            "masks": (rng.random(rows) > 0.1) * 1.0,
            "terminals": (np.arange(rows) % 7 == 6) * 1.0,
            "next_observations": rng.normal(size=(rows, 3)),
        }
        return {k: v.astype(np.float32) for k, v in arrays.items()}

    return Problem("toy", data(seed), data(seed + 1000) if validation else None, "made up", make_environment=Hall)
