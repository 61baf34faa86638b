"""Damaged data files of every reader: each is read, or refused in one line that names it."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import cases, complaint, run_cases
from hypothesis import strategies as st
from recorded import (
    MADE,
    minari_episodes,
    needs,
    numbered,
    record,
    save_hdf5,
    save_hugging_face,
    save_minari,
    save_npz,
    save_parquet,
    table,
)

from vgf.config import Config, DataConfig
from vgf.data.formats import read_recording
from vgf.data.npz import cut_transitions, read_npz, regular
from vgf.data.shards import ShardedData, split_episodes, write_shards
from vgf.data.validate import inspect, summary
from vgf.tasks.custom import prepare

Arrays = dict[str, Any]


def sound(case: str) -> Arrays:
    """Arrays of a good file; of Minari's format those of one episode."""
    if case == "minari":
        return minari_episodes(MADE)[3]
    if case in ("ogbench npz", "shards"):
        made = record([4, 3, 12], [False, True, False])
        return {"observations": made.observations, "actions": made.actions, "terminals": made.ends}
    return table(MADE)


def read_ogbench(path: Path) -> int:
    data = regular(cut_transitions(read_npz(path), 5))
    assert all(np.isfinite(column).all() for column in data.values())
    return len(data["actions"])


def read_custom(path: Path) -> int:
    """As far as task=custom goes, and what ``python -m vgf.data check`` says of it."""
    recording = read_recording(path, finite=False)
    inspect(recording)
    summary(recording)
    problem = prepare(Config(task="custom", env=None, data=DataConfig(path=str(path))))
    assert all(np.isfinite(column).all() for column in problem.train.values())
    assert np.abs(problem.train["actions"]).max() < 1
    return len(problem.train["actions"])


def read_shards(folder: Path) -> int:
    data = ShardedData(folder)
    for shard in range(len(data.rows)):
        data.shard(shard)
    return len(data["actions"][:])


def save_shards(folder: Path, arrays: Arrays) -> Path:
    write_shards(folder, split_episodes(arrays), rows_per_shard=9)
    return folder


READERS: dict[str, tuple[Callable[[Path, Arrays], Path], Callable[[Path], int]]] = {
    "ogbench npz": (lambda folder, made: save_npz(folder / "x.npz", made), read_ogbench),
    "npz": (lambda folder, made: save_npz(folder / "x.npz", made), read_custom),
    "hdf5": (lambda folder, made: save_hdf5(folder / "x.hdf5", made), read_custom),
    "minari": (lambda folder, made: save_minari(folder / "made-v0", [made]), read_custom),
    "parquet": (lambda folder, made: save_parquet(folder / "x.parquet", made), read_custom),
    "parquet, numbered": (lambda folder, made: save_parquet(folder / "x.parquet", numbered(made)), read_custom),
    "hugging face": (lambda folder, made: save_hugging_face(folder / "saved", made), read_custom),
    "shards": (lambda folder, made: save_shards(folder / "shards", made), read_shards),
}


# --- mutations of arrays: what a user's own script may have saved --------------------------------------------------

DTYPES = ("f2", "f8", ">f4", "i1", "i8", "u8", "bool", "c8", "S3", "U3", "M8[s]")
SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "transposed": lambda a: a.T.copy(),
    "flat": np.ravel,
    "one more axis": lambda a: a[..., None],
    "a number": lambda a: a.ravel()[:1].reshape(()),
    "no rows": lambda a: a[:0],
    "one row": lambda a: a[:1],
    "a row less": lambda a: a[:-1],
    "doubled": lambda a: np.concatenate([a, a]),
    "backwards": lambda a: a[::-1],
    "no columns": lambda a: a.reshape(len(a), -1)[:, :0],
}
NUMBERS = (np.nan, np.inf, -np.inf, 1e39, -1e308, 3e38, 0.0, 0.5, 2.0, -1.0, 5e-324)


