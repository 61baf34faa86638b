"""Registers the walk of ``toy_env`` with gymnasium, so that a command line can name it: ``env=walking:Walk-v0``.

``WALK_TROUBLE`` in the environment makes it raise, return NaN or kill its process, as ``toy_env`` says.
"""

from __future__ import annotations

import os
from pathlib import Path

import gymnasium
import numpy as np
import toy_env


def make() -> gymnasium.Env:
    """The walk, with the trouble asked for."""
    env = toy_env.Walk()
    env.trouble = os.environ.get("WALK_TROUBLE")
    return env


def record(path: Path, episodes: int = 30) -> Path:
    """Write a data file of random walks."""
    rng, env = np.random.default_rng(0), toy_env.Walk()
    columns: dict[str, list] = {k: [] for k in ("observations", "actions", "rewards", "terminals", "timeouts")}
    for episode in range(episodes):
        observation, _ = env.reset(seed=episode)
        done = False
        while not done:
            action = rng.uniform(-1, 1, 1)
            columns["observations"].append(observation)
            observation, reward, terminated, truncated, _ = env.step(action)
            for name, x in (("actions", action), ("rewards", reward), ("terminals", terminated)):
                columns[name].append(x)
            columns["timeouts"].append(truncated and not terminated)
            done = terminated or truncated
    np.savez(
        path, **{k: np.array(v, bool if k in ("terminals", "timeouts") else np.float32) for k, v in columns.items()}
    )
    return path


if "Walk-v0" not in gymnasium.registry:
    gymnasium.register("Walk-v0", entry_point=make)
