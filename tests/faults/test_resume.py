"""N steps equal k steps, a crash, and the rest: parameters, metrics and evaluations, bit for bit and row for row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cycles import COUNTS, Driver, assert_same, contents

SLOW = pytest.mark.slow
ALL_EXTRAS = {"net__extras": ["gradient", "noisy", "flow_map", "optimal"]}
CASES = {
    "iql": ("offline", {}, 17),
    "sql": ("offline", {"train__critic": "sql", "train__precision": "float32"}, 17),
    "sarsa": ("offline", {"train__critic": "sarsa"}, 9),
    "td": ("offline", {"train__critic": "td"}, 22),
    "with extras": ("offline", ALL_EXTRAS, 11),
    "gaussian": ("offline", {"net__reference": "gaussian"}, 17),
    "fql": ("fql", {}, 17),
    "rebrac": ("rebrac", {}, 17),
    "qam": ("qam", {}, 17),
    "online": ("online", {}, 19),
    "online, steered": ("online", {"online__method": None, "train__critic": "td"}, 27),
    "online, balanced": ("online", {"online__balanced": True}, 13),
}
QUICK = ("iql", "online")


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=SLOW) for name in CASES])
def test_a_crash_changes_nothing(driver, tmp_path, name):
    trainer, changes, at = CASES[name]
    crash_and_compare(driver, tmp_path, ("update", at), trainer, changes)


def crash_and_compare(driver: Driver, folder: Path, crash: tuple[str, int], trainer: str, changes: dict) -> None:
    whole, parts = folder / "whole", folder / "parts"
    ended = driver.call("train", trainer, str(whole), changes)
    assert ended.status == 0, ended.said
    ended = driver.call("crashed", *crash, "train", trainer, str(parts), changes)
    COUNTS["crashes"] += 1
    assert ended.status == 70, ended.said
    ended = driver.call("train", trainer, str(parts), changes)
    assert ended.status == 0, ended.said
    assert_same(contents(whole), contents(parts))
    metrics = [json.loads(line)["step"] for line in (parts / "metrics.jsonl").open()]
    assert metrics == list(range(3, 31, 3))


@pytest.mark.parametrize(
    "at", [1, pytest.param(3, marks=SLOW), pytest.param(4, marks=SLOW), pytest.param(8, marks=SLOW)]
)
def test_an_evaluation_on_the_way_that_was_broken_off_is_made_up_for(driver, tmp_path, at):
    """The checkpoint of its step is there already when it breaks off (steps 6, 14 and 22; saved at 14 among others)."""
    crash_and_compare(driver, tmp_path, ("evaluation", at), "online", {"train__save_every": 2})


def test_resume_never_leaves_an_interrupted_run_alone(driver, tmp_path):
    assert driver.call("crashed", "update", 9, "train", "offline", str(tmp_path / "run"), {}).status == 70
    COUNTS["crashes"] += 1
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    ended = driver.call("train", "offline", str(tmp_path / "run"), {}, "never")
    assert ended.status == 2
    assert "already holds a run and resume=never" in ended.last_line
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@SLOW
@pytest.mark.parametrize("k", [2, 3, 6, 15])
def test_where_it_is_interrupted_does_not_matter(driver, tmp_path, k):
    """Saving every k-th step, and a crash just after each save."""
    for at in range(k + 1, 30, k):
        ended = driver.call(
            "crashed", "update", at, "train", "offline", str(tmp_path / "parts"), {"train__save_every": k}
        )
        COUNTS["crashes"] += 1
        assert ended.status == 70, ended.said
    assert driver.call("train", "offline", str(tmp_path / "parts"), {"train__save_every": k}).status == 0
    assert driver.call("train", "offline", str(tmp_path / "whole"), {"train__save_every": k}).status == 0
    assert_same(contents(tmp_path / "whole"), contents(tmp_path / "parts"))
