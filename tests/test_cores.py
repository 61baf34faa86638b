"""The cores that a process may use, which decide how many processes there are by default."""

from __future__ import annotations

import os

import pytest
import torch

from vgf.config import Config
from vgf.cores import cores
from vgf.language.processes import useful_processes


def test_defaults_count_the_cores_that_this_process_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``taskset`` or a batch system leaves it, not those of the machine."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {7, 2, 5}, raising=False)
    assert cores() == [2, 5, 7]
    config = Config()
    assert config.data.processes == config.eval.processes == 3
    config.eval.processes = 8
    assert useful_processes(config, torch.device("cpu"), jobs=100) == 3


def test_where_no_system_call_tells_all_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert cores() == [0, 1, 2, 3]
