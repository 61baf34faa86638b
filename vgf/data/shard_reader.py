"""Reading a folder of shards, one shard at a time; :mod:`vgf.data.shards` describes and writes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vgf.data.npz import regular
from vgf.errors import UserError
from vgf.files import is_plain_name

__all__ = ["COMMAND", "MANIFEST", "VERSION", "Arrays", "ShardedColumn", "ShardedData", "file_name"]

Arrays = dict[str, np.ndarray]

VERSION = 1
MANIFEST = "manifest.json"
COMMAND = "python -m vgf.data.shards"
_SHIFTED = {"next_observations": "observations", "terminals": "terminals"}  # transitions have them from the next row
_AGAIN = "the shards are damaged or incomplete; write them again"


class ShardedData(Mapping[str, Any]):
    """An open folder of shards: a mapping of column names to lazy columns of *regular* transitions, as in ``npz.py``.

    Args:
        folder: made by :func:`vgf.data.shards.write_shards`.
        label: turns the transitions of one shard, as it is read, into those to train on; a task adds its rewards and
            masks here. Lazy columns are as stored.

    Attributes:
        rows: transitions of every shard [shards], int64.
        longest: the longest episode of every shard [shards].
        source: where the data came from.

    Raises:
        UserError: no such folder, a file is missing or damaged, or another version wrote it.
    """

    def __init__(self, folder: Path, label: Callable[[Arrays], Arrays] | None = None) -> None:
        self.folder = Path(folder)
        self.label = label
        path = self.folder / MANIFEST
        manifest = _read_manifest(path)
        try:
            self.source = str(manifest["source"])
            self.rows, self.episodes, self.longest = (
                np.array([shard[key] for shard in manifest["shards"]], dtype=np.int64)
                for key in ("rows", "episodes", "longest")
            )
            self._kinds = {k: (tuple(v["shape"]), np.dtype(v["dtype"])) for k, v in manifest["columns"].items()}
            complete = {"observations", "actions", "terminals"} <= self._kinds.keys() and bool(self.rows.min() > 0)
            complete = complete and all(is_plain_name(name) for name in self._kinds)  # they become names of files
        except (KeyError, TypeError, ValueError, AttributeError):
            complete = False
        if not complete:
            raise UserError(f"{path} does not say what the shards hold; {_AGAIN}")
        for shard in range(len(self.rows)):
            for name in self._kinds:
                self._open(shard, name, mapped=True)  # checks header and size, reads no rows

    def __getitem__(self, name: str) -> ShardedColumn:
        stored = _SHIFTED.get(name, name)
        shape, dtype = self._kinds[stored]
        return ShardedColumn(
            self,
            stored,
            int(name in _SHIFTED),
            (int(self.rows.sum()), *shape),
            np.dtype("f4") if name == "terminals" else dtype,
        )

    def __iter__(self) -> Iterator[str]:
        return iter((*self._kinds, "next_observations"))

    def __len__(self) -> int:
        return len(self._kinds) + 1

    def shard(self, index: int) -> Arrays:
        """Read one shard into memory as regular transitions, labelled. Plain reads: no mapped pages pile up.

        Raises:
            UserError: the shard is damaged.
        """
        raw = {name: self._open(index, name) for name in self._kinds}
        self._ends(index, raw["terminals"])
        data = regular(raw)
        return self.label(data) if self.label else data

    def gather(self, column: str, shard: int, rows: np.ndarray, shift: int) -> np.ndarray:
        """What ``column`` holds ``shift`` rows after the transitions ``rows`` of a shard; reads those rows only."""
        ends = self._ends(shard, self._open(shard, "terminals"))
        episode = np.searchsorted(ends - np.arange(len(ends)), rows, side="right")
        return self._open(shard, column, mapped=True)[rows + episode + shift]

    def _ends(self, shard: int, terminals: np.ndarray) -> np.ndarray:
        ends = np.flatnonzero(terminals)
        if len(ends) != self.episodes[shard] or not terminals[-1]:
            raise UserError(f"{self.folder / file_name(shard, 'terminals')} does not fit {MANIFEST}; {_AGAIN}")
        return ends

    def _open(self, shard: int, name: str, *, mapped: bool = False) -> np.ndarray:
        path = self.folder / file_name(shard, name)
        shape, dtype = self._kinds[name]
        try:
            array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
            if not isinstance(array, np.ndarray):
                raise ValueError("it is an archive, not one array")
        except FileNotFoundError:
            raise UserError(f"{path} is missing; {_AGAIN}") from None
        except Exception as error:  # NumPy raises many kinds on bytes it does not like
            raise UserError(f"{path} cannot be read ({' '.join(str(error).split())[:200]}); {_AGAIN}") from error
        if array.shape != (self.rows[shard] + self.episodes[shard], *shape) or array.dtype != dtype:
            raise UserError(f"{path} holds {list(array.shape)} {array.dtype}, not what {MANIFEST} says; {_AGAIN}")
        return array


@dataclass(frozen=True)
class ShardedColumn:
    """One column over all shards, [rows, ...]; indexing with numbers of rows or a slice reads those rows only."""

    data: ShardedData
    stored: str
    shift: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | np.ndarray) -> np.ndarray:
        wanted = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else np.asarray(rows)
        if wanted.dtype == bool:
            raise IndexError("a mask chooses no rows here; give their numbers, np.flatnonzero(mask)")
        if wanted.size and (wanted.min() < -len(self) or wanted.max() >= len(self)):
            raise IndexError(f"row {wanted.max()} of a column of {len(self)} rows")
        flat = wanted.reshape(-1) % len(self)
        ends = np.cumsum(self.data.rows)
        shards = np.searchsorted(ends, flat, side="right")
        out = np.empty((flat.size, *self.shape[1:]), self.dtype)
        for shard in np.unique(shards).tolist():
            here = shards == shard
            local = flat[here] - (ends[shard] - self.data.rows[shard])
            out[here] = self.data.gather(self.stored, shard, local, self.shift)
        return out.reshape(*wanted.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{path.parent} is no folder of shards: it has no {MANIFEST}; make one with {COMMAND}"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())[:200]}); {_AGAIN}") from error
    version = manifest.get("version") if isinstance(manifest, dict) else None
    if version != VERSION:
        raise UserError(f"{path} has version {version}, this program reads {VERSION}; write the shards again")
    return manifest


def file_name(shard: int, column: str) -> str:
    """Name of the file that holds a column of a shard."""
    return f"{shard:05d}.{column}.npy"
