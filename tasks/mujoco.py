"""MuJoCo's walkers, Adroit's hand and AntMaze, by D4RL's names without version: ``task=mujoco env=hopper-medium``.

The data are ``data.path`` (D4RL's HDF5, Minari's folder or id), else a download of the Minari data set
(``data.source=download``), else, for the walkers, what one SAC run of stable-baselines3 collects
(:mod:`vgf.tasks.mujoco_data`). ``d4rl`` and mujoco-py are never imported: environments are gymnasium's -v5, and those
of gymnasium-robotics (an extra).

``data.rewards=d4rl`` applies D4RL's transformations to the training rewards, as IQL's and VGF's code do: a walker's are
multiplied by 1000 / (highest - lowest return of an episode of the data), a maze's lowered by 1, Adroit's left alone.
Evaluation pays what the environment pays. Masks are 0 where an episode was terminated, not where it was truncated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import gymnasium
import numpy as np

from vgf.config import Config
from vgf.data.formats import read_recording
from vgf.data.formats.minari import DICT_KEYS, MINARI_ORIGIN
from vgf.data.recording import Recording
from vgf.errors import UserError, did_you_mean
from vgf.problem import AS_PAID, Problem, RewardMap
from vgf.tasks.data_settings import check_sha256, require_read
from vgf.tasks.mujoco_data import QUALITIES, sac_data
from vgf.tasks.mujoco_mazes import is_d4rl_file, make_maze, maze_keys
from vgf.tasks.mujoco_scores import SCALES
from vgf.tasks.recorded import box_of_environment, make_flat, rescaled, scale_actions, split_episodes

__all__ = ["DOMAINS", "Domain", "environment_factory", "make_environment", "prepare", "reward_map"]


@dataclass(frozen=True)
class Domain:
    """What data sets of one environment have in common.

    Attributes:
        env_id: what gymnasium makes; its module is imported first where there is one.
        rewards: D4RL's transformation of the training rewards: spread, minus_one or none.
        qualities: the last part of its names.
        minari: quality -> id of the Minari data set, where there is one.
        sac: whether SAC collects ``QUALITIES`` of it here.
        maze: which maze of AntMaze, None for all others.
    """

    env_id: str
    rewards: str
    qualities: tuple[str, ...]
    minari: dict[str, str] = field(default_factory=dict)
    sac: bool = False
    maze: str | None = None


def _walker(env_id: str) -> Domain:
    name = env_id.removesuffix("-v5").lower()
    minari = {quality: f"mujoco/{name}/{quality}-v0" for quality in ("simple", "medium", "expert")}
    files = ("random", "simple", "medium-expert", "full-replay")
    return Domain(env_id, "spread", (*QUALITIES, *files), minari, sac=True)


def _hand(name: str) -> Domain:
    qualities = ("human", "cloned", "expert")
    minari = {quality: f"D4RL/{name}/{quality}-v2" for quality in qualities}
    return Domain(f"gymnasium_robotics:AdroitHand{name.capitalize()}-v1", "none", qualities, minari)


def _maze(name: str, *qualities: str) -> Domain:
    minari = {quality: "-".join(filter(None, (f"D4RL/antmaze/{name}", quality, "v1"))) for quality in qualities}
    return Domain(f"antmaze-{name}", "minus_one", qualities, minari, maze=name)


DOMAINS = {
    "halfcheetah": _walker("HalfCheetah-v5"),
    "hopper": _walker("Hopper-v5"),
    "walker2d": _walker("Walker2d-v5"),
    "ant": _walker("Ant-v5"),
    "pen": _hand("pen"),
    "door": _hand("door"),
    "hammer": _hand("hammer"),
    "relocate": _hand("relocate"),
    "antmaze-umaze": _maze("umaze", "", "diverse"),
    "antmaze-medium": _maze("medium", "play", "diverse"),
    "antmaze-large": _maze("large", "play", "diverse"),
}
_AS_RECORDED = AS_PAID, "rewards as recorded"
_NAMES = {
    "-".join(filter(None, (name, quality))): (domain, quality)
    for name, domain in DOMAINS.items()
    for quality in domain.qualities
}


def prepare(config: Config) -> Problem:
    """Find or collect the data, transform their rewards, map their actions to [-1, 1] and hold out whole episodes.

    Raises:
        UserError: no such data set, data that are not there or do not fit the environment, settings out of range.
    """
    data = config.data
    require_read("mujoco", data)
    check_sha256(data.path, data.sha256)
    domain, quality = _find(config.env)
    recording, collected = _SOURCES[data.source](config, domain, quality)
    if domain.maze and is_d4rl_file(data.path) and recording.origin.startswith(MINARI_ORIGIN):
        raise UserError(
            f"{data.path} holds a Minari data set, whose mazes look different from D4RL's files; name it main_data.hdf5"
        )
    make = functools.partial(_make_unscaled, str(config.env), is_d4rl_file(data.path))
    low, high = box_of_environment(make, str(config.env), data.path or recording.origin, recording)
    notes = [*collected, *recording.remarks]
    rewards, said = reward_map(recording, domain.rewards) if data.rewards == "d4rl" else _AS_RECORDED
    recording = replace(recording, rewards=rewards(recording.rewards))
    notes.append(said)
    if data.transitions is not None:
        recording = _drawn_episodes(recording, data.transitions, data.seed)
    recording, clipped = scale_actions(recording, low, high)
    if clipped:
        notes.append(f"{clipped:.2%} of the actions clipped to their box")
    train, validation = split_episodes(recording, data.held_out, data.seed)
    held_out = validation.regular() if validation else None
    scale = SCALES.get(domain.env_id)
    origin = "; ".join([recording.origin, *notes])
    return Problem(str(config.env), train.regular(), held_out, origin, scale=scale, rewards=rewards)


def environment_factory(config: Config) -> Callable[[], gymnasium.Env]:
    """Return a picklable function that makes the environment."""
    _find(config.env)
    return functools.partial(make_environment, str(config.env), is_d4rl_file(config.data.path))


def make_environment(env: str, d4rl: bool = False) -> gymnasium.Env:
    """Make the environment of a data set with flat observations and actions in [-1, 1].

    Args:
        env: name of the data set, such as ``hopper-medium-replay``.
        d4rl: whether its data are D4RL's own HDF5; AntMaze looks different in them.

    Raises:
        UserError: the name is unknown, or gymnasium-robotics is missing.
    """
    return rescaled(_make_unscaled(env, d4rl))


def reward_map(recording: Recording, how: str) -> tuple[RewardMap, str]:
    """D4RL's transformation of the training rewards, and what it does in words.

    Args:
        recording: whole episodes, all that the data set has.
        how: ``spread``: r * 1000 / (highest - lowest return); ``minus_one``: r - 1; ``none``.

    Raises:
        UserError: ``spread``, and all episodes have the same return.
    """
    if how == "none":
        return AS_PAID, "D4RL transforms no rewards here"
    if how == "minus_one":
        return RewardMap(shift=-1.0), "rewards lowered by 1 (D4RL)"
    low, high = float(recording.returns.min()), float(recording.returns.max())
    if not low < high:
        raise UserError(
            f"{recording.origin}: D4RL's rewards are divided by the spread of the returns, but all episodes return "
            f"{low:g}; use data.rewards=raw"
        )
    return RewardMap(1000 / (high - low)), f"rewards times 1000 / ({high:.0f} - {low:.0f}) (D4RL)"


def _find(env: str | None) -> tuple[Domain, str]:
    if env in _NAMES:
        return _NAMES[str(env)]
    shown = ", ".join(f"{name}-{domain.qualities[-1]}" for name, domain in DOMAINS.items())
    raise UserError(
        f"env={env} is no data set of task=mujoco; names are domain-quality, such as {shown}."
        f"{did_you_mean(str(env), _NAMES)}"
    )


def _make_unscaled(env: str, d4rl: bool) -> gymnasium.Env:
    domain, _ = _find(env)
    try:
        return make_maze(domain.maze, d4rl) if domain.maze else make_flat(domain.env_id)
    except UserError as error:
        if isinstance(error.__cause__, ImportError):
            raise UserError(f'env={env} needs gymnasium-robotics: pip install "vgf[mujoco]"') from error
        raise


_Found = tuple[Recording, list[str]]  # and what a report should say about how they were collected


def _given(config: Config, domain: Domain, quality: str) -> _Found:
    if not config.data.path:
        raise UserError(f"data.source=path needs data.path=FILE; {_wanted(domain, quality)}")
    return read_recording(config.data.path, config.data.columns, dict_keys=_keys(domain, config.data.path)), []


def _downloaded(config: Config, domain: Domain, quality: str) -> _Found:
    if quality not in domain.minari:
        raise UserError(f"env={config.env}: Minari has no such data set; {_wanted(domain, quality)}")
    try:
        return read_recording(domain.minari[quality], config.data.columns, dict_keys=_keys(domain, None)), []
    except UserError as error:
        raise UserError(f"{error}; or {_wanted(domain, quality)}") from error


def _generated(config: Config, domain: Domain, quality: str) -> _Found:
    if not domain.sac or quality not in QUALITIES:
        raise UserError(
            f"env={config.env} is not collected here (SAC collects {', '.join(QUALITIES)} of "
            f"{', '.join(name for name, domain in DOMAINS.items() if domain.sac)}); {_wanted(domain, quality)}"
        )
    folder = Path(config.data.folder).expanduser()
    where, metadata = sac_data(domain.env_id, quality, config.data.sac, config.data.seed, folder)
    sac = metadata["sac"]
    said = (
        f"collected by SAC (stable-baselines3 {sac['versions']['stable-baselines3']}, {sac['steps']:,} steps, seed "
        f"{sac['seed']}): return {sac['level_random']:.0f} at random, {sac['level_medium']:.0f} when medium (step "
        f"{sac['medium_step']:,}), {sac['level_final']:.0f} at the end; this set {metadata['mean_return']:.0f}"
    )
    return read_recording(where), [said]


def _keys(domain: Domain, path: str | None) -> tuple[str, ...]:
    return maze_keys(is_d4rl_file(path)) if domain.maze else DICT_KEYS


def _wanted(domain: Domain, quality: str) -> str:
    """What a person may do who has no data."""
    minari = f" (Minari: {domain.minari[quality]}, also by data.source=download)" if quality in domain.minari else ""
    return f"give data.path=FILE, a D4RL .hdf5 file, a Minari folder or an id{minari}"


def _auto(config: Config, domain: Domain, quality: str) -> _Found:
    return (_given if config.data.path else _generated)(config, domain, quality)


_SOURCES: dict[str, Callable[[Config, Domain, str], _Found]] = {
    "auto": _auto,
    "path": _given,
    "download": _downloaded,
    "generate": _generated,
}


def _drawn_episodes(recording: Recording, count: int, seed: int) -> Recording:
    """Whole episodes, drawn by the seed until they hold ``count`` transitions: those in front are the oldest ones."""
    order = np.random.default_rng(seed).permutation(len(recording.lengths))
    needed = int(np.searchsorted(np.cumsum(recording.lengths[order]), count)) + 1
    return recording if needed >= len(order) else recording.episodes(order[:needed])
