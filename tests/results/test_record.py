"""What is recorded stays readable: scores are kept run by run, and no number is lost."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.results.small_experiments import PILOT, SEEDS, written
from vgf import UserError
from vgf.results import page, runner
from vgf.results import record as recording
from vgf.results.experiment import Expected
from vgf.results.history import Attempt, add, history, merge
from vgf.results.record import expected_of, record
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
    said = record("e", parts[0], parts[0]).splitlines()
    assert said[0].startswith("e: 1 of 4 measures recorded")
    assert len(said) == 3  # seed 1 and "all" lack one run, seed 2 another
    assert "not recorded: seed 1 and 1 more: " in said[1]
    assert read("e").status == "partly run"
    shutil.rmtree(parts[0])
    assert record("e", parts[1], parts[1]).startswith("e: 4 of 4 measures recorded")
    experiment = read("e")
    assert experiment.expected is not None
    assert experiment.status == "run"
    assert experiment.expected.values["all"][0] == 1
    assert experiment.expected.commit == "later"
    assert len(experiment.expected.earlier) == 1
    assert len(history(experiments / "scores" / "e")) == 4


def test_what_is_kept_goes_on_elsewhere(experiments: Path, parts: list[Path], tmp_path: Path, started: list[str]):
    record("e", parts[0], parts[0])
    started.clear()
    shutil.copytree(experiments / "scores", tmp_path / "elsewhere")
    assert runner.run_missing(read, "e", tmp_path / "elsewhere")
    assert [command.split()[-1] for command in started] == ["run_dir=s1", "run_dir=s2"]


def test_no_recorded_number_is_lost(experiments: Path, parts: list[Path]):
    record("e", parts[0], parts[0])
    shutil.rmtree(experiments / "scores")
    before = (experiments / "e.yaml").read_bytes()
    shutil.copytree(parts[0] / "e" / "pilot", parts[1] / "e" / "pilot")
    with pytest.raises(UserError, match=r"stays as it is: 1 of its 1 numbers cannot be read.*\(seed 0: .*s0"):
        record("e", parts[1], parts[1])
    assert (experiments / "e.yaml").read_bytes() == before
    assert (experiments / "scores" / "e" / "s1" / "eval.csv").is_file()
    record("e", parts[0], parts[0])
    record("e", parts[1], parts[1])
    assert len(read("e").expected.values) == 4  # type: ignore[union-attr]


def test_a_run_that_has_not_ended_is_not_kept(experiments: Path, parts: list[Path]):
    path = parts[0] / "e" / "history.jsonl"
    path.write_text(path.read_text().replace('"status": 0', '"status": 130'))
    path.write_text("\n".join([line.replace("130", "0") if "run_dir=pilot" in line else line
                               for line in path.read_text().splitlines()]) + "\n")  # fmt: skip
    with pytest.raises(UserError, match="holds no number of e"):
        record("e", parts[0], parts[0])
    assert sorted(path.name for path in (experiments / "scores" / "e").iterdir()) == ["history.jsonl", "pilot"]


def test_settings_and_paths_are_not_kept(experiments: Path, parts: list[Path]):
    (parts[0] / "e" / "s0" / "environment.txt").write_text("command: x /home/me\npython: 3\nplatform: y\ntorch: 2\n")
    (parts[0] / "e" / "s0" / "offline.csv").write_text("step\n1\n")
    record("e", parts[0], parts[0])
    kept = experiments / "scores" / "e" / "s0"
    assert sorted(path.name for path in kept.iterdir()) == ["environment.txt", "eval.csv", "offline.csv"]
    assert (kept / "environment.txt").read_text() == "python: 3\ntorch: 2\n"
    assert yaml.safe_load((experiments / "e.yaml").read_text())["expected"]["versions"] == {"python": "3", "torch": "2"}


@pytest.fixture
def seed_0(experiments: Path, tmp_path: Path, started: list[str]) -> Path:
    """The folder of an experiment of one run that has ended, without its history."""
    written(experiments, {"command": "python -m vgf.run run_dir=a"}, measures=[MEASURES[1]])
    runner.run_missing(read, "e", tmp_path)
    (tmp_path / "e" / "history.jsonl").unlink()
    return tmp_path / "e"


def test_what_failed_is_no_provenance_and_what_was_gone_on_from_is(seed_0: Path):
    command, gone = "python -m vgf.run run_dir=a", "python -m vgf.run run_dir=gone"
    for attempt in (
        Attempt(gone, 130, 1000.0, "stopped for good", "2000-01-01", "Z"),
        Attempt(command, 1, 100.0, "broken", "2000-01-01", "Y"),
        Attempt(command, 143, 10.0, "first half", "2000-01-01", "A, 2 cores"),
        Attempt(command, 0, 1.0, "second half", "2000-01-02", "B, 4 cores"),
        Attempt(gone, 2, 10000.0, "broken again", "2000-01-03", "X"),
    ):
        add(seed_0, attempt)
    expected, _ = expected_of(read("e"), seed_0)
    assert (expected.commit, expected.earlier) == ("second half", ["first half"])
    assert (expected.seconds, expected.date) == (11, "2000-01-02")
    assert expected.machine == "A, 2 cores and B, 4 cores"


def test_scores_made_elsewhere_are_not_of_the_machine_that_records_them(
    experiments: Path, tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
):
    written(experiments, {"command": "python -m vgf.run run_dir=a"}, measures=[MEASURES[1]])
    monkeypatch.setattr(runner, "machine", lambda: "there, 8 cores")
    runner.run_missing(read, "e", tmp_path)
    monkeypatch.setattr(recording, "machine", lambda: "here, 2 cores")
    record("e", tmp_path, tmp_path)
    assert read("e").expected.machine == "there, 8 cores"  # type: ignore[union-attr]


def test_older_lines_tell_no_machine(seed_0: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recording, "machine", lambda: "here, 2 cores")
    older = {"command": "python -m vgf.run run_dir=a", "status": 0, "seconds": 1.0, "commit": "c", "date": "2000-01-01"}
    (seed_0 / "history.jsonl").write_text(json.dumps(older) + "\n")
    assert expected_of(read("e"), seed_0)[0].machine == "here, 2 cores"
    whole = read("e")
    recorded = Expected("c", "2000-01-01", "there, 8 cores and beyond, 9 cores")
    known = expected_of(dataclasses.replace(whole, expected=recorded), seed_0)[0]
    assert known.machine == recorded.machine  # not that of the machine that reads them again
    merge(tmp_path / "kept", history(seed_0))
    assert (tmp_path / "kept" / "history.jsonl").read_text() == (seed_0 / "history.jsonl").read_text()


def test_a_torn_line_takes_no_later_attempt_with_it(tmp_path: Path):
    (tmp_path / "history.jsonl").write_text('{"command": "torn", "sta')
    add(tmp_path, Attempt("whole", 0, 1.0, "c", "2000-01-01"))
    add(tmp_path, Attempt("next", 0, 1.0, "c", "2000-01-01"))
    assert [attempt.command for attempt in history(tmp_path)] == ["whole", "next"]


def test_a_figure_goes_with_the_numbers_of_its_run(
    experiments: Path, tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
):
    written(experiments, {"command": "python -m vgf.run run_dir=a"}, measures=[MEASURES[1]])
    path, docs = experiments / "e.yaml", tmp_path / "docs"
    figure = {"file": "e.png", "alt": "e", "caption": "e", "source": "a/curve.png"}
    path.write_text(path.read_text() + yaml.safe_dump({"figures": [figure]}))
    runner.run_missing(read, "e", tmp_path)
    (tmp_path / "e" / "a" / "curve.png").write_text("first")
    assert "figure: " in record("e", tmp_path, docs)
    (tmp_path / "e" / "a" / "curve.png").write_text("of vgf verify, later")
    monkeypatch.setattr(page, "page_text", lambda known: "")
    page.write_page(docs)
    assert (docs / "e.png").read_text() == "first"
