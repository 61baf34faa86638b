"""OGBench single-task environments: ``<data set>-singletask[-taskN]-v0``.

How rewards line up in time. A single-task environment pays for the state an action is taken *in*:
``step(a_t)`` returns r(s_t) (``success_timing='pre'``), -1 or 0 in mazes, and minus the number of
unmet subgoals in manipulation. ``ogbench.relabel_utils`` labels row t of the data from its ``qpos``,
which is s_t as well. So data rewards and environment rewards agree row for row, and both reach their
maximum, with mask 0, on the transition *out of* the first successful state. Bootstrap with ``masks``;
``terminals`` only says where an episode was cut.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.random.mtrand import get_bit_generator, set_bit_generator

from vgf.config import Config
from vgf.data.npz import cut_transitions, read_npz, regular
from vgf.data.shards import ShardedData
from vgf.errors import UserError, did_you_mean
from vgf.problem import ACTION_MARGIN, Problem
from vgf.tasks.data_settings import check_sha256, require_read
from vgf.tasks.ogbench_data import resolve

__all__ = [
    "as_trained",
    "environment_factory",
    "make_environment",
    "prepare",
    "read_first",
    "require_fit",
    "split_name",
]


def prepare(config: Config) -> Problem:
    """Find or make the data of ``config.env``, label its rewards and check it against the environment.

    Raises:
        UserError: unknown environment, data that cannot be found or does not fit the environment.
    """
    dataset, env_id = split_name(str(config.env))
    require_read("ogbench", config.data)
    path = Path(config.data.path).expanduser() if config.data.path else None
    environment = make_environment(env_id)
    if path is not None and path.is_dir():  # shards are labelled as they are read, with the environment's help
        return _from_shards(config, path, env_id, environment)
    with contextlib.closing(environment):
        resolved = resolve(dataset, config.data)
        train, told = _load(resolved.train, env_id, environment, resolved.transitions)
        beside = resolved.validation
        held_out = _load(beside, env_id, environment, resolved.held_out)[0] if beside else None
    return Problem(str(config.env), train, held_out, f"{resolved.origin}: {resolved.train.name}{told}")


def read_first(path: Path, transitions: int | None) -> tuple[dict[str, np.ndarray], str]:
    """The first whole episodes of a file (None: all), and what a line on its origin says where that is not all."""
    whole = read_npz(path)
    raw = whole if transitions is None else cut_transitions(whole, transitions)
    there, used = (int((~each["terminals"]).sum()) for each in (whole, raw))
    return raw, f", the first {used:,} of {there:,} (data.transitions)" if used < there else ""


def environment_factory(config: Config) -> Callable[[], gymnasium.Env]:
    """Return a picklable function that makes the environment of ``config.env``."""
    return partial(make_environment, split_name(str(config.env))[1])


def split_name(env: str) -> tuple[str, str]:
    """``cube-single-play-singletask-task2-v0`` -> (``cube-single-play``, ``cube-single-singletask-task2-v0``).

    Raises:
        UserError: when no such single-task environment exists, with the nearest names.
    """
    parts = env.split("-")
    if "singletask" not in parts[2:]:
        hint = _nearest(env)
        raise UserError(
            f"env={env!r} is not an OGBench single-task name like 'cube-single-play-singletask-task2-v0'.{hint}"
        )
    at = parts.index("singletask")
    env_id = "-".join(parts[: at - 1] + parts[at:])
    if env_id not in _registry():
        raise UserError(f"env={env!r} does not exist in OGBench.{_nearest(env)}")
    return "-".join(parts[:at]), env_id


def make_environment(env_id: str) -> gymnasium.Env:
    """Make one environment whose episodes depend on nothing but the seed given to ``reset``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glfw without a display, gymnasium's casts: nothing a user can act on
        gymnasium.logger.min_level = gymnasium.logger.ERROR
        _registry()
        return _OwnRandomStream(gymnasium.make(env_id))


