"""Small recordings, and writers that put them into files of every format a user may come with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from vgf.data.formats import read_recording
from vgf.data.recording import Recording
from vgf.errors import UserError

Arrays = dict[str, Any]

FIELDS = ("observations", "actions", "rewards", "next_observations", "terminated", "ends")


def record(lengths: list[int], terminated: list[bool], *, size: int = 3, seed: int = 0) -> Recording:
    """Random episodes of these lengths; inside an episode the next observation is the following row's."""
    rng, rows = np.random.default_rng(seed), sum(lengths)
    last = np.cumsum(lengths) - 1
    observations = rng.normal(size=(rows, size)).astype(np.float32)
    following = np.append(observations[1:], observations[:1], axis=0)
    following[last] = rng.normal(size=(len(lengths), size))
    ends, done = np.zeros((2, rows), bool)
    ends[last] = True
    done[last] = terminated
    actions = rng.uniform(-1, 1, (rows, 2)).astype(np.float32)
    return Recording(observations, actions, rng.normal(size=rows).astype(np.float32), following, done, ends, "made")


def table(recording: Recording) -> Arrays:
    """Named columns, next observations among them."""
    names = ("observations", "actions", "rewards", "next_observations")
    columns = {name: getattr(recording, name).copy() for name in names}
    return {**columns, "terminals": recording.terminated, "timeouts": recording.ends & ~recording.terminated}


def without_successors(recording: Recording) -> Arrays:
    """Named columns as in D4RL's antmaze files: each cut episode ends in one more row, which leads nowhere."""
    parts: dict[str, list[np.ndarray]] = {}
    for start, length in zip(recording.starts, recording.lengths, strict=True):
        rows = slice(start, start + length)
        last = start + length - 1
        cut = int(not recording.terminated[last])
        more = {
            "observations": recording.next_observations[last:][:cut],
            "actions": np.full((cut, 2), 9, np.float32),
            "rewards": np.full(cut, 9, np.float32),
        }
        for name, array in more.items():
            parts.setdefault(name, []).append(np.concatenate([getattr(recording, name)[rows], array]))
        flag = np.zeros(length + cut, bool)
        flag[-1] = True
        parts.setdefault("terminals", []).append(flag & (not cut))
        parts.setdefault("timeouts", []).append(flag & cut)
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def save_npz(path: Path, arrays: Arrays) -> Path:
    np.savez(path, **arrays)
    return path


def save_hdf5(path: Path, arrays: Arrays) -> Path:
    """D4RL's layout, with the groups that its files have besides."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression="gzip" if array.size else None)
        file.create_group("infos")["goal"] = np.zeros((len(arrays.get("rewards", [])), 2))
        file.create_group("metadata")["algorithm"] = "SAC"
    return path


def minari_episodes(recording: Recording) -> list[Arrays]:
    """One dict an episode, with the arrays of Minari's layout."""
    episodes = []
    for start, length in zip(recording.starts, recording.lengths, strict=True):
        rows, last = slice(start, start + length), start + length - 1
        end = np.zeros(length, bool)
        end[-1] = True
        episodes.append(
            {
                "observations": np.append(recording.observations[rows], recording.next_observations[last:][:1], axis=0),
                "actions": recording.actions[rows],
                "rewards": recording.rewards[rows],
                "terminations": end & recording.terminated[last],
                "truncations": end & ~recording.terminated[last],
            }
        )
    return episodes


def save_minari(folder: Path, episodes: list[Arrays]) -> Path:
    """A Minari data set in ``folder``; dicts become groups."""
    (folder / "data").mkdir(parents=True)
    with h5py.File(folder / "data" / "main_data.hdf5", "w") as file:
        for number, episode in enumerate(episodes):
            _fill(file.create_group(f"episode_{number}"), episode)
    return folder


def _fill(group: h5py.Group, arrays: Arrays) -> None:
    for name, array in arrays.items():
        if isinstance(array, dict):
            _fill(group.create_group(name), array)
        else:
            group[name] = array


def save_parquet(path: Path, arrays: Arrays) -> Path:
    """List-valued columns for matrices."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({name: _column(array) for name, array in arrays.items()}), path)
    return path


def numbered(arrays: Arrays) -> Arrays:
    """Matrices spread over columns ``name_0``, ``name_1``, ..."""
    spread: Arrays = {}
    for name, array in arrays.items():
        spread |= {f"{name}_{i}": column for i, column in enumerate(array.T)} if array.ndim == 2 else {name: array}
    return spread


def save_hugging_face(folder: Path, arrays: Arrays) -> Path:
    """What ``Dataset.save_to_disk`` writes, in two shards."""
    import datasets

    datasets.disable_progress_bars()
    data = datasets.Dataset.from_dict({name: _column(array) for name, array in arrays.items()})
    data.save_to_disk(str(folder), num_shards=2)
    return folder


def _column(array: np.ndarray) -> Any:
    return list(array) if array.ndim > 1 else array


WRITERS: dict[str, Callable[[Path, Recording], Path]] = {
    "npz": lambda folder, made: save_npz(folder / "x.npz", table(made)),
    "npz without successors": lambda folder, made: save_npz(folder / "x.npz", without_successors(made)),
    "hdf5": lambda folder, made: save_hdf5(folder / "x.hdf5", table(made)),
    "hdf5 without successors": lambda folder, made: save_hdf5(folder / "x.h5", without_successors(made)),
    "minari": lambda folder, made: save_minari(folder / "made-v0", minari_episodes(made)),
    "parquet": lambda folder, made: save_parquet(folder / "x.parquet", table(made)),
    "parquet, numbered": lambda folder, made: save_parquet(folder / "x.parquet", numbered(table(made))),
    "hugging face": lambda folder, made: save_hugging_face(folder / "saved", table(made)),
}
NEEDS_PYARROW = ("parquet", "parquet, numbered", "hugging face")

MADE = record([4, 1, 3, 12], [False, False, True, True])


def needs(case: str) -> None:
    for module in ("pyarrow", "datasets")[: 2 if case == "hugging face" else case in NEEDS_PYARROW]:
        pytest.importorskip(module)


def assert_equal(ours: Recording, theirs: Recording) -> None:
    """All fields, but for next observations of terminated rows, which nothing looks at."""
    for name in FIELDS:
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert mine.dtype == other.dtype == (bool if name in ("terminated", "ends") else np.float32)
        rows = ~theirs.terminated if name == "next_observations" else slice(None)
        np.testing.assert_array_equal(mine[rows], other[rows], err_msg=name)


def refused(path: Path | str, message: str, columns: dict[str, str] | None = None) -> str:
    with pytest.raises(UserError, match=message) as caught:
        read_recording(path, columns)
    assert "\n" not in str(caught.value)
    return str(caught.value)
