"""OGBench's goal-conditioned environments, by the names of their data sets: ``<data set>-v0``.

A state is an observation beside a goal, which is a full observation too: [2S]. In training the goals are rows of the
data (:mod:`vgf.data.goals`); in evaluation they are OGBench's five goals of each environment, dealt out evenly:
episode e plays goal e mod 5 + 1. An episode ends at success or at OGBench's time limit, and its reward is OGBench's:
1 where the goal is reached and 0 elsewhere, so its return is its success.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from vgf.config import Config
from vgf.data.npz import regular
from vgf.errors import UserError, did_you_mean
from vgf.problem import Problem
from vgf.tasks.data_settings import require_read
from vgf.tasks.ogbench import as_trained, make_environment, read_first, require_fit
from vgf.tasks.ogbench_data import known_datasets, resolve

__all__ = ["JOINED_BY_PLAY", "environment_factory", "make_goal_environment", "prepare", "split_name"]

JOINED_BY_PLAY = False  # rewards follow from the goals that rows are relabelled with, not from what is played


def prepare(config: Config) -> Problem:
    """Find or make the data of ``config.env`` and check them against the environment.

    Raises:
        UserError: unknown environment, data that cannot be found or do not fit the environment.
    """
    from vgf.data.goals import GoalStore, with_future_goals  # here: processes that step environments need no torch

    env = config.env or ""
    dataset, env_id = split_name(env)
    require_read("ogbench_goals", config.data)
    resolved = resolve(dataset, config.data)
    environment = make_environment(env_id)
    try:
        train, told = _load(resolved.train, env_id, environment, resolved.transitions)
        beside = resolved.validation
        held_out = _load(beside, env_id, environment, resolved.held_out)[0] if beside else None
    finally:
        environment.close()
    origin = f"{resolved.origin}: {resolved.train.name}{told}"
    states = functools.partial(with_future_goals, seed=config.data.seed)
    return Problem(env, train, held_out, origin, store=GoalStore, states=states)


def environment_factory(config: Config) -> Callable[[], gymnasium.Env]:
    """Return a picklable function that makes the environment of ``config.env``."""
    return functools.partial(make_goal_environment, split_name(config.env or "")[1])


def split_name(env: str) -> tuple[str, str]:
    """``cube-single-play-v0`` -> (``cube-single-play``, ``cube-single-v0``).

    Raises:
        UserError: when no such goal-conditioned environment exists, with the nearest names.
    """
    *rest, version = env.split("-")
    env_id = "-".join([*rest[:-1], version])
    if env_id in _registry():
        return "-".join(rest), env_id
    near = did_you_mean(env, [f"{d}-v0" for d in known_datasets() if not d.startswith(("visual", "powderworld"))])
    other = " Single-task names belong to task=ogbench." if "singletask" in env else ""
    raise UserError(f"env={env!r} is not an OGBench goal-conditioned data set like 'cube-single-play-v0'.{other}{near}")


def make_goal_environment(env_id: str) -> gymnasium.Env:
    """Make one environment that shows its goal; its episodes depend on nothing but what ``reset`` is given."""
    return _ShowsGoal(make_environment(env_id))


class _ShowsGoal(gymnasium.Wrapper):
    """Puts the goal beside the observation, [2S], and deals OGBench's evaluation goals out by episode.

    ``reset(options={"episode": e})`` plays goal e mod 5 + 1; ``{"task_id": k}`` plays goal k; neither: a random one.
    """

    deals_episodes = True

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        box: Any = env.observation_space
        low, high = (np.concatenate([bound, bound]).astype(np.float32) for bound in (box.low, box.high))
        self.observation_space = gymnasium.spaces.Box(low, high, dtype=np.float32)
        self._goal = np.zeros(box.shape, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        options = dict(options or {})
        if "episode" in options:
            goals: int = self.get_wrapper_attr("num_tasks")
            options["task_id"] = options.pop("episode") % goals + 1
        observation, info = self.env.reset(seed=seed, options=options)
        self._goal = np.asarray(info["goal"], np.float32)
        return self._beside_goal(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._beside_goal(observation), reward, terminated, truncated, info

    def _beside_goal(self, observation: Any) -> np.ndarray:
        return np.concatenate([np.asarray(observation, np.float32), self._goal])


def _load(
    path: Path, env_id: str, environment: gymnasium.Env, transitions: int | None
) -> tuple[dict[str, np.ndarray], str]:
    raw, told = read_first(path, transitions)
    require_fit(path, raw, env_id, environment)
    return as_trained(regular(raw), environment), told


def _registry() -> list[str]:
    import ogbench.locomaze
    import ogbench.manipspace  # noqa: F401  (both register their environments)

    ours = ("ogbench.locomaze", "ogbench.manipspace")
    return [
        name
        for name, spec in gymnasium.registry.items()
        if str(spec.entry_point).startswith(ours) and "singletask" not in name and not name.startswith("visual")
    ]
