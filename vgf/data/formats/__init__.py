"""Readers of users' data: npz, HDF5 (D4RL, Minari), Parquet and Hugging Face data sets, all to one Recording."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from vgf.data.formats.hdf5 import read_hdf5
from vgf.data.formats.minari import MAIN_FILE, find_minari, is_minari_id
from vgf.data.formats.npz import read_npz_table
from vgf.data.formats.parquet import read_arrow, read_parquet, read_parquet_folder, read_saved_dataset
from vgf.data.formats.source import DICT_KEYS, ROLES, Source
from vgf.data.recording import Recording
from vgf.errors import UserError, did_you_mean

__all__ = ["read_recording"]

Reader = Callable[[Source], Recording]

_FILES: dict[str, Reader] = {
    ".npz": read_npz_table,
    ".hdf5": read_hdf5,
    ".h5": read_hdf5,
    ".parquet": read_parquet,
    ".pq": read_parquet,
    ".arrow": read_arrow,
}
# What a folder holds -> the file that is read (None: the folder itself) and how; the first that is there wins.
_FOLDERS: dict[str, tuple[str | None, Reader]] = {
    MAIN_FILE: (MAIN_FILE, read_hdf5),
    "main_data.hdf5": ("main_data.hdf5", read_hdf5),
    "state.json": (None, read_saved_dataset),
    "dataset_dict.json": (None, read_saved_dataset),
    "**/*.parquet": (None, read_parquet_folder),
}


def read_recording(
    path_or_id: str | Path,
    columns: Mapping[str, str] | None = None,
    *,
    finite: bool = True,
    dict_keys: tuple[str, ...] = DICT_KEYS,
) -> Recording:
    """Read a data set, in the format that its suffix or its folder says.

    Args:
        path_or_id: a file (.npz, .hdf5, .h5, .parquet, .arrow), a folder (of Minari, of Parquet files, of
            ``Dataset.save_to_disk``) or a Minari id such as ``mujoco/hopper/medium-v0``.
        columns: standard name -> the file's name, for columns called otherwise. Standard names: observations, actions,
            rewards, terminals, timeouts, masks, next_observations, episode.
        finite: NaN and infinity among observations, actions and rewards are an error; otherwise they are kept.
        dict_keys: which parts of Minari's Dict observations are put side by side, in this order.

    Raises:
        UserError: it cannot be read or is no data set of continuous actions; one line names file, key and row.
    """
    columns = dict(columns or {})
    for role in columns:
        if role not in ROLES:
            near = did_you_mean(role, ROLES)
            raise UserError(f"columns: {role!r} is no standard name; use {', '.join(ROLES)}.{near}")
    try:
        path = Path(path_or_id).expanduser()
        if not path.exists() and is_minari_id(str(path_or_id)):
            path = find_minari(str(path_or_id))
        path, read = _reader(path)
    except (OSError, ValueError, RuntimeError) as error:  # no permission, too long a name, no such user's home
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path_or_id!s:.200} is not a path that can be looked up ({error!s:.200})") from error
    return read(Source(path, columns, finite, dict_keys))


def _reader(path: Path) -> tuple[Path, Reader]:
    if path.is_dir():
        for pattern, (file, read) in _FOLDERS.items():
            if next(path.glob(pattern), None):
                return (path / file if file else path), read
        raise UserError(
            f"{path} is a folder without Minari's {MAIN_FILE} (HDF5), a saved Hugging Face data set or Parquet files; "
            "name the data file"
        )
    if not path.is_file():
        names = sorted(p.name for p in path.parent.glob("*") if p.is_dir() or p.suffix.lower() in _FILES)
        raise UserError(f"data set {path} does not exist; check the path.{did_you_mean(path.name, names)}")
    if path.suffix.lower() not in _FILES:
        raise UserError(f"{path}: files of type '{path.suffix}' are not read; use one of {', '.join(_FILES)}")
    return path, _FILES[path.suffix.lower()]
