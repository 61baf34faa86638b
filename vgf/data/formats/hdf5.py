"""HDF5 files in D4RL's layout: one data set a column at the top level.

Groups such as ``infos/`` and ``metadata/`` are ignored. The antmaze files have no ``next_observations``; see
:mod:`vgf.data.formats.table` for what stands in. A file with ``episode_0``, ``episode_1``, ... is Minari's. Numbers
that lie in other files (external links, external storage, virtual data sets) are not read.
"""

from __future__ import annotations

import math
import re
from typing import Any

import h5py
import numpy as np

from vgf.data.formats.minari import read_episodes
from vgf.data.formats.source import Source
from vgf.data.formats.table import read_table
from vgf.data.recording import Recording

__all__ = ["read_hdf5"]

_LARGEST_RATIO = 2000  # of compression; gzip reaches about 1000
_SMALL = 2**24  # bytes that are worth no suspicion


def read_hdf5(source: Source) -> Recording:
    """Read D4RL's or Minari's layout, whichever the file has.

    Raises:
        UserError: as :func:`vgf.data.formats.table.read_table`, and for files that cannot be read.
    """
    with source.library("the HDF5 file"):
        file = h5py.File(source.path, "r", locking="best-effort")
    with file:
        with source.library("the HDF5 file"):
            names = _names(file)

        def read(key: str) -> np.ndarray:
            return _read_array(source, file, key)

        episodes = sorted((name for name in names if re.fullmatch(r"episode_\d+", name)), key=_number)
        if episodes:
            return read_episodes(source, episodes, lambda name: _keys_of(source, file, name), read)
        return read_table(source, names, read, "HDF5 file")


def _names(group: Any) -> list[str]:
    return [name for name in group if isinstance(name, str)]  # bytes where a damaged name is not UTF-8


def _number(name: str) -> int:
    return int(name.removeprefix("episode_"))


def _keys_of(source: Source, file: Any, name: str) -> list[str] | None:
    """Names in a group, or None where ``name`` is an array."""
    with source.library(f"'{name}'"):
        node = file[name]
        names = sorted(_names(node)) if isinstance(node, h5py.Group) else None
    _require_own(source, file, node, name)
    return names


def _require_own(source: Source, file: Any, node: Any, key: str) -> None:
    """Refuse what another file holds: a data set from a stranger could name any file that its reader may open."""
    with source.library(f"'{key}'"):
        elsewhere = node.file.filename != file.filename
        if isinstance(node, h5py.Dataset):
            elsewhere = elsewhere or bool(node.external) or node.is_virtual
    if elsewhere:
        raise source.complaint(f"'{key}' lies in another file, which is not followed; copy the array into this one")


def _read_array(source: Source, file: Any, key: str) -> np.ndarray:
    with source.library(f"'{key}'"):
        node = file[key]
        is_array = isinstance(node, h5py.Dataset)
        dtype, shape = (node.dtype, node.shape) if is_array else (None, None)
    _require_own(source, file, node, key)
    if dtype is None:
        raise source.complaint(f"'{key}' is a group, not an array; flatten it into one array")
    if dtype.kind == "O" or shape is None:
        return np.empty(0, object)  # text, ragged rows, nothing at all; complained about by their dtype
    size = math.prod(shape) * dtype.itemsize
    if size > _SMALL and size > _LARGEST_RATIO * source.path.stat().st_size:  # a damaged header; do not allocate that
        raise source.complaint(f"'{key}' claims {size / 1e9:,.1f} GB, more than the file can hold; it is damaged")
    with source.library(f"'{key}'"):
        return np.asarray(node[()])
