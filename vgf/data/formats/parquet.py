"""Parquet files and data sets saved by Hugging Face ``datasets``, read with pyarrow alone (an extra).

A column of vectors is list-valued (``observations``), or spread over numbered columns ``obs_0``, ``obs_1``, ...
A folder is read whole, its files in the order of their names, digits as numbers: ``part.2`` comes before ``part.10``.
Where some begin with ``train``, only those are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vgf.data.formats.source import Source
from vgf.data.formats.table import read_table
from vgf.data.recording import Recording
from vgf.errors import UserError
from vgf.files import is_plain_name

__all__ = ["read_arrow", "read_parquet", "read_parquet_folder", "read_saved_dataset"]

Open = Callable[[Path, Sequence[str] | None], Any]  # file, columns (None: no rows, only the schema) -> pyarrow.Table


def read_parquet(source: Source) -> Recording:
    """Read one Parquet file."""
    return _read(source, [source.path], _open_parquet, "Parquet file")


def read_arrow(source: Source) -> Recording:
    """Read one Arrow file, of the stream or the file format."""
    return _read(source, [source.path], _open_arrow, "Arrow file")


def read_parquet_folder(source: Source) -> Recording:
    """Read a folder of Parquet files and of folders of them, but for ``meta``: LeRobot's tables about its episodes."""
    inside = {path: path.relative_to(source.path) for path in source.path.rglob("*.parquet")}
    kept = [
        path for path, name in inside.items() if not any(part.startswith(".") or part == "meta" for part in name.parts)
    ]
    files = sorted(kept, key=lambda path: _natural(inside[path].as_posix()))
    training = [path for path in files if path.name.startswith("train")] or files
    recording = _read(source, training, _open_parquet, "Parquet folder")
    if not (left := len(files) - len(training)):
        return recording
    remark = f"{left} files are left out: the names of {len(training)} others begin with 'train', which alone are read"
    return replace(recording, remarks=(*recording.remarks, remark))


def _natural(name: str) -> tuple[list[int | str], str]:
    """A key to sort by in which digits count as numbers; equal numbers (``1``, ``01``) are in the order of the text."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)], name


def read_saved_dataset(source: Source) -> Recording:
    """Read what ``Dataset.save_to_disk`` wrote; of a DatasetDict, its ``train`` split."""
    folder = source.path
    if (folder / "dataset_dict.json").is_file():
        folder = folder / "train"
        if not folder.is_dir():
            raise source.complaint("this DatasetDict has no 'train' split; name the folder of one of its splits")
    with source.library("state.json"):
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        names = [part["filename"] for part in state["_data_files"]]
    if odd := [name for name in names if not is_plain_name(name)]:
        raise source.complaint(f"state.json names {odd[0]!r:.100}, which is no file of its own folder")
    files = [folder / name for name in names]
    return _read(source, files, _open_arrow, "Hugging Face data set")


def _read(source: Source, files: list[Path], open_table: Open, kind: str) -> Recording:
    """Read one table, its rows spread over ``files``.

    Raises:
        UserError: as :func:`vgf.data.formats.table.read_table`, for files that cannot be read, without pyarrow.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UserError(f'{source.path} needs pyarrow, which is not installed: pip install "vgf[data]"') from None
    if not files:
        raise source.complaint("the folder holds no data files")
    with source.library(files[0].name):
        names = list(open_table(files[0], None).column_names)
    numbered = _numbered(names)

    def read(key: str) -> np.ndarray:
        if key in names:
            return _read_column(source, files, open_table, key)
        parts = [f"{key}_{number}" for number in range(len(numbered[key]))]
        if missing := [part for part in parts if part not in names]:
            raise source.complaint(f"'{missing[0]}' is missing: the columns {key}_0, {key}_1, ... have a gap")
        columns = [_read_column(source, files, open_table, part) for part in parts]
        for part, column in zip(parts, columns, strict=True):
            if column.ndim != 1 or (column.dtype.kind in "fiub") != (columns[0].dtype.kind in "fiub"):
                raise source.complaint(f"'{part}' is not a column of single numbers as '{parts[0]}' is: mixed dtypes")
        return np.stack(columns, axis=1)

    return read_table(source, [*names, *numbered], read, kind)


def _numbered(names: Sequence[str]) -> dict[str, list[str]]:
    """Columns name_0, name_1, ... by name."""
    found: dict[str, list[str]] = {}
    for name in names:
        if match := re.fullmatch(r"(.+)_\d+", name):
            found.setdefault(match[1], []).append(name)
    return {base: parts for base, parts in found.items() if base not in names}


def _read_column(source: Source, files: list[Path], open_table: Open, key: str) -> np.ndarray:
    parts = []
    row = 0
    for path in files:
        with source.library(f"'{key}' of {path.name}"):
            column = open_table(path, [key]).column(key)
        if len(column) or len(files) == 1:  # an empty shard is nothing to complain about
            parts.append(_as_array(source, key, column, row))
        row += len(column)
    if len({(part.shape[1:], part.dtype.kind) for part in parts}) > 1:
        shapes = " and ".join(sorted({f"{list(part.shape[1:])} {part.dtype}" for part in parts}))
        raise source.complaint(f"'{key}' differs between files: {shapes}")
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _as_array(source: Source, key: str, column: Any, first_row: int) -> np.ndarray:
    """A pyarrow column as an array [rows] or [rows, size]; ``first_row``: its place in the data set."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.null_count:
        row = int(np.argmax(pc.is_null(column).to_numpy()))
        raise source.complaint(f"'{key}' has no value in row {first_row + row}; fill it in or drop that episode")
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.asarray(column.to_pylist(), dtype=np.str_)
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        with source.library(f"'{key}' ({kind})"):
            return np.asarray(column.to_numpy())
    with source.library(f"'{key}' ({kind})"):
        sizes = pc.list_value_length(column).to_numpy()
        values = pc.list_flatten(column)
    if (odd := np.flatnonzero(sizes != sizes[:1])).size:
        ragged = f"{sizes[odd[0]]} entries in row {first_row + odd[0]} but {sizes[0]} in row {first_row}"
        raise source.complaint(f"'{key}' has {ragged}; all must agree")
    if values.null_count:
        row = int(np.argmax(pc.is_null(values).to_numpy())) // int(sizes[0])
        raise source.complaint(f"'{key}' lacks a number in row {first_row + row}; fill it in or drop that episode")
    with source.library(f"'{key}' ({kind})"):
        return np.asarray(values.to_numpy()).reshape(len(sizes), int(sizes[0]) if sizes.size else 0)


def _open_parquet(path: Path, columns: Sequence[str] | None) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.schema_arrow.empty_table() if columns is None else _validated(file.read(columns=list(columns)))


def _open_arrow(path: Path, columns: Sequence[str] | None) -> Any:
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        is_file_format = bytes(file.read(6)) == b"ARROW1"
        file.seek(0)
        reader = pa.ipc.open_file(file) if is_file_format else pa.ipc.open_stream(file)
        return reader.schema.empty_table() if columns is None else _validated(reader.read_all().select(list(columns)))


def _validated(table: Any) -> Any:
    """The table; pyarrow's functions follow a damaged offset out of its buffer, and the process ends there."""
    table.validate(full=True)
    return table
