"""Where data lie: Minari's episodes, folders of Parquet files, missing and damaged files."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorded import (
    MADE,
    WRITERS,
    Arrays,
    assert_equal,
    minari_episodes,
    needs,
    record,
    refused,
    save_hugging_face,
    save_minari,
    save_npz,
    save_parquet,
    table,
)  # fmt: skip

from vgf.data.formats import read_recording
from vgf.errors import UserError


def in_third(name: str, change: Callable[[np.ndarray], object]) -> Callable[[list[Arrays]], None]:
    def spoil(episodes: list[Arrays]) -> None:
        episodes[2][name] = change(episodes[2][name])

    return spoil


def put_nan(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[1] = np.nan
    return array


def emptied(episodes: list[Arrays]) -> None:
    episodes[2] = {name: array[: name == "observations"] for name, array in episodes[2].items()}


def cleared(episodes: list[Arrays]) -> None:
    episodes[2].clear()


def as_goals(*names: str) -> Callable[[list[Arrays]], None]:
    def spoil(episodes: list[Arrays]) -> None:
        episodes[0]["observations"] = dict.fromkeys(names, episodes[0]["observations"])

    return spoil


def goal(array: object) -> Callable[[list[Arrays]], None]:
    def spoil(episodes: list[Arrays]) -> None:
        episodes[0]["observations"] = {"observation": episodes[0]["observations"], "desired_goal": array}

    return spoil


BAD_MINARI: dict[str, tuple[Callable[[list[Arrays]], object], str]] = {
    "no steps": (emptied, "'episode_2' has no steps"),
    "no rewards": (lambda e: e[1].pop("rewards"), r"'episode_1' has no 'rewards' \(it has 'actions'"),
    "no terminations": (lambda e: e[1].pop("terminations"), r"'episode_1' has no 'terminals'"),
    "nothing": (cleared, r"'episode_2' has no 'observations' \(it has nothing"),
    "as many": (in_third("observations", lambda x: x[1:]), "'episode_2': observations have 3 rows; 3 actions need 4"),
    "short": (in_third("rewards", lambda x: x[1:]), "'episode_2': rewards have 2 rows; 3 actions need 3"),
    "wider": (in_third("actions", lambda x: np.tile(x, 2)), "actions of 'episode_2' have 4 columns"),
    "mixed": (in_third("actions", lambda x: x.astype(np.float64)), "mixed dtypes: 'episode_2/actions' is float64"),
    "discrete": (lambda e: e[0].update(actions=np.zeros(4, int)), "discrete actions .* 'episode_0/actions'"),
    "NaN": (in_third("rewards", put_nan), "'episode_2/rewards' holds NaN or infinity, first in row 1"),
    "dict actions": (in_third("actions", lambda x: {"a": x}), "'episode_2/actions' is a group"),
    "no goal": (as_goals("observation", "pixels"), r"no 'desired_goal' \(it has 'observation', 'pixels'\)"),
    "goal of text": (goal(np.array([b"x"] * 5)), "'episode_0/observations/desired_goal' has shape"),
    "short goal": (goal(np.zeros((3, 2))), r"'episode_0/observations/observation' has shape \[5, 3\]"),
    "empty goal": (goal({}), "'episode_0/observations/desired_goal' is an empty group"),
}


@pytest.mark.parametrize("case", BAD_MINARI)
def test_bad_minari(tmp_path: Path, case: str) -> None:
    spoil, message = BAD_MINARI[case]
    episodes = minari_episodes(MADE)
    spoil(episodes)
    folder = save_minari(tmp_path / "x-v0", episodes)
    assert "main_data.hdf5" in refused(folder, message)


def test_minari_files(tmp_path: Path) -> None:
    """More than ten episodes are in the order of their numbers; flags that are both set are remarked."""
    many = record([2] * 12, [True] * 12)
    episodes = minari_episodes(many)
    episodes[3]["truncations"] = episodes[3]["terminations"]
    folder = save_minari(tmp_path / "x-v0", episodes)
    for path in (folder, folder / "data", folder / "data" / "main_data.hdf5"):
        assert_equal(read_recording(path), many)
    assert "both set in 1 rows" in read_recording(folder).remarks[0]
    with h5py.File(tmp_path / "y.hdf5", "w") as file:
        file["episode_0"] = np.zeros(3)
    refused(tmp_path / "y.hdf5", "'episode_0' is an array, not the group")


def test_folders_of_parquet_files(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    arrays = table(MADE)
    whole = pq.read_table(save_parquet(tmp_path / "x.parquet", arrays))
    hub = tmp_path / "hub"
    for name, begin, end in (("train-0", 0, 9), ("train-1", 9, 9), ("train-2", 9, 20), ("test-0", 3, 7)):
        (hub / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(whole.slice(begin, end - begin), hub / "data" / f"{name}.parquet")
    (hub / "meta").mkdir()
    (hub / "meta" / "train.parquet").write_bytes(b"tables of another kind")
    read = read_recording(hub)
    assert_equal(read, MADE)
    assert read.remarks == ("1 files are left out: the names of 3 others begin with 'train', which alone are read",)
    (hub / "data" / "test-0.parquet").unlink()
    assert read_recording(hub).remarks == ()
    save_parquet(hub / "data" / "train-3.parquet", {**arrays, "actions": np.zeros((20, 5))})
    refused(hub, r"'actions' differs between files: \[2\] float32 and \[5\] float64")
    save_parquet(hub / "data" / "train-3.parquet", {"actions": arrays["actions"]})
    refused(hub, r"'observations' of train-3\.parquet cannot be read")


def test_parquet_files_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Dask writes ``part.10`` without leading zeros."""
    pytest.importorskip("pyarrow")
    arrays = table(MADE)
    for part in range(12):
        rows = slice(part, part + 1) if part < 11 else slice(part, None)
        save_parquet(tmp_path / f"part.{part}.parquet", {name: array[rows] for name, array in arrays.items()})
    assert_equal(read_recording(tmp_path), MADE)


