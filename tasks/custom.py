"""Data of your own: ``task=custom data.path=FILE [env=GYM_ID]``, in any format of :mod:`vgf.data.formats`.

Actions are trained on in [-1, 1]. With an environment its action box says how the data's actions are mapped there, and
``gymnasium.wrappers.RescaleAction`` maps them back when it is played; without one, ``data.action_low`` and
``data.action_high`` name the box unless the data lie in [-1, 1] already.

Dict observations are read as :mod:`vgf.data.formats.minari` puts them side by side, in data and environment alike.
Environments of a package are registered by importing it: ``env=gymnasium_robotics:AdroitHandDoor-v1``.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from vgf.config import Config
from vgf.data.formats import read_recording
from vgf.data.formats.minari import DICT_KEYS
from vgf.data.recording import Recording
from vgf.errors import UserError, did_you_mean
from vgf.problem import Problem

__all__ = ["environment_factory", "make_environment", "prepare"]

_ACTION_MARGIN = 1e-5  # keeps data actions inside the open box, as all the authors' code does
_ROUNDING = 1e-4  # beyond [-1, 1], what a float32 conversion does


def prepare(config: Config) -> Problem:
    """Read the data, map their actions to [-1, 1] and hold out whole episodes.

    Raises:
        UserError: no data.path, data that cannot be read or do not fit the environment, settings out of range.
    """
    data = config.data
    if not data.path:
        raise UserError("task=custom needs data.path=FILE: a .npz, .hdf5 or .parquet file, a folder or a Minari id")
    recording = read_recording(data.path, data.columns)
    if data.transitions is not None:
        recording = _first_episodes(recording, data.transitions)
    low, high = _action_box(config, recording)
    recording, clipped = _scaled(recording, low, high)
    train, validation = _split(recording, data.held_out, data.seed)
    notes = [recording.origin, *recording.remarks]
    if clipped:
        notes.append(f"{clipped:.2%} of the actions clipped to their box")
    name = config.env or Path(data.path).stem
    return Problem(name, train.regular(), validation.regular() if validation else None, "; ".join(notes))


def environment_factory(config: Config) -> Callable[[], gymnasium.Env] | None:
    """Return a picklable function that makes the environment, or None where there is none."""
    return functools.partial(make_environment, config.env) if config.env else None


def make_environment(env_id: str) -> gymnasium.Env:
    """Make the environment with flat observations and actions in [-1, 1].

    Its episodes depend on the seed given to ``reset`` as far as the environment keeps gymnasium's contract.

    Raises:
        UserError: there is no such environment, or its spaces are not boxes.
    """
    environment = _make(env_id)
    low, high = environment.action_space.low, environment.action_space.high  # type: ignore[attr-defined]
    if (low == -1).all() and (high == 1).all():
        return environment
    return gymnasium.wrappers.RescaleAction(environment, np.float32(-1), np.float32(1))


def _make(env_id: str) -> gymnasium.Env:
    """The environment with flat observations, and actions in its own box."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old versions, precision, displays: nothing that changes the result
        gymnasium.logger.min_level = gymnasium.logger.ERROR
        try:
            environment = gymnasium.make(env_id)
        except (gymnasium.error.Error, ImportError) as error:
            near = did_you_mean(env_id, gymnasium.registry)
            cause = " ".join(str(error).split())[:300]
            raise UserError(f"env={env_id} cannot be made ({cause}).{near}") from error
    if isinstance(environment.observation_space, gymnasium.spaces.Dict):
        if missing := [key for key in DICT_KEYS if key not in environment.observation_space.spaces]:
            there = ", ".join(environment.observation_space.spaces)
            raise UserError(f"env={env_id}: Dict observations without '{missing[0]}' are not supported; it has {there}")
        chosen = gymnasium.wrappers.FilterObservation(environment, list(DICT_KEYS))
        environment = gymnasium.wrappers.FlattenObservation(chosen)
    for what, space in (("observations", environment.observation_space), ("actions", environment.action_space)):
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            kind = "discrete actions" if isinstance(space, gymnasium.spaces.Discrete) else f"{what} of {space}"
            raise UserError(f"env={env_id}: {kind} are not supported; they should be vectors, a Box of one dimension")
    return environment


