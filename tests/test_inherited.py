"""Environment variables are there for as long as processes start, and ours again afterwards."""

from __future__ import annotations

import os

import pytest

from vgf.inherited import inherited


def test_variables_are_set_within_and_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGF_HAD", "before")
    monkeypatch.delenv("VGF_NEW", raising=False)

    def start_and_fail() -> None:
        with inherited(VGF_HAD="1", VGF_NEW="2"):
            assert (os.environ["VGF_HAD"], os.environ["VGF_NEW"]) == ("1", "2")
            raise OSError("no process could be started")

    with pytest.raises(OSError, match="no process"):
        start_and_fail()
    assert os.environ["VGF_HAD"] == "before"
    assert "VGF_NEW" not in os.environ
