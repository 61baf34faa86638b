"""The command line: what a run leaves behind, evaluated again, interrupted, or handed on to another."""

from __future__ import annotations

import csv
import functools
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import vgf
from tests.command import ONE_EPISODE, run_main
from vgf import launch, scoring
from vgf.methods import method_names
from vgf.played import read_played
from vgf.rundir import RunDirectory, read_config
from vgf.tasks import toy
from vgf.tasks.toy_problems import bandit, gaussian


def parameters(run_dir: Path) -> dict:
    newest = (run_dir / "checkpoints" / "latest").read_text().strip()
    return load_file(run_dir / "checkpoints" / newest / "networks.safetensors")


def rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "eval.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_everything_behind(tiny_run):
    names = {p.name for p in tiny_run.iterdir()}
    wanted = {"config.yaml", "environment.txt", "metrics.jsonl", "eval.csv", "curve.png", "report.html", "checkpoints"}
    wanted |= {"probe.npz", "offline.csv"}
    assert wanted <= names
    assert [json.loads(line)["step"] for line in (tiny_run / "metrics.jsonl").open()] == [20, 40, 60]
    points = {(r["method"], r["budget"]) for r in rows(tiny_run)}
    assert points == {("qgf", "0"), ("qgf", "0.1"), ("best_of_n", "0")}
    assert len(rows(tiny_run)) == 6
    assert (tiny_run / "curve.png").read_bytes().startswith(b"\x89PNG")
    best, latest = ((tiny_run / "checkpoints" / name).read_text() for name in ("best", "latest"))
    assert best == latest, "it was played after it was saved"


def test_mode_eval_adds_another_method_and_trains_nothing(tiny_run, tmp_path):
    run_dir = tmp_path / "copy"
    shutil.copytree(tiny_run, run_dir)
    trained, metrics = parameters(run_dir), (run_dir / "metrics.jsonl").read_bytes()
    status, text = run_main(["mode=eval", f"run={run_dir}", "method=vgf", "eval.budgets=[0,2]", "eval.baselines=[]"])
    assert status == 0, text
    points = [(r["method"], r["budget"]) for r in rows(run_dir)]
    assert set(points) == {("qgf", "0"), ("qgf", "0.1"), ("best_of_n", "0"), ("vgf", "0"), ("vgf", "2"), ("vgf", "3")}
    assert len(points) == 12  # eval.episodes is the run's own
    assert {(method, f"{budget:g}") for _, method, budget in read_played(run_dir)} == set(points)
    assert re.search(r"vgf\s+steps 2", text)  # the knob of the method that is evaluated, not of the run's own
    assert "the best of 10 unmoved samples" in (run_dir / "report.html").read_text()
    assert (run_dir / "metrics.jsonl").read_bytes() == metrics
    assert all((parameters(run_dir)[k] == v).all() for k, v in trained.items())


def test_budget_auto_is_chosen_offline_and_kept(tiny_run, tmp_path):
    run_dir = tmp_path / "copy"
    shutil.copytree(tiny_run, run_dir)
    status, text = run_main(["mode=eval", f"run={run_dir}", "budget=auto", "eval.episodes=1", "eval.baselines=[]"])
    assert status == 0, text
    chosen = json.loads((run_dir / "auto_budget.json").read_text())["qgf"]
    said = re.search(r"budget=auto: size (\S+), up to which critic and judge", text)
    assert float(said[1]) == chosen["size"]
    assert chosen["size"] in (0.0, 0.1)
    assert not chosen["auto"]
    with (run_dir / "offline.csv").open() as file:
        measured = {(row["method"], float(row["budget"])) for row in csv.DictReader(file)}
    assert {("qgf", 0.0), ("qgf", 0.1), ("best_of_n", 0.0)} <= measured
    stored = (run_dir / "config.yaml").read_text().replace("auto: false", "auto: true")
    (run_dir / "config.yaml").write_text(stored)
    assert vgf.load(run_dir).method.budget.size == chosen["size"]


