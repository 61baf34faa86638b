"""From named columns, one row a step, to a Recording: what npz, D4RL's HDF5 and Parquet files have in common.

``terminals`` is a true end and ``timeouts`` a cut, as in D4RL; a change of ``episode`` and the last row of the file cut
as well. A file has at least one of the three; without ``terminals`` every episode is cut. Where a file has ``masks``
(0: nothing is bootstrapped beyond), ``terminals`` only says where episodes end, as in OGBench.

Without ``next_observations`` the following row of the episode is used, and the last row of an episode that was cut,
which has none, is dropped; a terminated last row is kept. Next observations of terminated rows count nothing: the row's
own observation stands in for those that a file has (NaN, say) or lacks.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from vgf.data.formats.source import Read, Source
from vgf.data.recording import Recording

__all__ = ["read_table"]

Arrays = dict[str, np.ndarray]


def read_table(source: Source, present: Collection[str], read: Read, kind: str) -> Recording:
    """Read and check the columns of a file.

    Args:
        source: the file, for its names and for complaints.
        present: keys that the file has.
        read: gives the array of a key.
        kind: what the file is called in ``origin``, such as "npz file".

    Raises:
        UserError: something is missing or wrong; the line says which key and row.
    """
    keys = source.keys(present)
    arrays: Arrays = {}
    dtypes: dict[str, np.dtype] = {}  # as in the file, whose own arrays are let go one by one
    for role, key in keys.items():
        raw = read(key)
        dtypes[role] = raw.dtype
        # next observations may be anything where the data terminate, which is known further down
        judge = replace(source, finite=False) if role == "next_observations" else source
        arrays[role] = judge.checked(role, key, raw)
        del raw  # before the next column is read
    for role, array in arrays.items():
        if len(array) != len(arrays["observations"]):
            rows = f"{len(array)} rows but '{keys['observations']}' has {len(arrays['observations'])}"
            raise source.complaint(f"'{keys[role]}' has {rows}; all must agree")
    terminated, ends = _ends(source, keys, arrays)
    remarks = _remarks(arrays)
    if "next_observations" in arrays:
        _check_alike(source, keys, arrays, dtypes)
        following = arrays["next_observations"]
        following[terminated] = arrays["observations"][terminated]  # what it is counts nothing, but NaN times 0 is NaN
        source.checked("next_observations", keys["next_observations"], following)
    else:
        terminated, ends, dropped = _find_successors(arrays, terminated, ends)
        if not ends.size:
            raise source.complaint("every episode has one row and there are no 'next_observations': no transition left")
        if dropped:
            remarks.append(f"{dropped} last rows of cut episodes are dropped: the file has no next_observations")
    return Recording(
        arrays["observations"],
        arrays["actions"],
        arrays["rewards"],
        arrays["next_observations"],
        terminated,
        ends,
        f"{kind} {source.path.name}",
        tuple(remarks),
    )


def _check_alike(source: Source, keys: dict[str, str], arrays: Arrays, dtypes: dict[str, np.dtype]) -> None:
    """Observations and next observations must be of one shape and, in the file, of one kind of number."""
    ours, theirs = "observations", "next_observations"
    both = f"'{keys[ours]}'", f"'{keys[theirs]}'"
    shapes = [list(arrays[role].shape) for role in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise source.complaint(f"{both[0]} has shape {shapes[0]} but {both[1]} {shapes[1]}")
    if (dtypes[ours].kind == "f") != (dtypes[theirs].kind == "f"):
        raise source.complaint(f"mixed dtypes: {both[0]} is {dtypes[ours]} but {both[1]} {dtypes[theirs]}; use float32")


def _ends(source: Source, keys: dict[str, str], arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """(terminated, ends) [M] of all rows of the file."""
    nowhere = np.zeros(len(arrays["observations"]), bool)
    terminals = arrays.get("terminals", nowhere)
    ends = terminals | arrays.get("timeouts", nowhere)
    if "episode" in arrays:
        ends = ends | _changes(source, keys["episode"], arrays["episode"])
    ends = ends.copy()
    ends[-1] = True
    return (~arrays["masks"] if "masks" in arrays else terminals), ends


def _changes(source: Source, key: str, episode: np.ndarray) -> np.ndarray:
    """Where the next row has another episode: [M]. An episode that is taken up again means shuffled rows."""
    changes = np.append(episode[1:] != episode[:-1], True)
    runs = episode[changes]
    _, first = np.unique(runs, return_index=True)
    again = np.setdiff1d(np.arange(len(runs)), first)
    if again.size:
        row = int(np.flatnonzero(changes)[again[0] - 1]) + 1
        raise source.complaint(f"'{key}' is {runs[again[0]]} again in row {row}; sort the rows by episode and step")
    return changes


def _remarks(arrays: Arrays) -> list[str]:
    if "masks" in arrays:
        return []
    if "terminals" not in arrays:
        return ["the file has no terminals: every episode counts as cut, none as terminated"]
    if "timeouts" not in arrays:
        return []
    both = np.flatnonzero(arrays["terminals"] & arrays["timeouts"])
    if not both.size:
        return []
    return [f"terminals and timeouts are both set in {both.size} rows, first in row {both[0]}; they count as terminals"]


def _find_successors(arrays: Arrays, terminated: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Fill in next_observations and drop rows without one: (terminated, ends) [M'] and the number of dropped rows."""
    keep = ~ends | terminated
    following = np.arange(len(ends)) + ~ends  # the row whose observation is a row's next one
    arrays["next_observations"] = arrays["observations"][following[keep]]
    ends = ends | ~np.append(keep[1:], True)  # the row before a dropped one is now its episode's last
    for role in ("observations", "actions", "rewards"):
        arrays[role] = arrays[role][keep]
    return terminated[keep], ends[keep], int(np.sum(~keep))
