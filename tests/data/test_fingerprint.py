"""What tells the data of a run from others, before it goes on with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vgf import UserError
from vgf.data.fingerprint import fingerprint, require_same_data
from vgf.data.shards import ShardedData, split_episodes, write_shards
from vgf.problem import Problem


def columns(seed: int = 0, rows: int = 1000) -> dict[str, np.ndarray]:
    """Episodes of ten transitions."""
    rng = np.random.default_rng(seed)
    arrays = {
        "observations": rng.normal(size=(rows, 3)),
        "actions": rng.uniform(-1, 1, size=(rows, 2)),
        "rewards": rng.normal(size=rows),
        "masks": np.ones(rows),
        "terminals": np.arange(rows) % 10 == 9,
        "next_observations": rng.normal(size=(rows, 3)),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def problem(train: Any = None, held_out: Any = None, origin: str = "path: mine.npz") -> Problem:
    return Problem("x", columns() if train is None else train, held_out, origin)


def changed(name: str, row: int) -> dict[str, np.ndarray]:
    data = columns()
    data[name][row] += 0.5
    return data


def test_the_same_data_are_the_same_wherever_they_lie() -> None:
    kept = json.loads(json.dumps(fingerprint(problem(held_out=columns(1)))))
    require_same_data(fingerprint(problem(held_out=columns(1), origin="official: y.npz")), {"data": kept}, Path("run"))
    as_stored = {name: np.asfortranarray(array.astype(np.float64)) for name, array in columns().items()}
    require_same_data(fingerprint(problem(as_stored)), {"data": fingerprint(problem())}, Path("run"))


@pytest.mark.parametrize(
    "other",
    [
        *(problem(changed(name, 501)) for name in ("rewards", "masks", "terminals")),
        *(problem(changed(name, slice(None))) for name in ("observations", "actions", "next_observations")),
        problem(columns(rows=999)),
        problem(columns(seed=1)),
    ],
)
def test_other_data_are_refused(other: Problem) -> None:
    manifest = {"data": fingerprint(problem())}
    with pytest.raises(
        UserError, match=r"run was trained on other training data \(1,000 tran.*\) than are h"
    ) as caught:
        require_same_data(fingerprint(other), manifest, Path("run"))
    assert "\n" not in str(caught.value)


def test_so_are_other_held_out_episodes() -> None:
    few = columns(1, rows=20)
    for theirs, ours in ((None, few), (few, None), (few, columns(2, rows=20))):
        with pytest.raises(UserError, match=r"other held-out episodes \((none|20 tra.*)\) than are here"):
            require_same_data(
                fingerprint(problem(held_out=ours)), {"data": fingerprint(problem(held_out=theirs))}, Path("run")
            )


def test_goals_have_no_rewards_of_their_own() -> None:
    data = columns()
    del data["rewards"], data["masks"]
    assert fingerprint(problem(data)) != fingerprint(problem())


def test_of_shards_none_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for seed in (0, 0, 1):
        stored = {name: column for name, column in columns(seed, 60).items() if name != "next_observations"}
        folder = write_shards(tmp_path / str(len(found)), split_episodes(stored), rows_per_shard=20).folder
        monkeypatch.setattr(ShardedData, "shard", lambda *_: pytest.fail("a shard was loaded"))
        found.append(fingerprint(problem(ShardedData(folder)))["train"])
    assert found[0] == found[1]
    assert found[0] != found[2]
    assert found[0]["transitions"] == 54  # each episode's last row is the state that it ended in
