"""Every mistake on the command line ends in one line, before anything is lost."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra

import vgf.run
from vgf.checkpoint import latest_step


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
        ("online.steps=5000", "online.steps says nothing to trainer=offline; use trainer=online"),
        (
            "train.td.rule=qpilots_u",
            "train.td.rule says nothing to train.critic=iql; use train.critic=td, or leave it out",
        ),
        ("text.model=gpt2", "text.model says nothing to task=ogbench; use task=llm_reward, or leave it out"),
        ("train.steps=null", "train.steps: it cannot be null .* int"),
        (
            "text.gold=null",
            "text.gold is a group of keys; set one of them, such as text.gold.model=.*vgf explain text.gold",
        ),
        ("text.second=3", "text.second is a group of keys"),
        ("text.second.modle=x", "'text.second.modle' is not a configuration key.*'text.second.model'"),
        ("seed=1.5", "seed: .*1.5.* int"),
        ("budget.size=-1", "budget.size=-1"),
        ("budget.size=nan", "budget.size=nan"),
        ("budget.radius=-1", "budget.radius=-1"),
        ("eval.budgets=[0,-1]", "eval.budgets: .*=-1.* is not a budget"),
        ("eval.baselines=[vgf@0.5]", "vgf@0.5: method 'vgf' counts whole steps, 0.5 is not one"),
        ("eval.budgets=[a]", "eval.budgets: .*'a'"),
        ("eval.budgets=3", "eval.budgets: .*list"),
        ("env=cube-singl-play-singletask-task2-v0", "cube-singl-play.*'cube-single-play-singletask-task2-v0'"),
        ("env=Hopper-v5", "'Hopper-v5' is not an OGBench single-task name"),
        ("mode=evil", "mode=evil is unknown.*'eval'"),
        ("mode=eval", "mode=eval needs run=DIR"),
        ("mode=eval run=nowhere", "run=nowhere does not exist"),
        ("mode=eval run=.", "run=. is no run directory"),
        ("+foo=1", "foo"),
        ("foo", "'foo' is no command; write key=value or one of explain, .*; export, .* started as python -m"),
        ("explaim", "'explaim' is no command.*Did you mean 'explain'"),
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
        ("trainer=dpo", "trainer=dpo does not go with task=ogbench: .* use one of .*offline"),
        ("task=llm_reward train.steps=5", "train.steps says nothing to task=llm_reward; leave it out"),
        ("trainer=fql train.expectile=0.7", "train.expectile says nothing to trainer=fql; leave it out"),
        ("task=llm_reward trainer=fql", "trainer=fql does not go with task=llm_reward: .* use one of .*value"),
        ("-m hydra/launcher=corse", "hydra/launcher=corse is unknown; .* Did you mean 'cores'"),
        ("task=llm_reward text.seeds=0 text.second.columns.prompt=x", "text.seeds=0 is out of range"),
        ("task=llm_reward trainer=distill budget=auto", "trains at a budget that is named"),
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


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("method=idql train.critic=td", r"method=idql compares values with V\(s\)"),
        ("method=idql train.critic=sarsa", r"method=idql compares values with V\(s\)"),
        ("eval.baselines=[idql] train.critic=td", r"method=idql compares values with V\(s\)"),
        ("trainer=fql method=qpilots_u", "method=qpilots_u guides all steps but the first"),
        ("seeds=2 method=idql train.critic=td", r"method=idql compares values with V\(s\)"),
    ],
)
def test_a_method_that_the_run_will_have_nothing_for_is_refused_before_training(
    complaint, tiny, tiny_run, tmp_path, override, said
):
    assert re.search(said, complaint(*tiny, "eval.budgets=null", *override.split(), f"run_dir={tmp_path / 'run'}"))
    assert latest_step(tmp_path / "run") is None
    assert not list(tmp_path.rglob("metrics.jsonl"))


def test_a_baseline_that_the_run_has_nothing_for_is_refused_before_anything_is_played(complaint, tiny_run):
    before = (tiny_run / "eval.csv").read_bytes()
    said = complaint("mode=eval", f"run={tiny_run}", "eval.budgets=[0,0.7]", "eval.baselines=[robust_q]")
    assert "net.extras=[noisy]" in said
    assert (tiny_run / "eval.csv").read_bytes() == before
