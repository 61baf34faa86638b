"""Readers of users' data: one Recording whatever the format, and one line for whatever is wrong with a file."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorded import (
    MADE,
    NEEDS_PYARROW,
    WRITERS,
    Arrays,
    assert_equal,
    minari_episodes,
    needs,
    numbered,
    record,
    refused,
    save_hdf5,
    save_minari,
    save_npz,
    save_parquet,
    table,
    without_successors,
)  # fmt: skip

from vgf.data.formats import read_recording
from vgf.data.store import TransitionStore
from vgf.data.validate import inspect


@pytest.mark.parametrize("case", WRITERS)
def test_every_format_gives_the_same_recording(tmp_path: Path, case: str) -> None:
    needs(case)
    path = WRITERS[case](tmp_path, MADE)
    read = read_recording(path)
    assert_equal(read, MADE)
    assert path.name in read.origin
    assert ("dropped" in " ".join(read.remarks)) == ("without" in case)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=st.sampled_from([case for case in WRITERS if case not in NEEDS_PYARROW and case != "minari"]),
    episodes=st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=6),
)
def test_any_episodes_come_back(tmp_path: Path, case: str, episodes: list[tuple[int, bool]]) -> None:
    made = record(*map(list, zip(*episodes, strict=True)))
    read = read_recording(WRITERS[case](tmp_path, made))
    assert_equal(read, made)
    np.testing.assert_array_equal(read.lengths, [length for length, _ in episodes])


def test_stores_take_what_regular_gives() -> None:
    data = MADE.regular()
    np.testing.assert_array_equal(np.flatnonzero(data["terminals"]), [3, 4, 7, 19])
    np.testing.assert_array_equal(np.flatnonzero(data["masks"] == 0), [7, 19])
    store = TransitionStore(data, chunk=2, n_step=3, discount=0.9)
    np.testing.assert_allclose(store.discounts[:8], [0.9**3, 0.9**3, 0.9**2, 0.9, 0.9, 0, 0, 0], rtol=1e-6)


def test_episodes_and_places() -> None:
    some = MADE.episodes([3, 0])
    np.testing.assert_array_equal(some.observations, np.concatenate([MADE.observations[:4], MADE.observations[8:]]))
    np.testing.assert_array_equal(some.lengths, [4, 12])
    assert MADE.place(4) == "row 4 (episode 1, step 0)"
    assert MADE.place(19) == "row 19 (episode 3, step 11)"
    np.testing.assert_allclose(MADE.returns[3], MADE.rewards[8:].sum(), rtol=1e-5)


def test_masks_decide_what_is_terminated_as_in_ogbench(tmp_path: Path) -> None:
    masks = np.ones(20, np.float32)
    masks[[2, 7]] = 0
    arrays = {**table(MADE), "terminals": MADE.ends, "masks": masks}
    del arrays["timeouts"]
    read = read_recording(save_npz(tmp_path / "x.npz", arrays))
    np.testing.assert_array_equal(read.ends, MADE.ends)
    np.testing.assert_array_equal(np.flatnonzero(read.terminated), [2, 7])


def test_time_limits_alone_are_cuts(tmp_path: Path) -> None:
    cut = record([4, 1, 3], [False] * 3)
    arrays = table(cut)
    del arrays["terminals"]
    path = save_npz(tmp_path / "x.npz", arrays)
    assert_equal(read_recording(path), cut)
    assert read_recording(path).remarks == (
        "the file has no terminals: every episode counts as cut, none as terminated",
    )
    refused(path, "'timeouts' would be read as terminals and as timeouts.*leave out", {"terminals": "timeouts"})


def test_both_flags_set_is_remarked(tmp_path: Path) -> None:
    arrays = {**table(MADE), "timeouts": MADE.ends}
    read = read_recording(save_npz(tmp_path / "x.npz", arrays))
    assert_equal(read, MADE)
    assert read.remarks == ("terminals and timeouts are both set in 2 rows, first in row 7; they count as terminals",)


@pytest.mark.parametrize("rows", [[1, 1], [1]])
def test_nothing_is_left_of_one_row_episodes_without_successors(tmp_path: Path, rows: list[int]) -> None:
    arrays = table(record(rows, [False] * len(rows)))
    del arrays["next_observations"]
    refused(save_npz(tmp_path / "x.npz", arrays), "no transition left")


def test_renamed_columns(tmp_path: Path) -> None:
    arrays = table(MADE)
    renamed = {"state": arrays.pop("observations"), "successor": arrays.pop("next_observations"), **arrays}
    path = save_hdf5(tmp_path / "x.hdf5", renamed)
    refused(path, r"no 'observations' \(it has 'actions', 'infos', .*'state'.*columns observations=NAME")
    names = {"observations": "state", "next_observations": "successor"}
    assert_equal(read_recording(path, names), MADE)
    refused(path, "no 'stat' .* Did you mean 'state'", {"observations": "stat"})
    refused(path, "'observation' is no standard name.* Did you mean 'observations'", {"observation": "state"})


@pytest.mark.parametrize("number", [np.int64, np.float64, np.str_])
@pytest.mark.parametrize("name", ["episode", "episode_id", "episode_index"])
def test_an_episode_column_cuts(tmp_path: Path, name: str, number: type) -> None:
    pytest.importorskip("pyarrow")
    cut = record([4, 1, 3], [False, False, False])
    arrays = table(cut)
    del arrays["terminals"], arrays["timeouts"]
    numbers = np.repeat(np.array([7, 2, 5]).astype(number), cut.lengths)
    assert_equal(read_recording(save_parquet(tmp_path / "x.parquet", {**arrays, name: numbers})), cut)
    again = np.repeat(np.array([7, 2, 7]).astype(number), cut.lengths)
    refused(save_parquet(tmp_path / "y.parquet", {**arrays, name: again}), rf"'{name}' is 7(\.0)? again in row 5")


def test_dict_observations_are_put_side_by_side_in_alphabetical_order(tmp_path: Path) -> None:
    episodes = minari_episodes(MADE)
    for episode in episodes:
        state = episode["observations"]
        goal = {"z": state[:, :1], "a": state[:, 1]}  # as nested as FrankaKitchen's
        episode["observations"] = {"observation": state, "achieved_goal": state[:, :1], "desired_goal": goal}
    read = read_recording(save_minari(tmp_path / "kitchen-v0", episodes))
    np.testing.assert_array_equal(read.observations, MADE.observations[:, [1, 0, 0, 1, 2]])
    np.testing.assert_array_equal(read.actions, MADE.actions)


def without(name: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {key: array for key, array in arrays.items() if key != name}


def changed(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, name: change(arrays[name])}


def put(value: float, *where: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.float64)
        array[where] = value
        return array

    return change


BAD = {
    "no actions": (without("actions"), r"has no 'actions' \(it has "),
    "no ends": (
        lambda a: without("terminals")(without("timeouts")(a)),
        r"has no 'terminals' .*terminals=NAME or timeouts=NAME or episode=NAME",
    ),
    "nothing": (lambda arrays: {}, "has no 'observations'"),
    "near name": (lambda a: {**without("rewards")(a), "rewrads": a["rewards"]}, "Did you mean 'rewrads'"),
    "flat": (changed("observations", np.ravel), r"'observations' has shape \[60\]; it should be \[rows, size\]"),
    "pixels": (changed("observations", lambda x: x[:, :, None]), r"shape \[20, 3, 1\]"),
    "column of rewards": (changed("rewards", lambda x: x[:, None]), r"'rewards' has shape \[20, 1\]; .* \[rows\]"),
    "no columns": (changed("actions", lambda x: x[:, :0]), "'actions' is empty"),
    "no rows": (lambda a: {key: array[:0] for key, array in a.items()}, "'observations' is empty, of shape"),
    "short rewards": (changed("rewards", lambda x: x[:-1]), "'rewards' has 19 rows but 'observations' has 20"),
    "other size": (changed("next_observations", lambda x: x[:, :2]), r"shape \[20, 3\] but 'next_obs.*' \[20, 2\]"),
    "mixed": (changed("next_observations", lambda x: x.astype(int)), "mixed dtypes: 'observations' is float32 but"),
    "discrete": (changed("actions", lambda x: x.astype(np.int64)), "discrete actions are not supported: 'actions'"),
    "flat discrete": (changed("actions", lambda x: x[:, 0] > 0), "discrete actions are not supported"),
    "complex": (changed("observations", lambda x: x.astype(complex)), "dtype complex128"),
    "NaN": (changed("observations", put(np.nan, 4, 1)), "'observations' holds NaN or infinity, first in row 4"),
    "infinity": (changed("rewards", put(-np.inf, 2)), "'rewards' holds NaN or infinity, first in row 2"),
    "too large": (changed("actions", put(1e300, 5, 0)), "'actions' holds NaN or infinity, first in row 5"),
    "terminal NaN": (changed("terminals", put(np.nan, 1)), "'terminals' is nan in row 1"),
    "timeout half": (changed("timeouts", put(0.5, 3)), r"'timeouts' is 0\.5 in row 3; it should be 0 or 1"),
    "fields": (changed("rewards", lambda x: x.view([("a", "f2"), ("b", "f2")])), "several fields of mixed dtypes"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("save", [save_npz, save_hdf5])
def test_bad_columns(tmp_path: Path, case: str, save: Callable[[Path, Arrays], Path]) -> None:
    spoil, message = BAD[case]
    path = save(tmp_path / ("x.npz" if save is save_npz else "x.hdf5"), spoil(table(MADE)))
    assert str(path) in refused(path, message)


def test_non_finite_values_are_let_through_on_request(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "x.npz", changed("observations", put(np.nan, 4, 1))(table(MADE)))
    assert np.isnan(read_recording(path, finite=False).observations).sum() == 1


@pytest.mark.parametrize("value", [np.nan, 1e300])
def test_next_observations_may_be_anything_where_the_data_terminate(tmp_path: Path, value: float) -> None:
    """As a table shifted within its episodes has them."""
    path = save_npz(tmp_path / "x.npz", changed("next_observations", put(value, MADE.terminated))(table(MADE)))
    assert_equal(read_recording(path), MADE)
    assert all(np.isfinite(array).all() for array in read_recording(path).regular().values())
    assert not [finding for finding in inspect(read_recording(path, finite=False)) if finding.serious]
    path = save_npz(tmp_path / "x.npz", changed("next_observations", put(value, MADE.ends))(table(MADE)))
    refused(path, "'next_observations' holds NaN or infinity, first in row 3")


@pytest.mark.parametrize("successors", [True, False])
def test_reading_holds_one_column_of_the_file_beside_what_it_returns(tmp_path: Path, successors: bool) -> None:
    made = record([100] * 20, [True, False] * 10, size=64)
    arrays = table(made) if successors else without_successors(made)
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
    path = save_npz(tmp_path / "x.npz", arrays)
    column = arrays["observations"].nbytes
    tracemalloc.start()
    try:
        read = read_recording(path)
        assert tracemalloc.get_traced_memory()[1] < 2.3 * column  # two columns of float32 and one of float64: 2
    finally:
        tracemalloc.stop()
    assert_equal(read, made)


def test_objects_and_text_are_never_loaded(tmp_path: Path) -> None:
    for name, change in (("rewards", lambda x: x.astype(object)), ("actions", lambda x: x.astype(str))):
        path = save_npz(tmp_path / "x.npz", changed(name, change)(table(MADE)))
        refused(path, rf"'{name}' holds (Python objects or text, which are never loaded|dtype <U\d+, not numbers)")
    text = [str(x) for x in MADE.rewards]
    refused(save_hdf5(tmp_path / "x.hdf5", {**table(MADE), "rewards": np.array(text, h5py.string_dtype())}), "text")


def ragged(array: np.ndarray) -> list[np.ndarray]:
    return [row if i != 6 else row[:-1] for i, row in enumerate(array)]


BAD_PARQUET = {
    "ragged": (lambda a: {**a, "actions": ragged(a["actions"])}, "'actions' has 1 entries in row 6 but 2 in row 0"),
    "no value": (lambda a: {**a, "rewards": [None, *a["rewards"][1:]]}, "'rewards' has no value in row 0"),
    "no number": (lambda a: {**a, "actions": [[None, 1.0]] * 20}, "'actions' lacks a number in row 0"),
    "text": (changed("rewards", lambda x: x.astype(str)), "'rewards' holds dtype <U"),
    "lists of text": (lambda a: {**a, "actions": [["a", "b"]] * 20}, "'actions' .*never loaded"),
    "lists of lists": (lambda a: {**a, "actions": [[[1.0]]] * 20}, "'actions' .*never loaded"),
    "dates": (lambda a: {**a, "rewards": np.arange(20).astype("M8[s]")}, "'rewards' holds dtype datetime64"),
    "NaN": (changed("observations", put(np.nan, 4, 1)), "'observations' holds NaN or infinity, first in row 4"),
    "discrete": (changed("actions", lambda x: x.astype(np.int32)), "discrete actions are not supported"),
    "gap": (lambda a: without("observations_1")(numbered(a)), "'observations_1' is missing"),
    "mixed": (lambda a: {**numbered(a), "actions_1": ["x"] * 20}, "'actions_1' is not a column of single numbers"),
    "no rows": (lambda a: {key: array[:0] for key, array in numbered(a).items()}, "'observations' is empty"),
    "no ends": (lambda a: without("terminals")(without("timeouts")(a)), "has no 'terminals'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_PARQUET)
def test_bad_parquet(tmp_path: Path, case: str) -> None:
    pytest.importorskip("pyarrow")
    spoil, message = BAD_PARQUET[case]
    arrays = {k: list(v) if getattr(v, "ndim", 1) > 1 else v for k, v in spoil(table(MADE)).items()}
    path = tmp_path / "x.parquet"
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(arrays), path)
    assert str(path) in refused(path, message)
