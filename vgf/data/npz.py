"""Reading data sets in OGBench's array layout, and saying in one line what is wrong with one.

In the *raw* layout (what is on disk) the last row of each episode is its terminal state; the action there
leads nowhere. *Regular* transitions drop that row and carry the next observation instead::

                         |<--- episode 1 --->|  |<--- episode 2 --->|
    raw  observations    s0  s1  s2  s3  s4     s0  s1  s2  s3  s4
    raw  terminals        0   0   0   0   1      0   0   0   0   1
    regular observations      s0  s1  s2  s3         s0  s1  s2  s3
    regular next_obs.         s1  s2  s3  s4         s1  s2  s3  s4
    regular terminals          0   0   0   1          0   0   0   1

Deviation from ``ogbench.utils.load_dataset``: rewards and masks are kept where a file has them, files are
validated, and arrays come out in the machine's byte order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vgf.errors import UserError, did_you_mean

__all__ = ["cut_transitions", "read_npz", "regular", "require_file"]

Arrays = dict[str, np.ndarray]

_RANKS = {"observations": 2, "actions": 2, "terminals": 1}  # what every file must have
_OPTIONAL_RANKS = {"qpos": 2, "qvel": 2, "button_states": 2, "rewards": 1, "masks": 1}
_SHAPES = {1: "[rows]", 2: "[rows, size]"}
_FLOAT32 = {"observations", "actions", "rewards", "masks"}
_NUMBERS = "fiu"  # NumPy's kinds: floats and integers


def require_file(path: Path, what: str = "data set") -> None:
    """Raise UserError unless ``path`` is a file; name the nearest npz files of its folder."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a {what}; name the npz file in it")
    if path.is_file():
        return
    if not path.parent.is_dir():
        raise UserError(f"{what} {path} does not exist, nor does its folder; check the path")
    names = sorted(p.name for p in path.parent.glob("*.npz") if not p.name.startswith("."))
    near = did_you_mean(path.name, names)
    others = f" The folder has {', '.join(names[:5])}{', ...' if names[5:] else ''}." if names and not near else ""
    raise UserError(f"{what} {path} does not exist; check the path.{near}{others}")


def read_npz(path: Path) -> Arrays:
    """Read and validate a data set in the raw layout.

    Returns:
        observations [M, S] f32, actions [M, A] f32, terminals [M] bool, and where the file has them
        qpos, qvel, button_states [M, ...] in their own dtypes, rewards [M] f32, masks [M] f32.

    Raises:
        UserError: the file is missing, damaged or not in this layout; the line names the array and the row.
    """
    require_file(path)
    arrays = _load(path)
    for name in arrays:
        arrays[name] = _checked(path, name, arrays[name])
    rows = len(arrays["observations"])
    for name, array in arrays.items():
        if len(array) != rows:
            raise UserError(f"{path}: '{name}' has {len(array)} rows but 'observations' has {rows}; all must agree")
    _check_episodes(path, arrays["terminals"])
    arrays["terminals"] = arrays["terminals"].astype(bool)
    return arrays


def regular(raw: Arrays) -> Arrays:
    """Turn the raw layout into transitions, as ``ogbench.load_dataset(..., add_info=True)`` does.

    Args:
        raw: arrays of :func:`read_npz`; ``terminals`` [M] is true on each episode's last row.

    Returns:
        observations, next_observations [T, S] f32, actions [T, A] f32, terminals [T] f32 (1 on each episode's
        last transition) and every other array of ``raw``, with T = M - episodes.
    """
    last = raw["terminals"].astype(bool)
    keep = ~last
    data = {name: array[keep] for name, array in raw.items() if name != "terminals"}
    # A kept row is never the last of the data, so its successor always exists.
    data["next_observations"] = raw["observations"][1:][keep[:-1]]
    data["terminals"] = last[1:][keep[:-1]].astype(np.float32)
    return data


