"""The run directory: whose it is, and that its tables survive repeated and interrupted calls."""

from __future__ import annotations

import csv
import functools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from vgf import UserError
from vgf.checkpoint import save_checkpoint
from vgf.config import Config
from vgf.evaluation import EpisodeRecord
from vgf.identity import config_sha256, difference
from vgf.methods import load_method
from vgf.played import Played
from vgf.rundir import EVAL_COLUMNS, RunDirectory, read_config


def config_with(**changes) -> Config:
    config = Config(run_dir="unused")
    for key, value in changes.items():
        *groups, name = key.split("__")
        setattr(functools.reduce(getattr, groups, config), name, value)
    return config


def checkpoint(run_dir: Path, step: int) -> None:
    save_checkpoint(run_dir, step, {"w": torch.zeros(1)}, {}, {})


def rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "eval.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    """A claimed run with a checkpoint at step 20."""
    run = RunDirectory(tmp_path / "deep" / "run")
    run.claim(config_with())
    checkpoint(run.path, 20)
    return run


def test_a_claimed_directory_holds_its_configuration(tmp_path):
    config = config_with(seed=7, train__n_step=3, eval__budgets=[0.0, 0.5], net__extras=["noisy"])
    run = RunDirectory(tmp_path / "run")
    run.claim(config)
    assert read_config(run.path) == config
    text = (run.path / "environment.txt").read_text()
    assert all(f"\n{name}: " in text for name in ("python", "platform", "torch", "vgf"))


def test_interpolations_are_stored_resolved(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.claim(OmegaConf.to_object(OmegaConf.structured(Config(seed=4))))
    assert read_config(run.path).run_dir == f"runs/{Config().env}/default-seed4"


def test_who_holds_a_directory_removes_what_a_killed_process_was_writing(tmp_path):
    RunDirectory(tmp_path).claim(config_with())
    (tmp_path / ".eval.0a1b2c3d.tmp.csv").write_text("step,met")
    with RunDirectory(tmp_path).held():
        assert {path.name for path in tmp_path.iterdir()} == {".run.lock", "config.yaml", "environment.txt"}


@pytest.mark.parametrize("visible", [["thesis.txt"], ["config.yaml", "thesis.txt"]])
def test_temporary_files_of_other_programs_stay(tmp_path, visible):
    for name in (*visible, ".draft.tmp.md"):
        (tmp_path / name).write_text("keep")
    (tmp_path / ".keep.tmp").mkdir()
    before = sorted(tmp_path.iterdir())
    with RunDirectory(tmp_path).held(), pytest.raises(UserError, match="is not empty and holds no run"):
        RunDirectory(tmp_path).claim(config_with())
    assert sorted(tmp_path.iterdir()) == before
    assert {path.read_text() for path in before if path.is_file()} == {"keep"}


def test_an_empty_directory_may_be_claimed(tmp_path):
    RunDirectory(tmp_path).claim(config_with())
    assert (tmp_path / "config.yaml").is_file()


def test_notes_are_added_to_the_environment(run):
    before = (run.path / "environment.txt").read_text()
    run.note("data", "made here")
    assert (run.path / "environment.txt").read_text() == before + "data: made here\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"train__steps": 7}, {"seed": 5}, {"env": "scene-play-singletask-task1-v0"}, {"net__hidden": 8},
        {"net__extras": ["noisy"]}, {"train__chunk": 2}, {"train__n_step": 9}, {"data__path": "x.npz"},
        {"train__precision": "float32"}, {"data__seed": 3}, {"data__held_out": 0.2}, {"data__action_high": 2.0},
        {"data__columns": {"obs": "observations"}}, {"text__stop": ["."]}, {"text__columns": {"prompt": "question"}},
        {"text__reward__layers": 3},
    ],
)  # fmt: skip
def test_what_shapes_training_makes_it_another_run(run, changes):
    stored = (run.path / "config.yaml").read_bytes()
    key = next(iter(changes)).replace("__", ".")
    with pytest.raises(UserError, match=r"already holds another run .* choose another run_dir") as error:
        run.claim(config_with(**changes))
    assert f"({key}" in str(error.value)
    assert (run.path / "config.yaml").read_bytes() == stored


@pytest.mark.parametrize(
    "changes",
    [
        {"eval__budgets": [0.0, 1.0]}, {"eval__episodes": 3}, {"eval__seed": 8}, {"budget__size": 2.0},
        {"method": "vgf", "transport": load_method("vgf").transport}, {"train__save_every": 10}, {"threads": 1},
        {"train__log_every": 10}, {"device": "cpu"}, {"text__finetune__rounds": 9},
        {"online__steps": 3}, {"data__folder": "elsewhere"},
    ],
)  # fmt: skip
def test_what_concerns_test_time_does_not(run, changes):
    config = config_with(**changes)
    run.claim(config)
    assert read_config(run.path) == config


@pytest.mark.parametrize(
    ("training", "changes", "other"),
    [
        ({"trainer": "distill"}, {"budget__size": 2.0}, True),
        ({"trainer": "distill"}, {"text__limits__changed": 0.5}, True),
        ({"trainer": "online", "online__method": None}, {"budget__size": 2.0}, True),
        ({"trainer": "online", "online__method": None}, {"transport__rule": "vgf"}, True),
        ({"trainer": "online", "online__method": "best_of_n"}, {"budget__size": 2.0}, False),
        ({"trainer": "value"}, {"text__limits__changed": 0.5}, False),
        ({"trainer": "online"}, {"online__steps": 7}, True),
        ({"trainer": "online"}, {"online__eval_every": 7}, False),
    ],
)
def test_what_a_trainer_learns_from_makes_another_run(training, changes, other):
    before, after = config_with(**training), config_with(**training, **changes)
    (key,) = changes
    found = difference(after, before)
    assert (found is not None and found[0] == key.replace("__", ".")) if other else found is None
    assert (config_sha256(before) != config_sha256(after)) == other


def test_before_the_first_checkpoint_settings_may_still_change(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.claim(config_with())
    for name in ("probe.npz", "scale.json", "eval.csv", "offline.csv"):
        (run.path / name).touch()
    run.claim(config_with(train__steps=7))
    assert read_config(run.path).train.steps == 7
    assert {path.name for path in run.path.iterdir()} == {"config.yaml", "environment.txt"}, "of the earlier settings"


def test_resume_never_refuses_a_run_with_a_checkpoint(run):
    with pytest.raises(UserError, match="already holds a run and resume=never"):
        run.claim(config_with(resume="never"))


def test_a_directory_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("keep")
    with pytest.raises(UserError, match="is not empty and holds no run"):
        RunDirectory(tmp_path).claim(config_with())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("below", ["", "run"])
def test_a_file_in_the_way_is_a_user_error(tmp_path, below):
    (tmp_path / "file").write_text("keep")
    with pytest.raises(UserError, match="file"):
        RunDirectory(tmp_path / "file" / below).claim(config_with())
    assert (tmp_path / "file").read_text() == "keep"


def test_reading_what_is_no_run(tmp_path):
    with pytest.raises(UserError, match=r"nowhere does not exist"):
        read_config(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"is no run directory .it has no config.yaml"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["train: [", "train: {stesp: 3}", "train: {steps: many}", "colour: red", "- a\n- b", "just words", "\xff"],
)
def test_a_configuration_that_cannot_be_read(tmp_path, text):
    (tmp_path / "config.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"config.yaml cannot be read: \S"):
        read_config(tmp_path)


def test_going_on_drops_metrics_after_the_checkpoint_and_torn_lines(run):
    for step in (10, 20, 30):
        run.log({"step": step, "loss": 0.5})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4')
    run.claim(config_with())
    assert [json.loads(line) for line in (run.path / "metrics.jsonl").open()] == [
        {"step": 10, "loss": 0.5},
        {"step": 20, "loss": 0.5},
    ]


@pytest.mark.parametrize("line", ["null", "3", "[]", "{}", '{"step": "x"}', '{"step": null}'])
def test_a_strange_line_of_metrics_is_dropped(run, line):
    (run.path / "metrics.jsonl").write_text(f'{{"step": 10}}\n{line}\n')
    run.claim(config_with())
    assert (run.path / "metrics.jsonl").read_text() == '{"step": 10}\n'


def test_metrics_of_a_run_that_never_saved_start_anew(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.claim(config_with())
    run.log({"step": 10})
    run.claim(config_with())
    assert (run.path / "metrics.jsonl").read_text() == ""


def test_evaluations_are_rows(run):
    run.add_evaluation(
        20, "qgf", 0.1, [EpisodeRecord(0, -3.5, 1.0, 7, 0.25, -1.0, 2.0, -1.5), EpisodeRecord(1, length=4)]
    )
    first, second = rows(run.path)
    assert tuple(first) == EVAL_COLUMNS
    assert list(first.values()) == ["20", "qgf", "0.1", "0", "-3.5", "1", "7", "0.25", "-1", "2", "-1.5"]
    assert second["success"] == ""  # the environment never said


def test_rows_of_a_version_without_a_judge_are_kept(run):
    old = ",".join(EVAL_COLUMNS[:-1]) + "\n20,qgf,0.1,0,-3.5,1,7,0.25,-1,2\n"
    (run.path / "eval.csv").write_text(old)
    run.add_evaluation(20, "qgf", 0.3, [EpisodeRecord(0, judged=-1.5)])
    assert [(r["budget"], r["judge"]) for r in rows(run.path)] == [("0.1", ""), ("0.3", "-1.5")]


def test_the_same_point_is_replaced_and_others_stay(run):
    for step, method, budget in [(20, "qgf", 0), (20, "qgf", 0.1), (20, "vgf", 0.1), (40, "qgf", 0.1)]:
        run.add_evaluation(step, method, budget, [EpisodeRecord(e, episode_return=1.0) for e in range(2)])
    run.add_evaluation(20, "qgf", 0.1, [EpisodeRecord(0, episode_return=5.0)])
    table = rows(run.path)
    assert len(table) == 7
    assert [r["return"] for r in table if (r["step"], r["method"], r["budget"]) == ("20", "qgf", "0.1")] == ["5"]
    assert sum(r["return"] == "1" for r in table) == 6


def test_budgets_are_told_apart_by_what_is_written(run):
    run.add_evaluation(20, "qgf", 0.1 + 0.2, [EpisodeRecord(0)])
    run.add_evaluation(20, "qgf", 0.3, [EpisodeRecord(0)])
    run.add_evaluation(20, "qgf", math.inf, [EpisodeRecord(0)])
    assert [r["budget"] for r in rows(run.path)] == ["0.3", "inf"]


def test_no_temporary_files_stay(run):
    run.log({"step": 10})
    run.add_evaluation(20, "qgf", 0, [EpisodeRecord(0)])
    run.claim(config_with())
    assert {p.name for p in run.path.iterdir()} == {
        "checkpoints", "config.yaml", "environment.txt", "eval.csv", "metrics.jsonl",
    }  # fmt: skip


def test_values_that_were_renamed_are_read(run):
    config = config_with()
    config.transport.select = "first"
    run.claim(config)
    assert read_config(run.path).transport.select == "none"


@pytest.mark.parametrize("changes", [{}, {"seed": 1}, {"episodes": 3}, {"settings": {"a": 2}}, {"code": "0.2"}])
def test_an_evaluation_is_there_where_it_was_played_in_the_same_way(run, changes):
    played = Played(seed=0, episodes=2, settings={"a": 1}, code="0.1")
    run.add_evaluation(20, "qgf", 0.1, [EpisodeRecord(0), EpisodeRecord(1)], played)
    assert run.has_evaluation(20, "qgf", 0.1, replace(played, **changes)) == (not changes)
    assert not run.has_evaluation(20, "qgf", 0.2, played)
    assert not run.has_evaluation(40, "qgf", 0.1, played)
