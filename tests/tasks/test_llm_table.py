"""The table of a language run: what several calls leave in it, whole or broken off."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vgf.config import Config
from vgf.methods import load_method
from vgf.tasks.llm_table import EvalTable


def config_of(method: str = "hidden", **text: Any) -> Config:
    config = Config(task="llm_reward", **vars(load_method(method)))
    config.text = replace(config.text, **text)
    return config


def rows(method: str, budget: float, proxy: float, prompts: int = 3, seed: int = 0) -> list[dict[str, Any]]:
    return [{"method": method, "budget": budget, "seed": seed, "prompt": i, "proxy": proxy} for i in range(prompts)]


def stored(folder: Path) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    with (folder / "eval.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault((row["method"], row["budget"]), []).append(row["proxy"])
    return found


def write(folder: Path, config: Config, *batches: list[dict[str, Any]], whole: bool = True) -> None:
    table = EvalTable(folder, config)
    text = folder / "text.json"
    text.write_text(json.dumps(json.loads(text.read_text()) | {"method": config.method}))  # as the task notes it
    for batch in batches:
        table.add(batch)
    if whole:
        table.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds the evaluation of one method, of its random control, and of the reference."""
    write(tmp_path, config_of(), rows("reference", 0.0, 1.0), rows("hidden", 0.1, 2.0) + rows("random", 0.1, 1.5))
    return tmp_path


def test_another_method_is_added(folder: Path) -> None:
    write(folder, config_of("tilt"), rows("tilt", 1.0, 3.0))
    assert stored(folder) == {("reference", "0"): ["1"] * 3, ("hidden", "0.1"): ["2"] * 3, ("tilt", "1"): ["3"] * 3}


def test_another_budget_is_added_and_the_same_one_replaced(folder: Path) -> None:
    write(folder, config_of(seeds=1), rows("hidden", 0.2, 4.0) + rows("hidden", 0.1, 5.0, prompts=2))
    found = stored(folder)
    assert found["hidden", "0.2"] == ["4"] * 3
    assert found["hidden", "0.1"] == ["5"] * 2
    assert found["random", "0.1"] == ["1.5"] * 3


@pytest.mark.parametrize(
    "change", [{"transport": {"step": "sign"}}, {"budget": {"steps": 2}}, {"budget": {"radius": 0.5}}]
)
def test_rows_of_another_move_of_the_same_name_are_replaced_and_it_is_said(
    folder: Path, change: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, config_of("tilt"), rows("tilt", 1.0, 3.0))
    config = config_of()
    for group, settings in change.items():
        setattr(config, group, replace(getattr(config, group), **settings))
    write(folder, config, rows("hidden", 0.2, 4.0))
    assert stored(folder) == {("reference", "0"): ["1"] * 3, ("hidden", "0.2"): ["4"] * 3, ("tilt", "1"): ["3"] * 3}
    assert "moved otherwise" in capsys.readouterr().out


def test_a_call_that_ends_before_its_first_row_leaves_none_of_another_move(folder: Path) -> None:
    config = config_of()
    config.transport = replace(config.transport, step="sign")
    for _ in range(2):
        write(folder, config, whole=False)
        assert stored(folder) == {("reference", "0"): ["1"] * 3}


def test_another_value_of_the_knob_is_no_other_move(folder: Path) -> None:
    config = config_of()
    config.budget = replace(config.budget, size=0.3)
    write(folder, config, rows("hidden", 0.3, 4.0))
    assert stored(folder)["hidden", "0.1"] == ["2"] * 3


def test_a_call_that_is_interrupted_loses_no_row(folder: Path) -> None:
    write(folder, config_of(), rows("hidden", 0.1, 5.0, prompts=1), whole=False)
    assert stored(folder)["hidden", "0.1"] == ["5", "2", "2"]


@pytest.mark.parametrize("changes", [{"temperature": 0.5}, {"held_out": 8}, {"stop": ["."]}, {"model": "other"}])
def test_rows_of_other_prompts_or_sampling_are_replaced_and_it_is_said(
    folder: Path, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, config_of(**changes), rows("hidden", 0.2, 4.0))
    assert stored(folder) == {("hidden", "0.2"): ["4"] * 3}
    assert "its rows are replaced" in capsys.readouterr().out


def test_what_only_says_how_much_is_evaluated_keeps_them(folder: Path) -> None:
    write(folder, config_of(batch=3, controls=[], sweep_prompts=None, seeds=7, cache="elsewhere"))
    assert len(stored(folder)) == 3


def test_rows_that_are_no_rows_are_left_out(folder: Path) -> None:
    whole = stored(folder)
    with (folder / "eval.csv").open("a") as file:
        file.write("0,hidden,abc,0,1\n0,hid")
    write(folder, config_of(), rows("tilt", 1.0, 3.0))
    assert stored(folder) == whole | {("tilt", "1"): ["3"] * 3}