@st.composite
def array_mutations(draw: st.DrawFn) -> Callable[[Arrays], Arrays]:
    """One to three changes of named arrays."""
    steps = draw(st.lists(st.tuples(st.integers(0, 20), st.one_of(
        st.sampled_from(DTYPES).map(lambda d: ("dtype", d)), st.sampled_from(list(SHAPES)).map(lambda s: ("shape", s)),
        st.tuples(st.sampled_from(NUMBERS), st.integers(0, 500)).map(lambda n: ("number", n)),
        st.just(("dropped", None)), st.sampled_from(["episode", "masks", "obs", "x" * 300, "a/b", "é"]).map(
            lambda name: ("copied", name)),
        st.integers(0, 20).map(lambda other: ("swapped", other)),
    )), min_size=1, max_size=3))  # fmt: skip

    def mutate(arrays: Arrays) -> Arrays:
        arrays = dict(arrays)
        for place, (what, how) in steps:
            if not arrays:
                return arrays
            name = sorted(arrays)[place % len(arrays)]
            array = np.asarray(arrays[name])
            if what == "dropped":
                del arrays[name]
            elif what == "copied":
                arrays[how] = array
            elif what == "swapped":
                other = sorted(arrays)[how % len(arrays)]
                arrays[name], arrays[other] = arrays[other], arrays[name]
            else:
                arrays[name] = _changed(array, what, how)
        return arrays

    return mutate


def _changed(array: np.ndarray, what: str, how: Any) -> np.ndarray:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if what == "dtype":
                return array.astype("i8").astype(how) if how.startswith("M") else array.astype(how)
            if what == "shape":
                return SHAPES[how](array)
            changed = array.astype("f8" if array.dtype.kind in "fiub" else array.dtype)
            changed.reshape(-1)[how[1] % max(array.size, 1)] = how[0]
            return changed
        except (ValueError, TypeError, IndexError):  # no such change of this array
            return array


def saved(case: str, folder: Path, arrays: Arrays) -> Path | None:
    """The file with these arrays, None where the format cannot hold them (or the shards' own writer refuses)."""
    try:
        with complaint():
            return READERS[case][0](folder, arrays)
    except Exception:
        if case == "shards":  # that writer is ours
            raise
    return None


ARRAY_CASES = ["ogbench npz", "npz", "hdf5", "minari", "parquet", "parquet, numbered", "shards"]


@pytest.mark.parametrize("case", ARRAY_CASES)
@cases(40, 400)
def test_arrays_changed(tmp_path: Path, case: str, count: int) -> None:
    needs(case)
    place = tmp_path / "x"

    def one(mutate: Callable[[Arrays], Arrays]) -> str:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        path = saved(case, place, mutate(sound(case)))
        return outcome(case, path) if path else "not to be saved"

    seen = run_cases(count, {"mutate": array_mutations()}, one)
    assert seen["refused"] or seen["not to be saved"]
    assert seen["read"]


# --- mutations of bytes: disks and networks -------------------------------------------------------------------------


@st.composite
def byte_mutations(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Flipped bits, overwritten or repeated stretches, a lost end."""
    share = st.floats(0, 1, exclude_max=True)
    flips = draw(st.lists(st.tuples(share, st.integers(0, 7)), max_size=8))
    block = draw(st.none() | st.tuples(share, share, st.integers(1, 64), st.booleans()))
    end = draw(st.none() | st.none() | share)

    def mutate(content: bytes) -> bytes:
        spoilt, size = bytearray(content), len(content)
        for place, bit in flips:
            spoilt[int(place * size)] ^= 1 << bit
        if block:
            to, of, length, zeros = block
            to, of = int(to * size), int(of * size)
            spoilt[to : to + length] = bytes(length) if zeros else spoilt[of : of + length]
        return bytes(spoilt if end is None else spoilt[: int(end * size)])

    return mutate


@pytest.mark.parametrize("case", READERS)
@cases(40, 400)
def test_bytes_changed(tmp_path: Path, case: str, count: int) -> None:
    needs(case)
    (tmp_path / "whole").mkdir()
    whole = READERS[case][0](tmp_path / "whole", sound(case))
    place = tmp_path / "x"
    names = [p.relative_to(whole) for p in sorted(whole.rglob("*")) if p.is_file()] if whole.is_dir() else None

    def one(mutate: Callable[[bytes], bytes], which: int) -> str:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        path = place / whole.name
        shutil.copytree(whole, path) if names else shutil.copy(whole, path)
        file = path / names[which % len(names)] if names else path
        file.write_bytes(mutate(file.read_bytes()))
        return outcome(case, path)

    seen = run_cases(count, {"mutate": byte_mutations(), "which": st.integers(0, 30)}, one)
    assert seen["refused"]
    assert seen["read"]


def outcome(case: str, path: Path) -> str:
    with complaint() as said:
        assert READERS[case][1](path) > 0
    return "refused" if said else "read"