class _OwnRandomStream(gymnasium.Wrapper):
    """Gives an OGBench environment random streams of its own.

    They draw from NumPy's global state and, while resetting, from an action space that is made anew,
    unseeded, on every access. Without this wrapper the same seed gives different episodes.

    The global state's generator is exchanged, and not its numbers copied, which would take longer than a step of a
    point in a maze. Only a normal number that the global state has left over from a pair is lost; no environment of
    OGBench's draws normal numbers from there.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        base: Any = env.unwrapped
        self._space = base.action_space
        if isinstance(getattr(type(base), "action_space", None), property):
            seeded = {"action_space": property(lambda _: self._space)}
            base.__class__ = type(type(base).__name__, (type(base),), seeded)
        self._stream = _legacy_stream(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._space.seed(seed)
            self._stream = _legacy_stream(seed)
        with self._swapped_in():
            return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        with self._swapped_in():
            return self.env.step(action)

    @contextlib.contextmanager
    def _swapped_in(self) -> Iterator[None]:
        outside = get_bit_generator()
        set_bit_generator(self._stream)
        try:
            yield
        finally:
            set_bit_generator(outside)


def _legacy_stream(seed: int) -> np.random.MT19937:
    """What ``np.random.seed(seed)`` makes of the global state."""
    stream = np.random.MT19937()
    state: Any = np.random.RandomState(seed).get_state(legacy=False)
    stream.state = state
    return stream


def _from_shards(config: Config, folder: Path, env_id: str, environment: gymnasium.Env) -> Problem:
    """A problem on more data than memory; ``FOLDER-val.npz`` beside the folder validates."""
    from vgf.data.sharded_store import store_of  # here: processes that step environments need no torch

    data = config.data
    train = ShardedData(folder, label=lambda data: _labelled(data, folder, env_id, environment))
    require_fit(folder, train, env_id, environment)
    check_sha256(folder, data.sha256)
    if data.transitions is not None and data.transitions < train.rows.sum():
        raise UserError(
            f"{folder} is used whole, all {train.rows.sum():,} transitions; give data.transitions=null, or write "
            "fewer into the shards"
        )
    held_out = folder.with_name(f"{folder.name}-val.npz")
    validation = _load(held_out, env_id, environment, None)[0] if held_out.is_file() else None
    store = partial(store_of, memory_gb=data.memory_gb, swap_every=data.swap_every, seed=config.seed)
    return Problem(str(config.env), train, validation, f"shards: {folder.name}", store=store)


def _load(
    path: Path, env_id: str, environment: gymnasium.Env, transitions: int | None
) -> tuple[dict[str, np.ndarray], str]:
    raw, told = read_first(path, transitions)
    require_fit(path, raw, env_id, environment)
    return _labelled(regular(raw), path, env_id, environment), told


def require_fit(path: Path, data: Mapping[str, Any], env_id: str, environment: gymnasium.Env) -> None:
    """Raise a UserError unless observations and actions [rows, size] have the sizes of the environment's."""
    for key, space in (("observations", environment.observation_space), ("actions", environment.action_space)):
        if data[key].shape[1:] != space.shape:
            size = data[key].shape[1] if len(data[key].shape) == 2 else "no"
            raise UserError(
                f"{path}: {key} have {size} entries, but {env_id} has {space.shape and space.shape[0]}; "
                "give the data set that was recorded in this environment"
            )


def _labelled(
    data: dict[str, np.ndarray], path: Path, env_id: str, environment: gymnasium.Env
) -> dict[str, np.ndarray]:
    """Regular transitions with the task's rewards and masks, actions inside the open box."""
    import ogbench.relabel_utils

    needed = {"qpos"} | ({"button_states"} if env_id.startswith(("scene", "puzzle")) else set())
    if missing := needed - data.keys():
        raise UserError(
            f"{path}: no {', '.join(sorted(missing))} in the file, so the task's rewards cannot be computed"
        )
    ogbench.relabel_utils.relabel_dataset(env_id, environment, data)
    return as_trained(data, environment, "rewards", "masks")


def as_trained(data: Mapping[str, np.ndarray], environment: gymnasium.Env, *more: str) -> dict[str, np.ndarray]:
    """Of regular transitions what stores take, and ``more`` columns: float32, actions clipped inside the open box."""
    low, high = environment.action_space.low, environment.action_space.high  # type: ignore[attr-defined]
    columns = {**data, "actions": np.clip(data["actions"], low + ACTION_MARGIN, high - ACTION_MARGIN)}
    keys = ("observations", "actions", "terminals", "next_observations", *more)
    return {key: columns[key].astype(np.float32, copy=False) for key in keys}


def _registry() -> list[str]:
    import ogbench.locomaze
    import ogbench.manipspace  # noqa: F401  (both register their environments)

    return [name for name in gymnasium.registry if "singletask" in name and not name.startswith("visual")]


def _nearest(env: str) -> str:
    """Suggest full names: every data-set kind of every registered single-task environment."""
    kinds = {"pointmaze": ("navigate", "stitch"), "antmaze": ("navigate", "stitch", "explore")}
    kinds |= {"humanoidmaze": ("navigate", "stitch"), "antsoccer": ("navigate", "stitch")}
    names = [
        name.replace("-singletask", f"-{kind}-singletask")
        for name in _registry()
        for kind in kinds.get(name.split("-")[0], ("play", "noisy"))
    ]
    return did_you_mean(env, names)