def _first_episodes(recording: Recording, count: int) -> Recording:
    """The fewest whole episodes from the front that hold ``count`` transitions; all, when there are fewer."""
    needed = int(np.searchsorted(np.cumsum(recording.lengths), count)) + 1
    return recording if needed >= len(recording.lengths) else recording.episodes(np.arange(needed))


def _action_box(config: Config, recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest action of the box that the data were recorded in, [A] or [] each."""
    data = config.data
    low, high = data.action_low, data.action_high
    if (low is None) != (high is None):
        raise UserError("data.action_low and data.action_high belong together; give both or neither")
    given = None
    if low is not None and high is not None:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UserError(f"data.action_low={low:g} must be less than data.action_high={high:g}, both finite")
        given = low, high
    if config.env:
        return _box_of_environment(config.env, str(data.path), recording, given)
    if given is not None:
        return np.array(given[0]), np.array(given[1])
    beyond = np.abs(recording.actions).max(axis=1) - 1
    if (beyond > _ROUNDING).any():
        where = recording.place(int(np.argmax(beyond > _ROUNDING)))
        raise UserError(
            f"{data.path}: actions lie between {recording.actions.min():g} and {recording.actions.max():g}, outside "
            f"[-1, 1], first in {where}; name their box with data.action_low and data.action_high, or env=..."
        )
    return np.array(-1.0), np.array(1.0)


def _box_of_environment(
    env: str, path: str, recording: Recording, given: tuple[float, float] | None
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    environment = _make(env)
    try:
        spaces: dict[str, Any] = {"observations": environment.observation_space, "actions": environment.action_space}
    finally:
        environment.close()
    for name, space in spaces.items():
        size = getattr(recording, name).shape[1]
        if size != space.shape[0]:
            raise UserError(
                f"{path}: {name} have {size} entries, but {env} has {space.shape[0]}; "
                "give the data that were recorded in this environment"
            )
    low, high = spaces["actions"].low, spaces["actions"].high
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        box = f"[{low.min():g}, {high.max():g}]"
        raise UserError(f"env={env}: its action box {box} is not bounded; wrap it in an environment whose box is")
    if given is not None and not ((low == given[0]).all() and (high == given[1]).all()):
        raise UserError(
            f"data.action_low={given[0]:g} and data.action_high={given[1]:g} contradict the action box of {env}, "
            f"[{low.min():g}, {high.max():g}]; leave them out where there is an environment"
        )
    return low, high


def _scaled(recording: Recording, low: np.ndarray, high: np.ndarray) -> tuple[Recording, float]:
    """Actions mapped from their box to [-1, 1] and clipped inside it; and the share that lay outside the box."""
    actions = 2 * (recording.actions.astype(np.float64) - low) / (high.astype(np.float64) - low) - 1  # [M, A]
    outside = float((np.abs(actions) > 1 + _ROUNDING).mean())
    most = 1 - _ACTION_MARGIN
    return replace(recording, actions=np.clip(actions, -most, most).astype(np.float32)), outside


def _split(recording: Recording, share: float, seed: int) -> tuple[Recording, Recording | None]:
    """Training episodes and held-out ones: a share of them, drawn by the seed; at least one of two or more."""
    if not 0 <= share < 1:
        raise UserError(f"data.held_out={share:g} is out of range; it must be at least 0 and less than 1")
    count = len(recording.lengths)
    held_out = min(max(1, round(share * count)), count - 1) if share else 0
    if not held_out:
        return recording, None
    order = np.random.default_rng(seed).permutation(count)
    return recording.episodes(order[held_out:]), recording.episodes(order[:held_out])
