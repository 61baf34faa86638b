"""Recordings written as Minari data sets come back the same."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorded import assert_equal, record

from vgf.data.formats import minari_writer, read_recording
from vgf.data.formats.minari_writer import write_minari
from vgf.errors import UserError


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(episodes=st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=12))
def test_what_was_written_is_read(tmp_path: Path, episodes: list[tuple[int, bool]]) -> None:
    lengths, terminated = map(list, zip(*episodes, strict=True))
    made = record(lengths, terminated)
    folder = write_minari(tmp_path / "made-v0", made, env_spec="{}", metadata={"mine": 1})
    assert_equal(read_recording(folder), made)
    metadata = json.loads((folder / "data" / "metadata.json").read_text())
    assert (metadata["total_episodes"], metadata["total_steps"], metadata["mine"]) == (len(lengths), sum(lengths), 1)


def test_the_layout_is_minaris(tmp_path: Path) -> None:
    folder = write_minari(tmp_path / "made-v0", record([3, 2], [True, False]), env_spec="{}", metadata={})
    with h5py.File(folder / "data" / "main_data.hdf5") as file:
        assert list(file) == ["episode_0", "episode_1"]
        first, second = file["episode_0"], file["episode_1"]
        assert first["observations"].shape == (4, 3)
        np.testing.assert_array_equal(first["terminations"], [False, False, True])
        np.testing.assert_array_equal(second["truncations"], [False, True])
        assert dict(second.attrs) == {"id": 1, "total_steps": 2}


def test_a_failure_leaves_no_complete_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_minari(tmp_path / "x-v0", record([3], [True]), env_spec="{}", metadata={})

    def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(minari_writer, "_episode", broken)
    with pytest.raises(RuntimeError):
        write_minari(tmp_path / "x-v0", record([4], [True]), env_spec="{}", metadata={})
    assert [path.name for path in (tmp_path / "x-v0" / "data").iterdir()] == ["main_data.hdf5"]  # no half file


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x-v0").write_text("mine")
    with pytest.raises(UserError, match=r"cannot write the data set to .*x-v0: a part of the path is a file"):
        write_minari(tmp_path / "x-v0", record([3], [True]), env_spec="{}", metadata={})