def test_extras_are_added_to_a_finished_run(tiny_run, tmp_path):
    more = ("net.extras=[flow_map]", "train.steps=4", "eval.episodes=1", "eval.budgets=[0]", "eval.baselines=[]")
    status, text = run_main(
        ["trainer=extras", f"init={tiny_run}", f"run_dir={tmp_path / 'more'}", *more, "method=qpilots_m"]
    )
    assert status == 0, text
    old, new = parameters(tiny_run), parameters(tmp_path / "more")
    assert all((new[k] == v).all() for k, v in old.items())
    assert any(k.startswith("extras.flow_map") for k in new)
    assert {row["method"] for row in rows(tmp_path / "more")} == {"qpilots_m"}


def test_method_all_is_every_method_the_run_has_networks_for(tiny_run, capsys):
    config = read_config(tiny_run)
    config.method = "all"
    config.net.extras = []
    points = scoring.points_of(config, vgf.load(tiny_run))
    assert {method.method for method, _ in points} == set(method_names()) - {"a_vgf", "robust_q", "qpilots_m", "cfgrl"}
    assert [knob for method, knob in points if method.method == "vgf"] == [0, 1, 2, 3]
    assert capsys.readouterr().out.count("left out: method=") == 4


def test_a_demonstration_needs_no_training(tmp_path, monkeypatch):
    monkeypatch.setattr(toy, "bandit", functools.partial(bandit, samples=200, updates=50))
    monkeypatch.setattr(toy, "gaussian", functools.partial(gaussian, flow_steps=5))
    monkeypatch.setattr(toy, "SWEEP", (1.0,))
    status, text = run_main(["task=toy", f"run_dir={tmp_path / 'toy'}"])
    assert status == 0, text
    assert {p.name for p in (tmp_path / "toy").iterdir()} == {"toy.csv", "toy.png"}
    assert "qpilots_m" in text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("seeds=3", "seeds says nothing to task=toy, which reads task, seed, run_dir; leave it out"),
        ("budget.size=0.1", "budget.size says nothing to task=toy"),
        ("method=vgf", "method says nothing to task=toy"),
        (f"seed={2**70}", f"seed={2**70} is out of range"),
        ("seed=-1", "seed=-1 is out of range"),
    ],
)
def test_a_demonstration_refuses_what_it_does_not_read(given, said, monkeypatch):
    monkeypatch.setattr(toy, "demonstrate", lambda *_: pytest.fail("was shown"))
    status, text = run_main(["task=toy", given])
    assert (status, said in text, text.strip().count("\n")) == (2, True, 0), text


def test_data_without_an_environment_are_reported_by_what_was_measured(tmp_path):
    rng = np.random.default_rng(0)
    ends = np.arange(600) % 20 == 19
    np.savez(
        tmp_path / "mine.npz",
        obs=rng.normal(size=(600, 3)).astype(np.float32),
        actions=rng.uniform(-1, 1, (600, 2)).astype(np.float32),
        pay=rng.normal(size=600).astype(np.float32),
        timeouts=ends,
        terminals=np.zeros(600, bool),
    )
    small = ("net.hidden=16", "net.layers=1", "train.steps=20", "train.log_every=10", "train.save_every=20")
    run_dir = tmp_path / "run"
    names = ("data.columns.observations=obs", "data.columns.rewards=pay")
    status, text = run_main(["task=custom", f"data.path={tmp_path / 'mine.npz'}", *names, *small, f"run_dir={run_dir}"])
    assert status == 0, text
    assert "judge gain" in text
    assert "nothing played" in text
    assert not (run_dir / "eval.csv").exists()
    assert {"offline.csv", "curve.png", "report.html"} <= {p.name for p in run_dir.iterdir()}
    assert "There is no environment" in (run_dir / "report.html").read_text()


