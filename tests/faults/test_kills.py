"""kill -9 at random moments: the same command again ends where an uninterrupted one does, bit for bit."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cycles import COUNTS, Driver, assert_same, contents, extras, killed_until_done

from vgf.checkpoint import latest_step, load_checkpoint

Finished = Callable[[str], Path]
TRAINERS = ("offline", "online", "extras", "fql", "rebrac", "qam")


def trained_in_parts(
    driver: Driver, uninterrupted: Finished, trainer: str, run_dir: Path, kills: int, seed: int
) -> None:
    whole = uninterrupted(trainer)
    call = ("train", trainer, str(run_dir), extras(trainer, uninterrupted))
    rng = random.Random(f"{trainer} {seed}")
    seconds = json.loads((whole / "metrics.jsonl").read_text().splitlines()[-1])["seconds"]
    killed_until_done(driver, *call, kills=kills, seconds=0.5 + seconds, rng=rng, category="kills in training")
    assert_same(contents(whole), contents(run_dir))


def test_training_is_killed_a_few_times(driver, uninterrupted, tmp_path):
    trained_in_parts(driver, uninterrupted, "offline", tmp_path / "run", kills=6, seed=0)


def data_made(folder: Path) -> dict[str, bytes]:
    assert sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock")) == ["X-val.npz", "X.json", "X.npz"]
    return {path.name: path.read_bytes() for path in folder.glob("*.npz")}


def generated(driver: Driver, folder: Path, kills: int) -> None:
    for name in ("whole", "parts"):
        (folder / name).mkdir()
    whole = driver.call("data", str(folder / "whole"))
    assert whole.status == 0, whole.said
    killed_until_done(
        driver, "data", str(folder / "parts"), kills=kills, seconds=whole.seconds, rng=random.Random(kills),
        category="kills in data generation",
    )  # fmt: skip
    assert data_made(folder / "parts") == data_made(folder / "whole")


def test_data_generation_is_killed_a_few_times(driver, tmp_path):
    generated(driver, tmp_path, kills=4)


def test_what_a_kill_after_the_last_file_left_is_tidied(driver, tmp_path):
    assert driver.call("data", str(tmp_path)).status == 0
    (tmp_path / "X.work").mkdir()
    (tmp_path / "X.work" / "split0-000000.npz").touch()
    assert driver.call("data", str(tmp_path)).status == 0
    data_made(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("trainer", TRAINERS)
def test_training_is_killed_often(driver, uninterrupted, tmp_path, trainer, seed):
    trained_in_parts(driver, uninterrupted, trainer, tmp_path / "run", kills=8, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_checkpointing_is_killed_at_every_operation(driver, uninterrupted, tmp_path, block):
    """Killed in the midst of the n-th write, flush, rename or removal; what is left must load at once."""
    run_dir = tmp_path / "run"
    for at in range(2 + 15 * block, 17 + 15 * block):
        ended = driver.call("struck", str(run_dir), "kill", at, "train", "offline", str(run_dir), {})
        assert ended.status in (-9, 0), ended.said
        COUNTS["kills in checkpointing"] += ended.status == -9
        if latest_step(run_dir) is not None:
            assert load_checkpoint(run_dir, training=True).step == latest_step(run_dir)
    assert driver.call("train", "offline", str(run_dir), {}).status == 0
    assert_same(contents(uninterrupted("offline")), contents(run_dir))


@pytest.mark.slow
@pytest.mark.parametrize("kills", [15, 16])
def test_data_generation_is_killed_often(driver, tmp_path, kills):
    generated(driver, tmp_path, kills)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_evaluation_is_killed_often(driver, uninterrupted, tmp_path, seed):
    for name in ("whole", "parts"):
        shutil.copytree(uninterrupted("offline"), tmp_path / name)
    methods = ["qgf", "vgf", "best_of_n"]
    whole = driver.call("evaluate", str(tmp_path / "whole"), methods)
    assert whole.status == 0, whole.said
    killed_until_done(
        driver, "evaluate", str(tmp_path / "parts"), methods, kills=15, seconds=whole.seconds,
        rng=random.Random(seed), category="kills in evaluation",
    )  # fmt: skip
    assert_same(contents(tmp_path / "whole"), contents(tmp_path / "parts"))


@pytest.mark.slow
def test_the_whole_command_is_killed_often(driver, tmp_path, tiny_walk):
    """Data, training, evaluation, report: everything the command line does."""
    whole = driver.call("command", *tiny_walk, f"run_dir={tmp_path / 'whole'}")
    assert whole.status == 0, whole.said
    killed_until_done(
        driver, "command", *tiny_walk, f"run_dir={tmp_path / 'parts'}", kills=15, seconds=whole.seconds,
        rng=random.Random(0), category="kills of the whole command",
    )  # fmt: skip
    assert_same(contents(tmp_path / "whole"), contents(tmp_path / "parts"))
