"""A folder of shards: data sets larger than memory, written once in a stream and read one shard at a time.

A shard holds whole episodes in the raw layout of ``npz.py``, one uncompressed npy file a column, so the next
observations are the following rows and are not stored a second time::

    FOLDER/manifest.json               version, source line, columns (shape, dtype), rows and episodes of every shard
    FOLDER/00000.observations.npy      s0 s1 s2 s3 s4 | s0 s1 ...     one more row an episode than it has transitions
    FOLDER/00000.actions.npy           a0 a1 a2 a3 -  | a0 a1 ...     what stands in an episode's last row is not used
    FOLDER/00000.terminals.npy          0  0  0  0 1  |  0  0 ...

``python -m vgf.data.shards SOURCE.npz [SOURCE.npz ...] FOLDER`` makes such a folder from npz files, one in memory at
a time. Batches from a folder are dealt by :class:`vgf.data.sharded_store.ShardedStore`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vgf.data.npz import read_npz
from vgf.data.shard_reader import COMMAND, MANIFEST, VERSION, Arrays, ShardedColumn, ShardedData, file_name
from vgf.errors import UserError
from vgf.files import is_plain_name, locked, writing

__all__ = ["ShardedColumn", "ShardedData", "main", "split_episodes", "write_shards"]

_FLOAT32 = {"observations", "actions", "rewards", "masks"}
_FROM_NEXT_ROW = ("next_observations", "terminals")  # what transitions have of the row after them


def split_episodes(data: Mapping[str, np.ndarray]) -> Iterator[Arrays]:
    """Cut arrays into the episodes that :func:`write_shards` takes.

    Args:
        data: the raw layout of :func:`vgf.data.npz.read_npz`, or transitions with ``next_observations``.

    Raises:
        UserError: columns are missing or do not agree, or a next observation inside an episode is not the following
            row's observation.
    """
    _require_columns(data)
    ends = np.union1d(np.flatnonzero(data["terminals"]) + 1, [len(data["terminals"])])
    for begin, end in pairwise((0, *ends.tolist())):
        episode = {k: v[begin:end] for k, v in data.items() if k not in _FROM_NEXT_ROW}
        if "next_observations" in data:
            following = data["next_observations"][begin:end]
            if not np.array_equal(following[:-1], episode["observations"][1:]):
                raise UserError(
                    f"next_observations of the episode in rows {begin} to {end - 1} are not its following rows; "
                    "shards do not store them, so cut the episode where it breaks off"
                )
            episode = {k: np.concatenate([v, v[-1:]]) for k, v in episode.items()}
            episode["observations"][-1] = following[-1]
        yield episode


def _require_columns(data: Mapping[str, np.ndarray]) -> None:
    if missing := [name for name in ("observations", "actions", "terminals") if name not in data]:
        raise UserError(f"there is no '{missing[0]}' among the arrays; shards need observations, actions and terminals")
    rows = {name: np.shape(array)[:1] for name, array in data.items()}
    if odd := [name for name in data if rows[name] != rows["observations"] or not rows[name]]:
        raise UserError(f"'{odd[0]}' has shape {list(np.shape(data[odd[0]]))}; all arrays need as many rows")
    if np.ndim(data["terminals"]) != 1 or np.asarray(data["terminals"]).dtype.kind not in "fiub":
        raise UserError("'terminals' should be one number a row, 1 on the last row of each episode")


def write_shards(
    folder: Path, episodes: Iterable[Mapping[str, np.ndarray]], *, rows_per_shard: int = 250_000, source: str = "arrays"
) -> ShardedData:
    """Write episodes to a new folder of shards, of which nothing is seen until it is whole.

    Args:
        folder: must not exist.
        episodes: one after another: observations [T + 1, S], actions [T + 1, A] and any other columns [T + 1, ...],
            T >= 1; the last row is the state the episode ended in. Floats of the usual columns become float32.
        rows_per_shard: transitions in a shard at most, unless one episode is longer, 1 or more; about twice that is in
            memory.
        source: one line that says where the data came from.

    Raises:
        UserError: the folder exists, an episode does not fit, there is none, or the disk cannot be written.
    """
    folder = Path(folder)
    if rows_per_shard < 1:
        raise UserError(f"shards of {rows_per_shard} transitions hold nothing; give 1 or more")
    _require_new(folder)
    temporary = folder.with_name(f".{folder.name}.tmp")
    with locked(folder, waiting=lambda: print(f"waiting: another process is writing {folder}", file=sys.stderr)):
        _require_new(folder)
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
        try:
            with writing("the shards", folder):
                temporary.mkdir()
            _write_all(temporary, folder, episodes, rows_per_shard, source)
            with writing("the shards", folder):
                os.rename(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return ShardedData(folder)


def _require_new(folder: Path) -> None:
    if folder.exists():
        raise UserError(f"{folder} exists already; delete it or name another folder for the shards")


def _write_all(
    temporary: Path, folder: Path, episodes: Iterable[Mapping[str, np.ndarray]], rows: int, source: str
) -> None:
    """Shards and manifest of what will be ``folder``."""
    shards: list[dict[str, int]] = []
    columns: dict[str, dict[str, Any]] = {}
    for held in _packed(episodes, rows):
        whole = {name: np.concatenate([episode[name] for episode in held]) for name in held[0]}
        with writing("the shards", folder):
            for name, array in whole.items():
                _write(temporary / file_name(len(shards), name), partial(np.save, arr=array))
        lengths = [len(episode["actions"]) - 1 for episode in held]
        shards.append({"rows": sum(lengths), "episodes": len(lengths), "longest": max(lengths)})
        columns = {name: {"shape": a.shape[1:], "dtype": a.dtype.str} for name, a in whole.items()}
    if not shards:
        raise UserError(f"there are no episodes to write to {folder}")
    manifest = {"version": VERSION, "source": source, "columns": columns, "shards": shards}
    with writing("the shards", folder):
        _write(temporary / MANIFEST, lambda file: file.write(json.dumps(manifest, indent=1).encode()))


def _packed(episodes: Iterable[Mapping[str, np.ndarray]], rows: int) -> Iterator[list[Arrays]]:
    """Checked episodes in groups of at most ``rows`` transitions."""
    held: list[Arrays] = []
    count, kinds = 0, None
    for number, episode in enumerate(episodes):
        arrays = _checked(number, episode)
        found = {name: (array.shape[1:], array.dtype) for name, array in arrays.items()}
        kinds = kinds or found
        if found != kinds:
            raise UserError(f"episode {number} has other columns, shapes or dtypes than episode 0; all must agree")
        length = len(arrays["actions"]) - 1
        if held and count + length > rows:
            yield held
            held, count = [], 0
        held.append(arrays)
        count += length
    if held:
        yield held


def _checked(number: int, episode: Mapping[str, np.ndarray]) -> Arrays:
    """One episode with its terminals, in the dtypes that are stored; or say what is wrong with it."""
    missing = [name for name in ("observations", "actions") if name not in episode]
    if missing:
        raise UserError(f"episode {number} has no '{missing[0]}'; an episode needs observations and actions")
    rows = len(episode["observations"])
    if rows < 2:
        raise UserError(f"episode {number} has {rows} rows; an episode needs 2 for a transition")
    arrays = {}
    for name, given in episode.items():
        if not is_plain_name(name):
            raise UserError(f"episode {number}: the column {name!r} cannot be the name of a file; rename it")
        array = np.asarray(given)
        if len(array) != rows:
            raise UserError(f"episode {number}: '{name}' has {len(array)} rows but 'observations' has {rows}")
        numbers = array.dtype.kind in "fiub"  # looked at before the cast: it would read text and drop imaginary parts
        if numbers and name in _FLOAT32:
            with np.errstate(over="ignore"):
                array = array.astype(np.float32)
        if not numbers or not np.isfinite(array).all():
            raise UserError(f"episode {number}: '{name}' holds NaN, infinity or no numbers; mend or drop the episode")
        arrays[name] = array
    arrays["terminals"] = np.arange(rows) == rows - 1
    return arrays


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    with path.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a folder of shards from npz files; returns the exit status."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Make a folder of shards from npz files.")
    parser.add_argument("source", nargs="+", type=Path, help="npz file in OGBench's layout")
    parser.add_argument("folder", type=Path, help="new folder")
    parser.add_argument("--rows", type=int, default=250_000, help="transitions in a shard, at most")
    given = parser.parse_args(arguments)
    episodes = (episode for path in given.source for episode in split_episodes(read_npz(path)))
    names = ", ".join(path.name for path in given.source)
    try:
        data = write_shards(given.folder, episodes, rows_per_shard=given.rows, source=names)
    except UserError as error:
        print(f"vgf: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("vgf: stopped; nothing of the folder is kept", file=sys.stderr)
        return 130
    print(f"{given.folder}: {data.rows.sum():,} transitions in {len(data.rows)} shards")
    return 0


if __name__ == "__main__":
    sys.exit(main())
