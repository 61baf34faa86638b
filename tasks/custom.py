"""Data of your own: ``task=custom data.path=FILE [env=GYM_ID]``, in any format of :mod:`vgf.data.formats`.

Actions are trained on in [-1, 1]. ``data.action_low`` and ``data.action_high`` name the box that the data were recorded
in; without them it is the environment's, or [-1, 1] where there is none. ``gymnasium.wrappers.RescaleAction`` maps what
is played to the environment's box, whatever the data's: stable-baselines3, for one, keeps actions in [-1, 1].

Dict observations are read as :mod:`vgf.data.formats.minari` puts them side by side, in data and environment alike.
Environments of a package are registered by importing it: ``env=gymnasium_robotics:AdroitHandDoor-v1``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np

from vgf.config import Config
from vgf.data.formats import read_recording
from vgf.data.recording import Recording
from vgf.errors import UserError
from vgf.problem import Problem
from vgf.tasks.data_settings import check_sha256, require_read
from vgf.tasks.recorded import ROUNDING, box_of_environment, make_flat, rescaled, scale_actions, split_episodes

__all__ = ["environment_factory", "make_environment", "prepare"]


def prepare(config: Config) -> Problem:
    """Read the data, map their actions to [-1, 1] and hold out whole episodes.

    Raises:
        UserError: no data.path, data that cannot be read or do not fit the environment, settings out of range.
    """
    data = config.data
    require_read("custom", data)
    if not data.path:
        raise UserError("task=custom needs data.path=FILE: a .npz, .hdf5 or .parquet file, a folder or a Minari id")
    check_sha256(data.path, data.sha256)
    recording = read_recording(data.path, data.columns)
    if data.transitions is not None:
        recording = _first_episodes(recording, data.transitions)
    low, high = _action_box(config, recording)
    recording, clipped = scale_actions(recording, low, high)
    train, validation = split_episodes(recording, data.held_out, data.seed)
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
    return rescaled(make_flat(env_id))


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
    box = None
    if low is not None and high is not None:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UserError(f"data.action_low={low:g} must be less than data.action_high={high:g}, both finite")
        box = np.array(low), np.array(high)
    if config.env:  # which the data must fit in size, whatever box is named
        make = functools.partial(make_flat, config.env)
        played = box_of_environment(make, config.env, str(data.path), recording)
        box = box or played
    if box:
        return box
    beyond = np.abs(recording.actions).max(axis=1) - 1
    if (beyond > ROUNDING).any():
        where = recording.place(int(np.argmax(beyond > ROUNDING)))
        raise UserError(
            f"{data.path}: actions lie between {recording.actions.min():g} and {recording.actions.max():g}, outside "
            f"[-1, 1], first in {where}; name their box with data.action_low and data.action_high, or env=..."
        )
    return np.array(-1.0), np.array(1.0)