def test_dotted_column_names(tmp_path: Path) -> None:
    """As LeRobot has them."""
    pytest.importorskip("pyarrow")
    arrays = table(MADE)
    arrays["observation.state"] = arrays.pop("observations")
    path = save_parquet(tmp_path / "x.parquet", arrays)
    assert_equal(read_recording(path, {"observations": "observation.state"}), MADE)


def test_hugging_face_folders(tmp_path: Path) -> None:
    needs("hugging face")
    saved = save_hugging_face(tmp_path / "saved", table(MADE))
    first = read_recording(min(saved.glob("*.arrow")))
    np.testing.assert_array_equal(first.observations, MADE.observations[: len(first)])
    assert 0 < len(first) < len(MADE)
    both = tmp_path / "both"
    shutil.copytree(saved, both / "train")
    (both / "dataset_dict.json").write_text(json.dumps({"splits": ["train"]}))
    assert_equal(read_recording(both), MADE)
    shutil.move(both / "train", both / "test")
    refused(both, "no 'train' split")
    (saved / "state.json").write_text("{}")
    refused(saved, r"state\.json cannot be read")


def test_an_arrow_file_whose_offsets_lead_out_of_it_is_refused(tmp_path: Path) -> None:
    """Unchecked, reading it ends the process."""
    pa = pytest.importorskip("pyarrow")
    arrays = table(MADE)
    columns = {name: list(array) if array.ndim > 1 else array for name, array in arrays.items()}
    path = tmp_path / "x.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, (made := pa.table(columns)).schema) as writer:
        writer.write_table(made)
    assert_equal(read_recording(path), MADE)
    size, content = arrays["observations"].shape[1], path.read_bytes()
    offsets = (np.arange(len(MADE) + 1) * size).astype("<i4")
    assert offsets.tobytes() in content
    broken = offsets.copy()
    broken[-1] = 2**30
    path.write_bytes(content.replace(offsets.tobytes(), broken.tobytes()))
    refused(path, r"'observations' of x\.arrow cannot be read")


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    refused(tmp_path / "x.parquet", r'needs pyarrow.*pip install "vgf\[data\]"')


def test_missing_and_unknown_files(tmp_path: Path) -> None:
    save_npz(tmp_path / "hopper.npz", table(MADE))
    refused(tmp_path / "hoper.npz", r"does not exist; check the path\. Did you mean 'hopper\.npz'")
    refused(tmp_path / "no" / "such" / "x.hdf5", "does not exist")
    refused(tmp_path, "is a folder without")
    refused(tmp_path / ("x" * 300 + ".npz"), "cannot be looked up|is not a path")
    refused("a\0b.npz", "is not a path that can be looked up|does not exist")
    refused("~nobody_of_this_name/x.npz", "is not a path that can be looked up")
    (tmp_path / "x.pkl").write_bytes(b"")
    refused(tmp_path / "x.pkl", r"files of type '\.pkl' are not read; use one of \.npz")
    np.save(tmp_path / "one.npy", MADE.observations)
    shutil.move(tmp_path / "one.npy", tmp_path / "one.npz")
    refused(tmp_path / "one.npz", "a single array")
    (tmp_path / "empty.h5").write_bytes(b"")
    refused(tmp_path / "empty.h5", "the HDF5 file cannot be read .*damaged, incomplete or of another format")
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file["observations/pixels"] = np.zeros(3)
        for name in ("actions", "rewards", "terminals"):
            file[name] = np.zeros(3)
    refused(tmp_path / "group.h5", "'observations' is a group")


def test_a_size_that_the_file_cannot_hold_is_not_allocated(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in ("actions", "rewards", "terminals"):
            file[name] = np.zeros(3)
        file.create_dataset("observations", (10**9, 100), np.float32, chunks=(1000, 100))
    refused(tmp_path / "x.h5", r"'observations' claims 400\.0 GB")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("case", ["npz", "hdf5"])
def test_no_permission(tmp_path: Path, case: str) -> None:
    path = WRITERS[case](tmp_path, MADE)
    path.chmod(0)
    refused(path, "no permission")


@pytest.mark.parametrize("case", ["npz", "hdf5", "minari", "parquet"])
# Derandomised: libraries in C read these bytes, and what a test run meets should not be a matter of luck.
@settings(deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_load_or_are_a_user_error(tmp_path: Path, case: str, data: st.DataObject) -> None:
    needs(case)
    whole = tmp_path / "whole"
    if not whole.exists():
        whole.mkdir()
        WRITERS[case](whole, MADE)
    original = next(path for path in whole.rglob("*") if path.is_file())
    content = bytearray(original.read_bytes())
    places = st.integers(0, len(content) - 1)
    for place, value in data.draw(st.dictionaries(places, st.integers(0, 255), min_size=1, max_size=6)).items():
        content[place] = value
    path = tmp_path / f"spoilt{original.suffix}"
    path.write_bytes(content[: data.draw(st.none() | places)])
    try:
        read = read_recording(path)
    except UserError as error:
        message = str(error)
    else:
        message = ""
        assert read.ends[-1]
        assert len({len(array) for array in read.regular().values()}) == 1
    assert "\n" not in message
