"""A tiny deterministic environment for the evaluation tests; spawned workers import it by this name."""

from __future__ import annotations

import os
from typing import Any

import gymnasium
import numpy as np


class Walk(gymnasium.Env):
    """A point on a line: starts where the seed says, moves by the action, succeeds beyond 1, is cut after 12 steps."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    trouble: str | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.x, self.steps = self.np_random.uniform(-0.5, 0.5), 0
        return np.array([self.x]), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.x += 0.2 * float(action[0]) + 0.01 * self.np_random.normal()
        self.steps += 1
        if self.trouble == "raise" and self.steps == 3:
            raise RuntimeError("the point\nfell off the line")
        if self.trouble == "kill" and self.steps == 3:
            os.kill(os.getpid(), 9)
        x = np.nan if self.trouble == "nan" and self.steps == 3 else self.x
        return np.array([x]), self.x, self.x > 1, self.steps == 12, {"success": float(self.x > 1)}


class Plane(gymnasium.Env):
    """A point in the plane, cut after 7 steps; actions are in a box of their own."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(np.float32([0, -4]), np.float32([1, 4]))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.x, self.steps = self.np_random.uniform(0, 8, 2).astype(np.float32), 0
        return self.x, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(action)
        self.x, self.steps = self.x + action, self.steps + 1
        return self.x, float(-self.x.sum()), False, self.steps == 7, {}


def make_plane() -> gymnasium.Env:
    """A plane with the specification that data sets keep."""
    if "VgfPlane-v0" not in gymnasium.registry:
        gymnasium.register("VgfPlane-v0", "tests.toy_env:Plane")
    return gymnasium.make("VgfPlane-v0", disable_env_checker=True)


def make() -> Walk:
    """A healthy one."""
    return Walk()


def make_raising() -> Walk:
    """One whose third step raises."""
    env = Walk()
    env.trouble = "raise"
    return env


def make_nan() -> Walk:
    """One whose third observation is no number."""
    env = Walk()
    env.trouble = "nan"
    return env


def make_dying() -> Walk:
    """One whose third step kills its process."""
    env = Walk()
    env.trouble = "kill"
    return env
