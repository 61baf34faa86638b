"""A run on shards goes on with the shards that would have been resident, or not at all."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small import problem, small_config

from vgf import UserError
from vgf.data.sharded_store import store_of
from vgf.data.shards import ShardedData, split_episodes, write_shards
from vgf.trainers.offline import objective
from vgf.trainers.trainer import Trainer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four shards of fourteen rows, two episodes each, and a fifth of four rows."""
    data = problem().train
    episodes = {name: column for name, column in data.items() if name != "next_observations"}
    return write_shards(tmp_path / "shards", split_episodes(episodes), rows_per_shard=14).folder


def trainer_on(folder: Path, **changes: Any) -> Trainer:
    store = partial(store_of, **{"window": 2, "swap_every": 3, "seed": 0} | changes)
    sharded = dataclasses.replace(problem(), train=ShardedData(folder), store=store)
    config = small_config()
    return Trainer(config, sharded, torch.device("cpu"), objective(config))


def stopped_on(folder: Path, run: Path, **changes: Any) -> None:
    trainer = trainer_on(folder, **changes)
    for _ in range(4):
        trainer.advance()
    trainer.save(run)


def test_the_same_schedule_goes_on_exactly(folder: Path, tmp_path: Path) -> None:
    stopped_on(folder, tmp_path)
    first, second = trainer_on(folder), trainer_on(folder)
    second.restore(tmp_path)
    for trainer, updates in ((first, 9), (second, 5)):
        for _ in range(updates):
            trainer.advance()
    for a, b in zip(first.networks.parameters(), second.networks.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"window": 3}, "resident 2, swap_every 3, here it would be shards 5, resident 3, swap_every 3; give data.m"),
        ({"swap_every": 4}, "swap_every 3, here it would be shards 5, resident 2, swap_every 4; give data.memory_gb"),
    ],
)
def test_another_schedule_is_refused(folder: Path, tmp_path: Path, changes: dict[str, int], said: str) -> None:
    stopped_on(folder, tmp_path)
    with pytest.raises(UserError, match=said):
        trainer_on(folder, **changes).restore(tmp_path)


def test_where_all_shards_are_resident_nothing_is_swapped(folder: Path, tmp_path: Path) -> None:
    stopped_on(folder, tmp_path, window=5)
    trainer_on(folder, window=5, swap_every=8).restore(tmp_path)
