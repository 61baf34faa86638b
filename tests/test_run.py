"""The command line: what a run leaves behind, and that every mistake ends in one line."""

from __future__ import annotations

import csv
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
from hydra.core.global_hydra import GlobalHydra
from safetensors.torch import load_file

import vgf.run
from tests.command import ONE_EPISODE
from vgf import scoring
from vgf.methods import method_names
from vgf.rundir import read_config


@pytest.fixture
def complaint(monkeypatch, capsys, tmp_path):
    """Call the command line in this process; return the one line it ends with."""

    def call(*overrides: str) -> str:
        GlobalHydra.instance().clear()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["vgf", *overrides])
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as stop:
                vgf.run.main()
        finally:
            signal.signal(signal.SIGTERM, before)
        assert stop.value.code == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("vgf: ")
        return lines[0]

    return call


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


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.stesp=3", "'train.stesp' is not a configuration key.*'train.steps'"),
        ("trian.steps=3", "'trian.steps' is not a configuration key.*'train.steps'"),
        ("task=ogbnch", "task=ogbnch is unknown.*'ogbench'"),
        ("method=qfg", "method=qfg is unknown.*'qgf'"),
        ("preset=papr", "preset=papr is unknown.*'paper'"),
        ("preset=a_vgf/cube-sngle", "a_vgf/\\*.*'a_vgf/cube-single'"),
        ("train.steps=abc", "train.steps: .*'abc'.* int"),
        ("train.steps=-4", "train.steps=-4 is out of range"),
        ("seed=1.5", "seed: .*1.5.* int"),
        ("budget.size=-1", "budget.size=-1"),
        ("budget.size=nan", "budget.size=nan"),
        ("budget.radius=-1", "budget.radius=-1"),
        ("eval.budgets=[0,-1]", "budget.size=-1"),
        ("eval.budgets=[a]", "eval.budgets: .*'a'"),
        ("eval.budgets=3", "eval.budgets: .*list"),
        ("env=cube-singl-play-singletask-task2-v0", "cube-singl-play.*'cube-single-play-singletask-task2-v0'"),
        ("env=Hopper-v5", "'Hopper-v5' is not an OGBench single-task name"),
        ("mode=evil", "mode=evil is unknown.*'eval'"),
        ("mode=eval", "mode=eval needs run=DIR"),
        ("mode=eval run=nowhere", "run=nowhere does not exist"),
        ("mode=eval run=.", "run=. is no run directory"),
        ("+foo=1", "foo"),
        ("foo", "'foo' cannot be read; write key=value"),
        ("data.source=bogus", "data.source=bogus is unknown"),
        ("data.path=nowhere.npz", "nowhere.npz does not exist"),
        ("trainer=onlin", "trainer=onlin is unknown"),
        ("transport.select=best", "transport.select=best is unknown"),
        ("transport.aggregate=median", "aggregate='median'"),
        ("transport.rule=qgff", "rule 'qgff' is unknown.*'qgf'"),
        ("method=a_vgf", "net.extras=\\[gradient\\]"),
        ("net.extras=[flowmap]", "net.extras=flowmap is unknown.*'flow_map'"),
        ("eval.baselines=[bon]", "method='bon' is unknown"),
        ("budget=atuo", "budget=atuo is unknown.*'auto'"),
        ("budget=auto method=ifql", "budget=auto: method=ifql has no budget"),
        ("budget=auto method=all", "budget=auto: method=all has no budget"),
        ("transport.gate=0.5", "transport.gate=0.5 is out of range"),
        ("train.critic=tdd", "train.critic=tdd is unknown.*'td'"),
        ("train.critic=td train.td.rule=a_vgf", r"train.td.rule=a_vgf needs .*net.extras=\[gradient\]"),
        ("train.critic=sarsa net.extras=[optimal]", "which train.critic=sarsa .* does not learn"),
        ("net.reference=gausian", "net.reference=gausian is unknown.*'gaussian'"),
        ("train.freeze=[flw]", "train.freeze=flw is unknown.*'flow'"),
        ("trainer=extras", "trainer=extras adds networks to a finished run"),
        ("net.policy=one_step", "net.policy=one_step does not go with trainer=offline"),
        ("trainer=fql net.policy=null", "net.policy=None does not go with trainer=fql"),
        ("trainer=qam train.flow_steps=1", "two or more steps"),
        ("net.reference=gaussian net.extras=[flow_map]", "flow-matching source"),
        ("net.heads=1 transport.gate=2", "net.heads of 2 or more"),
        ("method=vgf transport.step=norm_matched", "only rules inside the flow"),
        ("eval.baselines=[a_vgf]", r"net.extras=\[gradient\]"),
        ("train.td.size=-1", "train.td.size: budget.size=-1"),
        ("transport.alpha=0", "transport.alpha=0.0 is out of range"),
        ("budget=auto net.judge=false", "needs net.judge=true"),
        ("trainer=fql method=all", "flow-matching source"),
        ("preset=maze method=vgf eval.budgets=[0.5]", "counts whole steps, 0.5 is not one"),
        ("trainer=extras init=nowhere", "init=nowhere does not exist"),
        ("tracker=5", "tracker=5 is unknown"),
        ("text.second=null text.second.model=x", r"text.second=null leaves nothing to set text\.second\.model in"),
    ],
)
def test_every_mistake_is_one_line(complaint, override, said):
    assert re.search(said, complaint(*override.split()))


