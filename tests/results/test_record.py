"""What is recorded stays readable: scores are kept run by run, and no number is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.results.small_experiments import PILOT, SEEDS, written
from vgf import UserError
from vgf.results import runner
from vgf.results.history import history
from vgf.results.record import record
from vgf.results.registry import read

MEASURES = [
    {"name": "seed {seed}", "method": "qgf", "budget": 0.3, "where": {"seed": ["{seed}"]}, "each": {"seed": [0, 1, 2]}},
    {"name": "all", "method": "qgf", "budget": 0.3},
]


@pytest.fixture
def parts(experiments: Path, tmp_path: Path, started: list[str]) -> list[Path]:
    """Roots on two machines: one has played the pilot and seed 0, the other seeds 1 and 2."""
    written(experiments, PILOT, SEEDS, measures=MEASURES)
    roots = [tmp_path / "here", tmp_path / "there"]
    runner.run_missing(read, "e", roots[0], only={"seed": "0"})
    shutil.copytree(roots[0] / "e" / "pilot", roots[1] / "e" / "pilot")
    shutil.copy(roots[0] / "e" / "history.jsonl", roots[1] / "e")
    for seed in "12":
        runner.run_missing(read, "e", roots[1], only={"seed": seed})
    shutil.rmtree(roots[1] / "e" / "pilot")
    path = roots[1] / "e" / "history.jsonl"
    path.write_text("".join(
        json.dumps(json.loads(line) | {"commit": "later", "date": "9999-01-01"}) + "\n"
        for line in path.read_text().splitlines()[2:]
    ))  # fmt: skip
    return roots


def test_an_experiment_is_recorded_in_parts(experiments: Path, parts: list[Path]):
    said = record("e", parts[0]).splitlines()
    assert said[0].startswith("e: 1 of 4 measures recorded")
    assert len(said) == 3  # seed 1 and "all" lack one run, seed 2 another
    assert "not recorded: seed 1 and 1 more: " in said[1]
    assert read("e").status == "partly run"
    shutil.rmtree(parts[0])
    assert record("e", parts[1]).startswith("e: 4 of 4 measures recorded")
    experiment = read("e")
    assert experiment.expected is not None
    assert experiment.status == "run"
    assert experiment.expected.values["all"][0] == 1
    assert experiment.expected.commit == "later"
    assert len(experiment.expected.earlier) == 1
    assert len(history(experiments / "scores" / "e")) == 4


def test_what_is_kept_goes_on_elsewhere(experiments: Path, parts: list[Path], tmp_path: Path, started: list[str]):
    record("e", parts[0])
    started.clear()
    shutil.copytree(experiments / "scores", tmp_path / "elsewhere")
    assert runner.run_missing(read, "e", tmp_path / "elsewhere")
    assert [command.split()[-1] for command in started] == ["run_dir=s1", "run_dir=s2"]


def test_no_recorded_number_is_lost(experiments: Path, parts: list[Path]):
    record("e", parts[0])
    shutil.rmtree(experiments / "scores")
    before = (experiments / "e.yaml").read_bytes()
    shutil.copytree(parts[0] / "e" / "pilot", parts[1] / "e" / "pilot")
    with pytest.raises(UserError, match=r"stays as it is: 1 of its 1 numbers cannot be read.*\(seed 0: .*s0"):
        record("e", parts[1])
    assert (experiments / "e.yaml").read_bytes() == before
    assert (experiments / "scores" / "e" / "s1" / "eval.csv").is_file()
    record("e", parts[0])
    record("e", parts[1])
    assert len(read("e").expected.values) == 4  # type: ignore[union-attr]


def test_a_run_that_has_not_ended_is_not_kept(experiments: Path, parts: list[Path]):
    path = parts[0] / "e" / "history.jsonl"
    path.write_text(path.read_text().replace('"status": 0', '"status": 130'))
    path.write_text("\n".join([line.replace("130", "0") if "run_dir=pilot" in line else line
                               for line in path.read_text().splitlines()]) + "\n")  # fmt: skip
    with pytest.raises(UserError, match="holds no number of e"):
        record("e", parts[0])
    assert sorted(path.name for path in (experiments / "scores" / "e").iterdir()) == [
        "chosen.json", "history.jsonl", "pilot",
    ]  # fmt: skip


def test_settings_and_paths_are_not_kept(experiments: Path, parts: list[Path]):
    (parts[0] / "e" / "s0" / "environment.txt").write_text("command: x /home/me\npython: 3\nplatform: y\ntorch: 2\n")
    record("e", parts[0])
    kept = experiments / "scores" / "e" / "s0"
    assert sorted(path.name for path in kept.iterdir()) == ["environment.txt", "eval.csv"]
    assert (kept / "environment.txt").read_text() == "python: 3\ntorch: 2\n"
    assert yaml.safe_load((experiments / "e.yaml").read_text())["expected"]["versions"] == {"python": "3", "torch": "2"}
