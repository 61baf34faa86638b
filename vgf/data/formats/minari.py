"""Minari data sets: ``<folder>/data/main_data.hdf5`` with one group an episode, read with h5py alone.

``episode_i`` holds observations [T+1, S], actions [T, A], rewards, terminations and truncations [T]. Dict observations
are groups: ``desired_goal`` and ``observation`` are put side by side in alphabetical order, those that are groups
themselves likewise from the inside, as ``gymnasium.spaces.flatten`` orders them. ``achieved_goal`` is left out, unless
other keys are asked for (``dict_keys`` of :func:`vgf.data.formats.read_recording`).

The ``minari`` package is only needed to download a data set that is given by its id.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vgf.data.formats.source import DICT_KEYS, Read, Source
from vgf.data.recording import Recording
from vgf.errors import UserError
from vgf.files import locked

__all__ = ["DICT_KEYS", "MAIN_FILE", "MINARI_ORIGIN", "find_minari", "is_minari_id", "read_episodes"]

MAIN_FILE = "data/main_data.hdf5"
MINARI_ORIGIN = "Minari data set"  # how the origin of every such recording begins

_ROLES = ("observations", "actions", "rewards", "terminals", "timeouts")

KeysOf = Callable[[str], list[str] | None]  # names in a group; None: an array


def is_minari_id(name: str) -> bool:
    """Whether a text looks like ``mujoco/hopper/medium-v0``."""
    return re.fullmatch(r"([\w.-]+/)*[\w-]+-v\d+", name) is not None


def find_minari(name: str) -> Path:
    """Folder of the data set with this id in $MINARI_DATASETS_PATH or ~/.minari/datasets, downloaded unless whole.

    Raises:
        UserError: it is not there and cannot be downloaded.
    """
    root = Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")
    folder = root / name
    if (folder / MAIN_FILE).is_file():
        return folder
    try:
        import minari
    except ImportError:
        found = (
            f"{folder} is incomplete"
            if folder.is_dir()
            else f"{name} is neither a file nor a Minari data set in {root}"
        )
        raise UserError(f'{found}; check the name, or to download it: pip install "minari[hdf5,hf]"') from None
    with locked(folder, waiting=lambda: print(f"waiting: another run is downloading {name}", file=sys.stderr)):
        if not (folder / MAIN_FILE).is_file():  # Minari writes straight to the folder, and skips one that is there
            try:
                minari.download_dataset(name, force_download=folder.is_dir())
            except Exception as error:  # of the network, the hub, the version
                cause = " ".join(str(error).split())[:200] or type(error).__name__
                raise UserError(
                    f"{name} is not in {root} and Minari cannot download it ({cause}); check the name"
                ) from error
    return folder


def read_episodes(source: Source, episodes: list[str], keys_of: KeysOf, read: Read) -> Recording:
    """Read the episodes of an open file.

    Args:
        source: the file, for its names and for complaints.
        episodes: names of the groups, in order.
        keys_of: names in a group, None for an array.
        read: gives the array under a path inside the file.

    Raises:
        UserError: something is missing or wrong; the line says which key and row.
    """
    parts: dict[str, list[np.ndarray]] = {}
    dtypes: dict[str, np.dtype] = {}
    both = 0
    for name in episodes:
        episode = _read_episode(source, name, keys_of, read, dtypes)
        both += int(np.sum(episode["terminated"] & episode.pop("cut")))
        for key, array in episode.items():
            earlier = parts.setdefault(key, [])
            if earlier and array.shape[1:] != earlier[0].shape[1:]:
                sizes = f"{array.shape[1]} columns but those of {episodes[0]} have {earlier[0].shape[1]}"
                raise source.complaint(f"the {key} of '{name}' have {sizes}")
            earlier.append(array)
    arrays = {key: np.concatenate(list_of) for key, list_of in parts.items()}
    remark = f"terminations and truncations are both set in {both} rows; they count as terminations"
    return Recording(**arrays, origin=f"{MINARI_ORIGIN} {_title(source.path)}", remarks=(remark,) if both else ())


def _read_episode(
    source: Source, name: str, keys_of: KeysOf, read: Read, dtypes: dict[str, np.dtype]
) -> dict[str, np.ndarray]:  # fmt: skip
    """The arrays of one episode by their names in a Recording, and ``cut`` [T]. ``dtypes``: of the first episode."""
    present = keys_of(name)
    if present is None:
        raise source.complaint(f"'{name}' is an array, not the group of an episode")
    arrays = {}
    for role, key in source.keys(present, f"'{name}'", _ROLES, ("terminals",)).items():
        path = f"{name}/{key}"
        raw = _observations(source, path, keys_of, read) if role == "observations" else read(path)
        if role == "actions" and raw.shape[:1] == (0,) and raw.dtype.kind == "f":
            raise source.complaint(f"'{name}' has no steps; drop that episode")
        if raw.dtype != dtypes.setdefault(role, raw.dtype):
            raise source.complaint(f"mixed dtypes: '{path}' is {raw.dtype} but earlier episodes have {dtypes[role]}")
        arrays[role] = source.checked(role, path, raw)
    steps = len(arrays["actions"])
    for role, array in arrays.items():
        wanted = steps + (role == "observations")
        if len(array) != wanted:
            raise source.complaint(f"'{name}': {role} have {len(array)} rows; {steps} actions need {wanted}")
    terminated = arrays["terminals"]
    cut = arrays.get("timeouts", np.zeros(steps, bool))
    ends = terminated | cut
    ends[-1] = True
    observations = arrays["observations"]
    return {
        "observations": observations[:-1],
        "actions": arrays["actions"],
        "rewards": arrays["rewards"],
        "next_observations": observations[1:],
        "terminated": terminated,
        "ends": ends,
        "cut": cut,
    }


def _observations(source: Source, path: str, keys_of: KeysOf, read: Read) -> np.ndarray:
    present = keys_of(path)
    if present is None:
        return read(path)
    if missing := [key for key in source.dict_keys if key not in present]:
        there = ", ".join(repr(key) for key in present) or "nothing"
        read_are = " and ".join(source.dict_keys)
        raise source.complaint(
            f"'{path}' has no '{missing[0]}' (it has {there}); of Dict observations {read_are} are read"
        )
    return _side_by_side(source, path, list(source.dict_keys), keys_of, read)


def _side_by_side(source: Source, path: str, names: list[str], keys_of: KeysOf, read: Read) -> np.ndarray:
    columns: list[np.ndarray] = []
    for key in (f"{path}/{name}" for name in names):
        inside = keys_of(key)
        column = read(key) if inside is None else _side_by_side(source, key, inside, keys_of, read)
        column = column[:, None] if column.ndim == 1 and column.dtype.kind in "fiu" else column
        if column.ndim != 2 or column.dtype.kind not in "fiu" or any(len(c) != len(column) for c in columns):
            what = f"has shape {list(column.shape)} and dtype {column.dtype}"
            raise source.complaint(
                f"'{key}' {what}; it should be numbers, [rows, size], as many rows as its neighbours"
            )
        columns.append(column)
    if not columns:
        raise source.complaint(f"'{path}' is an empty group; it should hold arrays")
    return np.concatenate(columns, axis=1)


def _title(path: Path) -> str:
    """``hopper/medium-v0`` for ``.../hopper/medium-v0/data/main_data.hdf5``."""
    return "/".join(path.parts[-4:-2]) if path.as_posix().endswith(MAIN_FILE) else path.name