def bad_file(kind: str, good: Path, folder: Path) -> Path:
    path = folder / f"{kind}.npz"
    arrays = dict(np.load(good))
    if kind == "truncated":
        path.write_bytes(good.read_bytes()[:1000])
        return path
    if kind == "foreign":
        arrays = {"weights": np.zeros(3)}
    elif kind == "nan":
        arrays["observations"][7, 1] = np.nan
    elif kind == "actions":
        arrays["actions"] = np.concatenate([arrays["actions"]] * 2, axis=1)
    elif kind == "observations":
        arrays["observations"] = arrays["observations"][:, :1]
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("truncated", "not a readable npz file"),
        ("foreign", "no 'observations' array"),
        ("nan", "'observations' holds NaN or infinity, first in row 7"),
        ("actions", "actions have 4 entries, but .* has 2"),
        ("observations", "observations have 1 entries, but .* has 2"),
    ],
)
def test_bad_data_is_one_line(complaint, tiny, tiny_run, tmp_path, kind, said):
    folder = Path(next(o for o in tiny if o.startswith("data.folder=")).removeprefix("data.folder="))
    good = next(p for p in folder.rglob("*.npz") if "-val" not in p.name)
    path = bad_file(kind, good, tmp_path)
    others = [o for o in tiny if not o.startswith("data.")]
    assert re.search(said, complaint(*others, f"data.path={path}", f"run_dir={tmp_path / 'run'}"))


def test_a_chunk_longer_than_every_episode(complaint, tiny, tiny_run, tmp_path):
    assert "train.chunk=5000 is longer than every episode" in complaint(
        *tiny, "train.chunk=5000", f"run_dir={tmp_path / 'r'}"
    )


def test_the_directory_of_another_run(complaint, tiny, tiny_run):
    assert re.search(
        "already holds another run .train.steps is 60 there, 70 here",
        complaint(*tiny, "train.steps=70", f"run_dir={tiny_run}"),
    )
    assert "resume=never" in complaint(*tiny, "resume=never", f"run_dir={tiny_run}")


def test_a_directory_that_is_no_run(complaint, tiny, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letters.txt").write_text("keep me")
    assert "is not empty and holds no run" in complaint(*tiny, f"run_dir={tmp_path / 'full'}")
    assert "letters.txt" in complaint(*tiny, f"run_dir={tmp_path / 'full' / 'letters.txt'}")
    assert (tmp_path / "full" / "letters.txt").read_text() == "keep me"


def test_mode_eval_adds_another_method_and_trains_nothing(vgf_run, tiny_run, tmp_path):
    run_dir = tmp_path / "copy"
    shutil.copytree(tiny_run, run_dir)
    trained, metrics = parameters(run_dir), (run_dir / "metrics.jsonl").read_bytes()
    done = vgf_run("mode=eval", f"run={run_dir}", "method=vgf", "eval.budgets=[0,2]", "eval.baselines=[]")
    assert done.returncode == 0, done.stderr
    points = [(r["method"], r["budget"]) for r in rows(run_dir)]
    assert set(points) == {("qgf", "0"), ("qgf", "0.1"), ("best_of_n", "0"), ("vgf", "0"), ("vgf", "2"), ("vgf", "3")}
    assert len(points) == 12  # eval.episodes is the run's own
    assert re.search(r"vgf\s+steps 2", done.stdout)  # the knob of the method that is evaluated, not of the run's own
    assert "the best of 10 unmoved samples" in (run_dir / "report.html").read_text()
    assert (run_dir / "metrics.jsonl").read_bytes() == metrics
    assert all((parameters(run_dir)[k] == v).all() for k, v in trained.items())


def test_budget_auto_is_chosen_offline_and_kept(vgf_run, tiny_run, tmp_path):
    run_dir = tmp_path / "copy"
    shutil.copytree(tiny_run, run_dir)
    done = vgf_run("mode=eval", f"run={run_dir}", "budget=auto", "eval.episodes=1", "eval.baselines=[]")
    assert done.returncode == 0, done.stderr
    chosen = json.loads((run_dir / "auto_budget.json").read_text())["qgf"]
    said = re.search(r"budget=auto: size (\S+), where the judge", done.stdout)
    assert float(said[1]) == chosen["size"]
    assert chosen["size"] in (0.0, 0.1)
    assert not chosen["auto"]
    with (run_dir / "offline.csv").open() as file:
        measured = {(row["method"], float(row["budget"])) for row in csv.DictReader(file)}
    assert {("qgf", 0.0), ("qgf", 0.1), ("best_of_n", 0.0)} <= measured
    stored = (run_dir / "config.yaml").read_text().replace("auto: false", "auto: true")
    (run_dir / "config.yaml").write_text(stored)
    assert vgf.load(run_dir).method.budget.size == chosen["size"]


def test_extras_are_added_to_a_finished_run(vgf_run, tiny_run, tmp_path):
    more = ("net.extras=[flow_map]", "train.steps=4", "eval.episodes=1", "eval.budgets=[0]", "eval.baselines=[]")
    done = vgf_run("trainer=extras", f"init={tiny_run}", f"run_dir={tmp_path / 'more'}", *more, "method=qpilots_m")
    assert done.returncode == 0, done.stderr
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


def test_a_demonstration_needs_no_training(vgf_run, tmp_path):
    done = vgf_run("task=toy", f"run_dir={tmp_path / 'toy'}")
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "toy").iterdir()} == {"toy.csv", "toy.png"}
    assert "qpilots_m" in done.stdout


