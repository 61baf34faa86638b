"""Reading OGBench's layout: what is wrong with a file is said in one line, what is right equals OGBench's loader."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ogbench
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vgf.data.npz import cut_transitions, read_npz, regular
from vgf.errors import UserError

Arrays = dict[str, Any]


def episodes(lengths: list[int], **more: np.ndarray) -> Arrays:
    """Return arrays in the raw layout with episodes of these numbers of rows."""
    rows, rng = sum(lengths), np.random.default_rng(0)
    terminals = np.zeros(rows, bool)
    terminals[np.cumsum(lengths) - 1] = True
    return {
        "observations": rng.normal(size=(rows, 3)).astype(np.float32),
        "actions": rng.uniform(-1, 1, size=(rows, 2)).astype(np.float32),
        "terminals": terminals,
        "qpos": rng.normal(size=(rows, 4)),
        "button_states": rng.integers(0, 2, size=(rows, 2)),
        **more,
    }


def save(path: Path, arrays: Arrays) -> Path:
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize("terminals", [bool, np.float32, np.int64])
@pytest.mark.parametrize("floats", [np.float32, np.float64])
def test_equals_the_loader_of_ogbench(tmp_path: Path, terminals: type, floats: type) -> None:
    arrays = episodes([5, 2, 9])
    arrays["terminals"] = arrays["terminals"].astype(terminals)
    arrays["observations"] = arrays["observations"].astype(floats)
    path = save(tmp_path / "x.npz", arrays)
    theirs = ogbench.load_dataset(str(path), compact_dataset=False, add_info=True)
    ours = regular(read_npz(path))
    assert ours.keys() == theirs.keys()
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name])
        assert ours[name].dtype == theirs[name].dtype


def test_rewards_and_masks_are_kept(tmp_path: Path) -> None:
    arrays = episodes([3, 3], rewards=np.arange(6.0), masks=np.array([1, 0, 1, 1, 1, 0], bool))
    data = regular(read_npz(save(tmp_path / "x.npz", arrays)))
    np.testing.assert_array_equal(data["rewards"], np.array([0, 1, 3, 4], np.float32))
    np.testing.assert_array_equal(data["masks"], np.array([1, 0, 1, 1], np.float32))


@given(
    lengths=st.lists(st.integers(2, 6), min_size=1, max_size=6),
    count=st.integers(1, 40),
)
def test_cut_keeps_the_fewest_whole_episodes_that_suffice(lengths: list[int], count: int) -> None:
    raw = episodes(lengths)
    cut = cut_transitions(raw, count)
    kept = int(cut["terminals"].sum())
    assert len(cut["actions"]) == sum(lengths[:kept])
    assert cut["terminals"][-1]
    transitions = [sum(n - 1 for n in lengths[:k]) for k in range(len(lengths) + 1)]
    assert transitions[kept] >= min(count, transitions[-1])
    assert transitions[kept - 1] < count
    np.testing.assert_array_equal(cut["observations"], raw["observations"][: len(cut["actions"])])


def test_cut_to_nothing() -> None:
    with pytest.raises(UserError, match="1 or more"):
        cut_transitions(episodes([3]), 0)


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, name: change(arrays[name].copy())}


def put(value: float, *where: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.float64)
        array[where] = value
        return array

    return change


BAD = {
    "no actions": (lambda a: {k: v for k, v in a.items() if k != "actions"}, "no 'actions' array"),
    "nothing": (lambda a: {}, r"it has nothing"),
    "flat": (changed("observations", np.ravel), r"'observations' has shape \[21\]"),
    "pixels": (changed("observations", lambda x: x[:, :, None]), r"'observations' has shape \[7, 3, 1\]"),
    "no columns": (changed("actions", lambda x: x[:, :0]), "'actions' is empty"),
    "no rows": (lambda a: {k: v[:0] for k, v in a.items()}, "'observations' is empty"),
    "short actions": (changed("actions", lambda x: x[:-1]), "'actions' has 6 rows but 'observations' has 7"),
    "short qpos": (changed("qpos", lambda x: x[1:]), "'qpos' has 6 rows"),
    "text": (changed("actions", lambda x: x.astype(str)), "'actions' has dtype <U"),
    "objects": (changed("actions", lambda x: x.astype(object)), "'actions' holds Python objects"),
    "complex": (changed("observations", lambda x: x.astype(complex)), "dtype complex128"),
    "booleans": (changed("observations", lambda x: x > 0), "dtype bool"),
    "NaN": (changed("observations", put(np.nan, 4, 1)), "'observations' holds NaN or infinity, first in row 4"),
    "infinity": (changed("qpos", put(-np.inf, 2, 3)), "'qpos' holds NaN or infinity, first in row 2"),
    "too large": (changed("actions", put(1e300, 5, 0)), "'actions' holds NaN or infinity, first in row 5"),
    "terminal NaN": (changed("terminals", put(np.nan, 1)), "'terminals' holds NaN"),
    "terminal half": (changed("terminals", put(0.5, 1)), r"'terminals' is 0\.5 in row 1"),
    "no end": (changed("terminals", put(0, -1)), "0 in the last row"),
    "short episode": (changed("terminals", put(1, 3)), "episode that ends in row 3 has 1 row"),
    "first row ends": (changed("terminals", put(1, 0)), "episode that ends in row 0 has 1 row"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays(tmp_path: Path, case: str) -> None:
    spoil, message = BAD[case]
    path = save(tmp_path / "x.npz", spoil(episodes([3, 4])))
    with pytest.raises(UserError, match=message) as caught:
        read_npz(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    save(tmp_path / "cube-single-play-v0.npz", episodes([3]))
    with pytest.raises(UserError, match=r"Did you mean 'cube-single-play-v0\.npz'"):
        read_npz(tmp_path / "cube-singel-play-v0.npz")
    with pytest.raises(UserError, match=r"The folder has cube-single-play-v0\.npz"):
        read_npz(tmp_path / "q.npz")
    with pytest.raises(UserError, match="nor does its folder"):
        read_npz(tmp_path / "no" / "q.npz")
    with pytest.raises(UserError, match="is a folder"):
        read_npz(tmp_path)


@pytest.mark.parametrize("size", [0, 10, 200, -1])
def test_truncated(tmp_path: Path, size: int) -> None:
    whole = save(tmp_path / "whole.npz", episodes([30])).read_bytes()
    path = tmp_path / "x.npz"
    path.write_bytes(whole[:size])
    with pytest.raises(UserError, match=r"not a readable npz file .*damaged or incomplete"):
        read_npz(path)


def test_not_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros((3, 2)))
    with pytest.raises(UserError, match="single array"):
        read_npz(tmp_path / "one.npy")
    (tmp_path / "text.npz").write_text("<html>not found</html>")
    with pytest.raises(UserError, match="not a readable npz file"):
        read_npz(tmp_path / "text.npz")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", episodes([3]))
    path.chmod(0)
    with pytest.raises(UserError, match="no permission"):
        read_npz(path)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), compressed=st.booleans())
def test_any_bytes_load_or_are_a_user_error(tmp_path: Path, data: st.DataObject, compressed: bool) -> None:
    path = tmp_path / "x.npz"
    (np.savez_compressed if compressed else np.savez)(path, **episodes([3, 4]))
    content = bytearray(path.read_bytes())
    places = st.integers(0, len(content) - 1)
    for place, value in data.draw(st.dictionaries(places, st.integers(0, 255), min_size=1, max_size=6)).items():
        content[place] = value
    path.write_bytes(content[: data.draw(st.none() | places)])
    try:
        raw = read_npz(path)
    except UserError as error:
        message = str(error)
    else:
        message = ""
        assert len(regular(raw)["next_observations"]) == len(regular(raw)["actions"]) > 0
    assert "\n" not in message