def cut_transitions(raw: Arrays, count: int) -> Arrays:
    """Keep the first whole episodes of ``raw`` that hold at least ``count`` transitions (all, if there are fewer).

    Raises:
        UserError: ``count`` is less than 1.
    """
    if count < 1:
        raise UserError(f"{count} transitions is not a data set; give 1 or more, or leave it out for all")
    ends = np.flatnonzero(raw["terminals"]) + 1  # [episodes], rows up to and with each episode
    transitions = ends - np.arange(1, len(ends) + 1)
    episode = min(int(np.searchsorted(transitions, count)), len(ends) - 1)
    return {name: array[: ends[episode]] for name, array in raw.items()}


def _load(path: Path) -> Arrays:
    """Read the arrays we know from the zip archive, whatever is wrong with its bytes."""
    advice = "the file is damaged or incomplete; fetch or make it again"
    try:
        archive: Any = np.load(path, allow_pickle=False)
    except PermissionError:
        raise UserError(f"{path} cannot be read: no permission; change its permissions") from None
    except Exception as error:  # zip and NumPy raise a dozen kinds on bytes they do not like
        raise UserError(f"{path} is not a readable npz file ({_line(error)}); {advice}") from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise UserError(f"{path} holds a single array, not an npz archive of named arrays; save it with np.savez")
    with archive:
        missing = [name for name in _RANKS if name not in archive.files]
        if missing:
            found = ", ".join(repr(name) for name in sorted(archive.files)) or "nothing"
            raise UserError(
                f"{path} has no '{missing[0]}' array (it has {found}); OGBench's layout needs {', '.join(_RANKS)}"
            )
        arrays = {}
        for name in (*_RANKS, *_OPTIONAL_RANKS):
            if name not in archive.files:
                continue
            try:
                arrays[name] = archive[name]
            except Exception as error:
                if "allow_pickle" in str(error):
                    raise UserError(
                        f"{path}: '{name}' holds Python objects, which are never loaded; save it as plain numbers"
                    ) from error
                raise UserError(f"{path}: '{name}' cannot be read ({_line(error)}); {advice}") from error
    return arrays


def _checked(path: Path, name: str, array: Any) -> np.ndarray:
    """Return one array in the dtype it should have, or say what is wrong with it."""
    if not isinstance(array, np.ndarray):  # an archive member that is not an npy file comes back as bytes
        raise UserError(f"{path}: '{name}' is not an array; save it with np.savez")
    rank = {**_RANKS, **_OPTIONAL_RANKS}[name]
    wanted = _SHAPES[rank]
    if array.ndim != rank:
        raise UserError(f"{path}: '{name}' has shape {list(array.shape)}; it should be {wanted}")
    if 0 in array.shape:
        raise UserError(f"{path}: '{name}' is empty, of shape {list(array.shape)}; it should be {wanted}")
    if array.dtype.kind not in _NUMBERS and not (rank == 1 and array.dtype == bool):
        raise UserError(f"{path}: '{name}' has dtype {array.dtype}, not numbers; save it as float32")
    with np.errstate(over="ignore"):  # what float32 cannot hold turns into infinity and is reported below
        array = array.astype(np.float32 if name in _FLOAT32 else array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
        row = int(np.argwhere(~finite)[0, 0])
        raise UserError(f"{path}: '{name}' holds NaN or infinity, first in row {row}; mend or drop that episode")
    return np.ascontiguousarray(array)


def _check_episodes(path: Path, terminals: np.ndarray) -> None:
    """Check that episodes end where the data ends, and that each has a transition."""
    odd = np.flatnonzero((terminals != 0) & (terminals != 1))
    if odd.size:
        raise UserError(f"{path}: 'terminals' is {terminals[odd[0]]} in row {odd[0]}; it should be 0 or 1 everywhere")
    ends = np.flatnonzero(terminals)
    if not terminals[-1]:
        raise UserError(f"{path}: 'terminals' is 0 in the last row; it must be 1 on the last row of every episode")
    lengths = np.diff(ends, prepend=-1)
    if lengths.min() < 2:
        row = ends[int(np.argmax(lengths < 2))]
        raise UserError(f"{path}: the episode that ends in row {row} has 1 row; an episode needs 2 for a transition")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
