"""A tiny experiment from its YAML to ``vgf verify``: run, recorded, compared, interrupted, gone on with."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.command import run_main
from tests.results.small_experiments import PILOT, SEEDS, written
from vgf import UserError, identity
from vgf.results import page, runner
from vgf.results.__main__ import main
from vgf.results.history import history
from vgf.results.registry import read


def test_an_experiment_from_its_file_to_its_verdict(experiments: Path, tmp_path: Path):
    root = ["--root", str(tmp_path / "root")]
    assert "has no numbers to compare with" in run_main(["verify", "tiny", *root])[1]
    main(["run", "more", *root])  # first what it starts from
    main(["record", "tiny", *root])
    recorded = read("tiny").expected
    assert recorded is not None
    assert read("tiny").status == "run"
    assert recorded.seconds is not None
    assert recorded.seconds > 0
    assert recorded.values["far"][0] > 0
    status, said = run_main(["verify", "tiny", *root])  # nothing is left to run
    assert (status, said.splitlines()[-1]) == (0, "tiny: 1 of 1 inside their recorded 95 % intervals")
    assert len(history(tmp_path / "root" / "tiny")) == 1
    evaluated = tmp_path / "root" / "more" / "history.jsonl"
    evaluated.write_text(evaluated.read_text().replace('"commit": "', '"commit": "later'))
    main(["record", "more", *root])
    assert read("more").expected.commit.startswith("later")  # type: ignore[union-attr]  # not that of what was trained
    assert read("more").expected.values["far"][0] > recorded.values["far"][0]  # type: ignore[union-attr]

    text = (experiments / "tiny.yaml").read_text()
    (experiments / "tiny.yaml").write_text(text.replace(f"far: [{recorded.values['far'][0]:g}", "far: [9.0").replace(
        ", ".join(f"{x:g}" for x in recorded.values["far"][1:]), "8.0, 9.5"))  # fmt: skip
    status, said = run_main(["verify", "tiny", "--runs", str(tmp_path / "root" / "tiny")])
    assert status == 1
    assert said.startswith("OUTSIDE  far: ")
    (tmp_path / "empty").mkdir()
    status, said = run_main(["verify", "tiny", "--runs", str(tmp_path / "empty")])
    assert status == 1
    assert said.startswith("missing  far: ")
    status, said = run_main(["verify", "tiny", "--runs", str(tmp_path / "absent")])
    assert (status, said) == (
        2, f"vgf: --runs {tmp_path / 'absent'} is no folder; it holds the run directories of tiny",
    )  # fmt: skip


def recorded(folder: Path, values: dict[str, list[float]], *runs: dict, measures: list[dict]) -> None:
    """An experiment ``e`` with numbers."""
    written(folder, *runs, measures=measures)
    whole = yaml.safe_load((folder / "e.yaml").read_text())
    whole["expected"] = {"commit": "c", "date": "d", "machine": "m", "values": values}
    (folder / "e.yaml").write_text(yaml.safe_dump(whole))


def test_only_runs_that_recorded_numbers_need_are_run(experiments: Path, tmp_path: Path, started: list[str]):
    seeds = {"grid": {"seed": [0, 1, 2]}, "command": "python -m vgf.run seed={seed} run_dir=s{seed}"}
    one = {"name": "{seed}", "method": "qgf", "budget": 0.3, "where": {"seed": ["{seed}"]}, "each": {"seed": [0, 1, 2]}}
    recorded(experiments, {"1": [1.0, 0.5, 1.0]}, seeds, measures=[one])
    assert run_main(["verify", "e", "--root", str(tmp_path)])[0] == 0
    assert started == ["seed=1 run_dir=s1"]
    shown = "\n".join(page._commands(read("e"), read("e").expected))  # type: ignore[arg-type]
    assert "seed=1" in shown
    assert "seed=0" not in shown
    assert "more with" not in shown


def test_a_number_without_an_interval_is_told_and_not_judged(experiments: Path, tmp_path: Path, started: list[str]):
    run = {"command": "python -m vgf.run run_dir=a"}
    measure = {"name": "far", "method": "qgf", "budget": 0.3, "field": "travelled", "statistic": "mean"}
    recorded(experiments, {"far": [0.2]}, run, measures=[measure])
    assert run_main(["verify", "e", "--root", str(tmp_path)]) == (0, "\n".join([
        "e, 1 to go: python -m vgf.run run_dir=a",
        "beside   far: 0.10; recorded 0.20, without an interval",
        "e: 0 of 0 inside their recorded 95 % intervals",
    ]))  # fmt: skip


@pytest.mark.parametrize(
    ("values", "status", "said"),
    [
        ([0.1, 0.1, 0.9], 0, (2, 3, "0.5")),
        ([0.1, 0.9, 0.9], 1, (1, 3, "0.5")),
        ([0.1] * 12 + [0.9] * 8, 0, (12, 20, "3.3")),
        ([0.1] * 11 + [0.9] * 9, 1, (11, 20, "3.3")),
    ],
)
def test_no_more_may_miss_than_chance_explains(
    values: list[float], status: int, said: tuple[int, int, str], experiments: Path, tmp_path: Path, started: list[str]
):
    """What is read here travels 0.1."""
    names = [f"far {k}" for k in range(len(values))]
    measure = {"method": "qgf", "budget": 0.3, "field": "travelled", "statistic": "mean"}
    numbers = {name: [value, value - 0.05, value + 0.05] for name, value in zip(names, values, strict=True)}
    run = {"command": "python -m vgf.run run_dir=a"}
    recorded(experiments, numbers, run, measures=[{"name": name} | measure for name in names])
    found, told = run_main(["verify", "e", "--root", str(tmp_path)])
    inside, of, expected = said
    assert found == status
    assert told.splitlines()[-1] == (
        f"e: {inside} of {of} inside their recorded 95 % intervals; chance alone leaves about {expected} outside"
    )


@pytest.mark.parametrize("option", [["--pilot"], ["--limit-minutes", "3"], ["--root", "x"]])
def test_options_of_running_are_refused_where_nothing_is_run(experiments: Path, tmp_path: Path, option: list[str]):
    recorded(experiments, {"far": [0.2]}, {"command": "python -m vgf.run run_dir=a"}, measures=[])
    status, said = run_main(["verify", "e", "--runs", str(tmp_path), *option])
    assert (status, said) == (2, f"vgf: {option[0]} is for running, and --runs only reads; leave one out")


def test_numbers_without_commands_are_not_looked_for_in_runs(experiments: Path, tmp_path: Path):
    recorded(experiments, {"far": [0.2]}, measures=[{"name": "far", "method": "qgf"}])
    status, said = run_main(["verify", "e", "--runs", str(tmp_path)])
    assert (status, said.split(";")[0]) == (2, "vgf: e has no commands of its own to run, and no runs to read")


def test_the_state_writes_nothing_and_one_broken_experiment_hides_no_other(
    experiments: Path, tmp_path: Path, started: list[str]
):
    written(experiments, PILOT, SEEDS)
    runner.run_missing(read, "e", tmp_path)
    whole = yaml.safe_load((experiments / "e.yaml").read_text())
    (experiments / "f.yaml").write_text(yaml.safe_dump(whole | {"name": "f"}))
    shutil.copytree(tmp_path / "e", tmp_path / "f")
    shutil.rmtree(tmp_path / "e" / "pilot")
    (tmp_path / "f" / "chosen.json").unlink()
    broken, fine = runner.state([read("e"), read("f")], tmp_path)
    assert broken.startswith("e: ")
    assert "pilot" in broken
    assert fine == "f: 4 runs ended in 0 min; complete"
    assert not (tmp_path / "f" / "chosen.json").exists()


def test_all_experiments_are_listed(experiments: Path):
    status, said = run_main(["verify"])
    assert status == 0
    assert [line.split()[0] for line in said.splitlines()] == ["more", "tiny"]


def test_an_unknown_experiment_offers_the_nearest(experiments: Path):
    assert run_main(["verify", "tinny"]) == (
        2, "vgf: no experiment is called 'tinny'; 'vgf verify' lists them. Did you mean 'tiny'?",
    )  # fmt: skip


def test_the_pilot_runs_first_and_its_budgets_go_into_the_commands(
    experiments: Path, tmp_path: Path, started: list[str]
):
    written(experiments, PILOT, SEEDS)
    assert runner.run_missing(read, "e", tmp_path)
    assert [command.split()[-1] for command in started] == ["run_dir=pilot", "run_dir=s0", "run_dir=s1", "run_dir=s2"]
    assert started[1] == "seed=0 eval.baselines=[qgf@0.3] run_dir=s0"
    assert json.loads((tmp_path / "e" / "chosen.json").read_text()) == {"qgf": 0.3}
    assert runner.state([read("e")], tmp_path) == ["e: 4 runs ended in 0 min; complete"]


def test_recorded_budgets_need_no_pilot(experiments: Path, tmp_path: Path, started: list[str]):
    written(experiments, PILOT, SEEDS)
    whole = yaml.safe_load((experiments / "e.yaml").read_text())
    whole["expected"] = {"commit": "c", "date": "d", "machine": "m", "chosen": {"qgf": 0.1}}
    (experiments / "e.yaml").write_text(yaml.safe_dump(whole))
    assert runner.run_missing(read, "e", tmp_path, only={"seed": "1"})
    assert started == ["seed=1 eval.baselines=[qgf@0.1] run_dir=s1"]


def test_a_limit_stops_between_runs_and_the_next_call_goes_on(experiments: Path, tmp_path: Path, started: list[str]):
    written(experiments, PILOT, SEEDS)
    assert not runner.run_missing(read, "e", tmp_path, limit_minutes=0)
    assert started == []
    assert runner.run_missing(read, "e", tmp_path, only={"seed": "0"})
    assert runner.state([read("e")], tmp_path) == ["e: 2 runs ended in 0 min; 2 to go, next s1"]
    assert runner.run_missing(read, "e", tmp_path)
    assert len(started) == 4


def test_only_runs_that_are_wanted_bring_the_runs_they_start_from(
    experiments: Path, tmp_path: Path, started: list[str]
):
    written(experiments, PILOT, SEEDS)
    whole = yaml.safe_load((experiments / "e.yaml").read_text())
    copies = {"grid": {"seed": [0, 1, 2]}, "command": "python -m vgf.run run_dir=x{seed}", "copy": "e/s{seed}"}
    (experiments / "f.yaml").write_text(yaml.safe_dump(whole | {"name": "f", "runs": [copies]}))
    assert runner.run_missing(read, "f", tmp_path, only={"seed": "1"})
    assert [command.split()[-1] for command in started] == ["run_dir=pilot", "run_dir=s1", "run_dir=x1"]


@pytest.mark.parametrize(
    ("only", "said"),
    [
        ({"sed": "0"}, r"e has no such key \(its keys: seed\).*'seed'"),
        ({"seed": "9"}, "--only seed=9 leaves no run of e"),
    ],
)
def test_only_that_fits_no_run_is_refused(
    experiments: Path, tmp_path: Path, started: list[str], only: dict[str, str], said: str
):
    written(experiments, PILOT, SEEDS)
    with pytest.raises(UserError, match=said):
        runner.run_missing(read, "e", tmp_path, only=only)
    assert started == []


def test_only_those_runs_of_another_experiment_are_made_that_one_starts_from(
    experiments: Path, tmp_path: Path, started: list[str]
):
    written(experiments, PILOT, SEEDS)
    whole = yaml.safe_load((experiments / "e.yaml").read_text())
    whole |= {"name": "f", "runs": [{"command": "python -m vgf.run run_dir=x", "copy": "e/s1"}]}
    (experiments / "f.yaml").write_text(yaml.safe_dump(whole))
    assert runner.run_missing(read, "f", tmp_path)
    assert [command.split()[-1] for command in started] == ["run_dir=pilot", "run_dir=s1", "run_dir=x"]
    assert (tmp_path / "f" / "x" / "config.yaml").is_file()


def test_a_run_that_fails_ends_it_and_is_tried_again(experiments: Path, tmp_path: Path, started: list[str]):
    written(experiments, {"command": "python -m vgf.run tracker=fail run_dir=a"})
    for _ in range(2):
        with pytest.raises(UserError, match=r"a run of e ended with status 3: python -m vgf.run tracker=fail"):
            runner.run_missing(read, "e", tmp_path)
    assert [attempt.status for attempt in history(tmp_path / "e")] == [3, 3]


def test_every_attempt_tells_the_commit_that_it_started_from(
    experiments: Path, tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
):
    code = tmp_path / "code"
    code.mkdir()
    monkeypatch.setattr(identity, "__file__", str(code / "identity.py"))

    def git(*words: str) -> str:
        whole = ["git", "-C", str(code), "-c", "user.name=n", "-c", "user.email=e", *words]
        return subprocess.run(whole, check=True, capture_output=True, text=True).stdout.strip()

    (code / "identity.py").touch()
    git("init")
    git("add", "identity.py")
    git("commit", "-m", "0")
    commits, pretend = [git("rev-parse", "HEAD")], runner._ended

    def overtaken(words: list[str], folder: Path) -> int:
        git("commit", "--allow-empty", "-m", str(len(commits)))
        commits.append(git("rev-parse", "HEAD"))
        return pretend(words, folder)

    monkeypatch.setattr(runner, "_ended", overtaken)
    written(experiments, PILOT, SEEDS)
    assert runner.run_missing(read, "e", tmp_path)
    assert [attempt.commit for attempt in history(tmp_path / "e")] == commits[:-1]


def test_a_torn_line_of_the_history_is_left_out(tmp_path: Path):
    whole = {"command": "a", "status": 0, "seconds": 1.0, "commit": "c", "date": "d"}
    (tmp_path / "history.jsonl").write_text(json.dumps(whole) + '\n{"command": "b", "sta')
    assert [attempt.command for attempt in history(tmp_path)] == ["a"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "run: name an experiment"),
        (["run", "tiny", "--only", "x"], "write KEY=VALUE"),
        (["dance"], "invalid choice"),
    ],
)
def test_wrong_arguments_are_one_line(experiments: Path, arguments: list[str], said: str):
    with pytest.raises(UserError, match=said):
        main(arguments)
