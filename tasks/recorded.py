"""What tasks on recorded data share: environments with flat observations, action boxes, held-out episodes.

Actions are trained on in [-1, 1]. The environment's action box says how recorded ones are mapped there, and
``gymnasium.wrappers.RescaleAction`` maps them back when it is played.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import mujoco
import numpy as np

from vgf.data.formats.minari import DICT_KEYS
from vgf.data.recording import Recording
from vgf.errors import UserError, did_you_mean
from vgf.problem import ACTION_MARGIN

__all__ = ["ROUNDING", "box_of_environment", "make_flat", "rescaled", "scale_actions", "split_episodes"]

ROUNDING = 1e-4  # beyond [-1, 1], what a float32 conversion does


def make_flat(env_id: str, keys: Sequence[str] = DICT_KEYS, **settings: Any) -> gymnasium.Env:
    """Make an environment whose observations are vectors, with actions in its own box.

    Args:
        env_id: gymnasium id, ``module:id`` where a module registers it.
        keys: of Dict observations, which are put side by side in this order.
        **settings: passed on to ``gymnasium.make``.

    Raises:
        UserError: there is no such environment, it cannot be made, or its spaces are not boxes.
    """
    with warnings.catch_warnings(), _quiet_mujoco():
        warnings.simplefilter("ignore")  # of old versions, precision, displays: nothing that changes the result
        gymnasium.logger.min_level = gymnasium.logger.ERROR
        try:
            environment = gymnasium.make(env_id, **settings)
        except Exception as error:  # of gymnasium, of an import, of the environment's own constructor
            near = did_you_mean(env_id, gymnasium.registry)
            cause = " ".join(str(error).split())[:300] or type(error).__name__
            raise UserError(f"env={env_id} cannot be made ({cause}).{near}") from error
    if isinstance(environment.observation_space, gymnasium.spaces.Dict):
        if missing := [key for key in keys if key not in environment.observation_space.spaces]:
            there = ", ".join(environment.observation_space.spaces)
            raise UserError(f"env={env_id}: Dict observations without '{missing[0]}' are not supported; it has {there}")
        chosen = gymnasium.wrappers.FilterObservation(environment, list(keys))
        environment = gymnasium.wrappers.FlattenObservation(chosen)
    for what, space in (("observations", environment.observation_space), ("actions", environment.action_space)):
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            kind = f"discrete {what}" if isinstance(space, gymnasium.spaces.Discrete) else f"{what} of {space}"
            raise UserError(f"env={env_id}: {kind} are not supported; they should be vectors, a Box of one dimension")
    return environment


@contextlib.contextmanager
def _quiet_mujoco() -> Iterator[None]:
    """While models are compiled: gymnasium's are of an older dialect, and each warning would go to MUJOCO_LOG.TXT."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def rescaled(environment: gymnasium.Env) -> gymnasium.Env:
    """The environment with actions in [-1, 1]."""
    low, high = environment.action_space.low, environment.action_space.high  # type: ignore[attr-defined]
    if (low == -1).all() and (high == 1).all():
        return environment
    return gymnasium.wrappers.RescaleAction(environment, -1.0, 1.0)  # type: ignore[arg-type]  # its spec is JSON


def box_of_environment(
    make: Callable[[], gymnasium.Env], env: str, path: str, recording: Recording
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Lowest and highest action of an environment, [A] each, once the recording is known to fit it.

    Raises:
        UserError: observations or actions of another size, or a box without bounds.
    """
    environment = make()
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
    return low, high


def scale_actions(recording: Recording, low: np.ndarray, high: np.ndarray) -> tuple[Recording, float]:
    """Actions mapped from their box to [-1, 1] and clipped inside it; and the share that lay outside the box."""
    actions = 2 * (recording.actions.astype(np.float64) - low) / (high.astype(np.float64) - low) - 1  # [M, A]
    outside = float((np.abs(actions) > 1 + ROUNDING).mean())
    most = 1 - ACTION_MARGIN
    return replace(recording, actions=np.clip(actions, -most, most).astype(np.float32)), outside


def split_episodes(recording: Recording, share: float, seed: int) -> tuple[Recording, Recording | None]:
    """Training episodes and held-out ones: a share of them, drawn by the seed; at least one of two or more."""
    if not 0 <= share < 1:
        raise UserError(f"data.held_out={share:g} is out of range; it must be at least 0 and less than 1")
    count = len(recording.lengths)
    held_out = min(max(1, round(share * count)), count - 1) if share else 0
    if not held_out:
        return recording, None
    order = np.random.default_rng(seed).permutation(count)
    return recording.episodes(order[held_out:]), recording.episodes(order[:held_out])
