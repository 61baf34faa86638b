"""Minari data sets by their ids: found where Minari keeps them, downloaded where the package is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded import MADE, assert_equal, minari_episodes, refused, save_minari

from vgf.data.formats import read_recording


def test_minari_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    save_minari(tmp_path / "mujoco" / "hopper" / "medium-v0", minari_episodes(MADE))
    read = read_recording("mujoco/hopper/medium-v0")
    assert_equal(read, MADE)
    assert read.origin == "Minari data set hopper/medium-v0"
    monkeypatch.setitem(sys.modules, "minari", None)
    refused("mujoco/hopper/expert-v0", r'neither a file nor a Minari data set .* pip install "minari\[hdf5,hf\]"')


class _Hub:
    """Stands in for the minari package: writes a data set, or fails as a missing network does."""

    def __init__(self, write: Callable[[], Any]) -> None:
        self.write = write

    def download_dataset(self, name: str, force_download: bool) -> None:
        self.force = force_download
        self.write()


def test_minari_ids_are_downloaded_where_the_package_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    hub = _Hub(lambda: save_minari(tmp_path / "door" / "human-v2", minari_episodes(MADE)))
    monkeypatch.setitem(sys.modules, "minari", hub)
    assert_equal(read_recording("door/human-v2"), MADE)
    monkeypatch.setitem(sys.modules, "minari", _Hub(lambda: 1 / 0))
    refused("door/expert-v2", r"Minari cannot download it \(division by zero\)")
    assert not hub.force


def test_a_download_from_minari_that_was_broken_off_is_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Minari itself skips a folder that is there, whatever it holds."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    (tmp_path / "door" / "human-v2").mkdir(parents=True)
    monkeypatch.setitem(sys.modules, "minari", None)
    refused("door/human-v2", "human-v2 is incomplete.* pip install")
    hub = _Hub(lambda: save_minari(tmp_path / "door" / "human-v2", minari_episodes(MADE)))
    monkeypatch.setitem(sys.modules, "minari", hub)
    assert_equal(read_recording("door/human-v2"), MADE)
    assert hub.force
    assert not list(tmp_path.rglob("*.lock"))