def test_data_without_an_environment_are_reported_by_what_was_measured(vgf_run, tmp_path):
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
    done = vgf_run("task=custom", f"data.path={tmp_path / 'mine.npz'}", *names, *small, f"run_dir={run_dir}")
    assert done.returncode == 0, done.stderr
    assert "judge gain" in done.stdout
    assert "nothing played" in done.stdout
    assert not (run_dir / "eval.csv").exists()
    assert {"offline.csv", "curve.png", "report.html"} <= {p.name for p in run_dir.iterdir()}
    assert "There is no environment" in (run_dir / "report.html").read_text()


def test_a_finished_command_given_again_only_evaluates(vgf_run, tiny, tiny_run, tmp_path):
    run_dir = tmp_path / "copy"
    shutil.copytree(tiny_run, run_dir)
    before, metrics = rows(run_dir), (run_dir / "metrics.jsonl").read_bytes()
    done = vgf_run(*tiny, f"run_dir={run_dir}")
    assert done.returncode == 0, done.stderr
    assert "trained to its end" in done.stdout
    assert (run_dir / "metrics.jsonl").read_bytes() == metrics
    clock = ("milliseconds",)
    assert [{k: v for k, v in r.items() if k not in clock} for r in rows(run_dir)] == [
        {k: v for k, v in r.items() if k not in clock} for r in before
    ]


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(vgf_run, tiny, tmp_path):
    """Interrupted and resumed training ends with the parameters of uninterrupted training, bit for bit."""
    long = [o for o in tiny if not o.startswith("train.")] + [
        "train.steps=600",
        "train.log_every=50",
        "train.save_every=100",
        *ONE_EPISODE,
    ]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert vgf_run(*long, f"run_dir={whole}").returncode == 0

    command = [sys.executable, "-m", "vgf.run", *long, f"run_dir={parts}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (parts / "checkpoints" / "latest").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert re.search(r"stopped at step \d+ of 600; the same command goes on", stderr)
    assert "Traceback" not in stderr
    stopped = int((parts / "checkpoints" / "latest").read_text().strip().removeprefix("step-"))
    assert 100 <= stopped < 600

    assert vgf_run(*long, f"run_dir={parts}").returncode == 0
    expected = parameters(whole)
    assert all((parameters(parts)[k] == v).all() for k, v in expected.items())
    steps = [json.loads(line)["step"] for line in (parts / "metrics.jsonl").open()]
    assert steps == list(range(50, 601, 50))


def test_multirun_makes_one_run_a_seed(vgf_run, tiny, tmp_path):
    quick = [*tiny, "train.steps=20", *ONE_EPISODE]
    done = vgf_run("-m", *quick, "seed=1,2", f"run_dir={tmp_path}/s${{seed}}")
    assert done.returncode == 0, done.stderr
    first, second = (parameters(tmp_path / f"s{seed}") for seed in (1, 2))
    assert any((first[k] != second[k]).any() for k in first)