def test_a_directory_is_one_process_s_whatever_rank_a_launcher_gives_it(tiny_run, tmp_path, monkeypatch):
    shutil.copytree(tiny_run, tmp_path / "copy")
    with RunDirectory(tmp_path / "copy").held():
        for rank in ("0", "1"):
            monkeypatch.setenv("RANK", rank)
            status, text = run_main(["mode=eval", f"run={tmp_path / 'copy'}"])
            assert (status, "another process is working" in text) == (2, True)


def test_a_finished_command_given_again_only_evaluates(tiny, tiny_run, tmp_path):
    run_dir = tmp_path / "copy"
    shutil.copytree(tiny_run, run_dir)
    before, metrics = rows(run_dir), (run_dir / "metrics.jsonl").read_bytes()
    status, text = run_main([*tiny, f"run_dir={run_dir}"])
    assert status == 0, text
    assert "trained to its end" in text
    assert "3 of 3 points were played before and are kept" in text
    assert (run_dir / "metrics.jsonl").read_bytes() == metrics
    assert rows(run_dir) == before


def test_an_evaluation_that_was_interrupted_goes_on_with_the_points_it_lacks(tiny, tiny_run, tmp_path):
    run_dir = tmp_path / "copy"
    shutil.copytree(tiny_run, run_dir)
    before = rows(run_dir)
    lines = (run_dir / "eval.csv").read_text().splitlines(keepends=True)
    lost = next(i for i, line in enumerate(lines) if line.startswith("60,qgf,0.1,"))
    (run_dir / "eval.csv").write_text("".join(lines[:lost] + lines[lost + 1 :]))
    status, text = run_main([*tiny, f"run_dir={run_dir}"])
    assert status == 0, text
    assert "2 of 3 points were played before and are kept" in text

    def told(found: list[dict[str, str]], played: bool) -> list[dict[str, str]]:
        """Rows of the point that was played again, without the clock, or those of the others."""
        own = sorted((r for r in found if (r["budget"] == "0.1") == played), key=str)
        return [{k: v for k, v in r.items() if not played or k != "milliseconds"} for r in own]

    assert told(rows(run_dir), True) == told(before, True)
    assert told(rows(run_dir), False) == told(before, False)
    status, text = run_main([*tiny, *ONE_EPISODE, f"run_dir={run_dir}", "eval.seed=3"])
    assert status == 0, text
    assert "were played before" not in text


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(tiny, tmp_path, monkeypatch):
    """Interrupted and resumed training ends with the parameters of uninterrupted training, bit for bit."""
    monkeypatch.setattr(launch, "score_run", lambda *_: None)  # takes longer than all of the training
    long = [o for o in tiny if not o.startswith("train.")] + [
        "train.steps=120",
        "train.batch_size=16",
        "train.log_every=10",
        "train.save_every=20",
    ]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    status, text = run_main([*long, f"run_dir={whole}"])
    assert status == 0, text

    command = [sys.executable, "-m", "vgf.run", *long, f"run_dir={parts}"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell has it ignored
    )
    try:
        deadline = time.monotonic() + 120
        while not (parts / "checkpoints" / "latest").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert re.search(r"stopped at step \d+ of 120; the same command goes on", stderr)
    assert "Traceback" not in stderr
    stopped = int((parts / "checkpoints" / "latest").read_text().strip().removeprefix("step-"))
    assert 20 <= stopped < 120

    status, text = run_main([*long, f"run_dir={parts}"])
    assert status == 0, text
    expected = parameters(whole)
    assert all((parameters(parts)[k] == v).all() for k, v in expected.items())
    steps = [json.loads(line)["step"] for line in (parts / "metrics.jsonl").open()]
    assert steps == list(range(10, 121, 10))


def test_multirun_makes_one_run_a_seed(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # Hydra leaves a file beside the runs
    quick = [*tiny, "train.steps=20", *ONE_EPISODE]
    status, text = run_main(["-m", *quick, "seed=1,2", f"run_dir={tmp_path}/s${{seed}}"])
    assert status == 0, text
    first, second = (parameters(tmp_path / f"s{seed}") for seed in (1, 2))
    assert any((first[k] != second[k]).any() for k in first)
