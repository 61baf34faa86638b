"""Settings of the data that a task does not read, and checksums of what it reads, for every task on recorded data."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vgf import UserError
from vgf.config import Config, DataConfig, SACConfig
from vgf.tasks.data_settings import READ, check_sha256, require_read

OTHER: dict[str, Any] = {
    "source": "path", "path": "x.npz", "mirrors": ["http://x"], "sha256": "0", "columns": {"actions": "a"},
    "held_out": 0.3, "action_low": -2.0, "action_high": 2.0, "rewards": "raw", "sac": SACConfig(steps=7),
    "transitions": 5, "seed": 1, "folder": "here", "memory_gb": 1.0, "swap_every": 2, "processes": 10**6,
}  # fmt: skip


def test_every_key_is_read_by_a_task_or_goes_with_all() -> None:
    assert set(OTHER) == {field.name for field in fields(DataConfig)}
    assert {key for keys in READ.values() for key in keys} < set(OTHER)
    for task in READ:
        require_read(task, DataConfig())


@pytest.mark.parametrize(
    ("task", "refused"),
    [
        ("ogbench", {"columns", "held_out", "action_low", "action_high", "rewards", "sac"}),
        (
            "ogbench_goals",
            {"columns", "held_out", "action_low", "action_high", "rewards", "sac", "memory_gb", "swap_every"},
        ),
        ("custom", {"mirrors", "rewards", "sac", "memory_gb", "swap_every"}),
        ("mujoco", {"mirrors", "action_low", "action_high", "memory_gb", "swap_every"}),
    ],
)
def test_what_a_task_does_not_read_is_refused(task: str, refused: set[str]) -> None:
    prepare = importlib.import_module(f"vgf.tasks.{task}").prepare
    envs = {"ogbench": "pointmaze-medium-navigate-singletask-task1-v0", "ogbench_goals": "pointmaze-medium-navigate-v0"}
    for key, value in OTHER.items():
        config = Config(task=task, env=envs.get(task), data=DataConfig(**{key: value}))
        if key not in refused:
            if (task, key) == ("mujoco", "columns"):  # of files
                config.data.path = "x.hdf5"
            require_read(task, config.data)
            continue
        with pytest.raises(
            UserError, match=rf"^data\.{key} says nothing to task={task}: it belongs to task="
        ) as caught:
            prepare(config)
        assert "\n" not in str(caught.value)


def test_the_tasks_that_read_a_key_are_named() -> None:
    with pytest.raises(UserError, match="it belongs to task=custom and task=mujoco; leave it out"):
        require_read("ogbench", DataConfig(held_out=0.3))


@pytest.mark.parametrize(
    ("of", "refused"),
    [
        ({"path": "x.hdf5"}, "sac"),
        ({"source": "path"}, "sac"),
        ({"source": "download"}, "sac"),
        ({}, "columns"),
        ({"source": "generate"}, "columns"),
    ],
)
def test_mujoco_reads_settings_of_sac_or_of_files(of: dict[str, str], refused: str) -> None:
    for key in ("sac", "columns"):
        data = DataConfig(**{**of, key: OTHER[key]})
        if key != refused:
            require_read("mujoco", data)
            continue
        with pytest.raises(UserError, match=f"^data.{key} says nothing to data that .*; leave it out"):
            require_read("mujoco", data)


@pytest.mark.parametrize("task", READ)
def test_shards_are_for_one_task(task: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").touch()
    data = DataConfig(path=str(tmp_path))
    if task == "ogbench":
        return require_read(task, data)
    with pytest.raises(UserError, match=f"is a folder of shards, which task=ogbench reads and task={task} does not"):
        require_read(task, data)


def test_checksums(tmp_path: Path) -> None:
    file = tmp_path / "x.npz"
    file.write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    check_sha256(file, digest.upper())
    check_sha256(tmp_path / "missing.npz", digest)  # whoever reads it says so
    for path in (None, tmp_path, "mujoco/hopper/medium-v0"):
        check_sha256(path, None)
        with pytest.raises(
            UserError, match=f"data.sha256 is the sum of one file, which data.path={path} does not name"
        ):
            check_sha256(path, digest)


@pytest.mark.parametrize("task", ["custom", "mujoco"])
def test_the_sum_of_a_file_of_ones_own_is_checked(task: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", nothing=np.zeros(1))
    data = DataConfig(path=str(tmp_path / "x.npz"), sha256="0" * 64)
    with pytest.raises(UserError, match=r"x\.npz has SHA-256 .*, not the expected 0000"):
        importlib.import_module(f"vgf.tasks.{task}").prepare(Config(task=task, env="hopper-medium", data=data))


@pytest.mark.parametrize("task", READ)
@pytest.mark.parametrize("source", ["generate", "download"])
def test_data_of_ones_own_are_neither_generated_nor_downloaded(task: str, source: str, tmp_path: Path) -> None:
    data = DataConfig(path=str(tmp_path / "x.npz"), source=source)
    env = {"mujoco": "hopper-medium", "ogbench_goals": "pointmaze-medium-navigate-v0"}.get(
        task, "pointmaze-medium-navigate-singletask-v0"
    )
    with pytest.raises(UserError, match=f"data.path is not used with data.source={source}"):
        importlib.import_module(f"vgf.tasks.{task}").prepare(Config(task=task, env=env, data=data))
