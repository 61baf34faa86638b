"""Compiled, recorded and plain updates train the same networks, and recorded ones miss no log entry or checkpoint."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial

import pytest
import torch
from small import problem, small_config

from vgf import UserError
from vgf.rundir import RunDirectory
from vgf.trainers import loop, trainer
from vgf.trainers.loop import Trainer
from vgf.trainers.offline import objective, train

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}  # of parameters: compiled kernels add up in another order
COMPILER = pytest.mark.skipif(not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="no C++ compiler")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
TD = {
    "train__critic": "td",
    "train__td__particles": 2,
    "train__td__steps": 1,
    "train__flow_steps": 2,
    "net__judge": False,
}


def parameters(updates: int, device: str = "cpu", **changes) -> dict[str, torch.Tensor]:
    changes = {"net__layers": 1, "train__precision": "float32", "train__steps": updates, **changes}
    config = small_config(**changes)
    trainer = Trainer(config, problem(), torch.device(device), objective(config))
    while trainer.step < updates:
        trainer.advance()
    return {k: v.clone() for k, v in trainer.networks.state_dict().items()}


@pytest.mark.parametrize("changes", [{}, TD], ids=["iql", "td"])
def test_traced_updates_train_what_plain_updates_train(monkeypatch, capsys, changes):
    """The graph that a compiler is given, run as it is: seconds, where a C++ compiler takes minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    plain = parameters(3, **changes)
    torch.testing.assert_close(parameters(3, compile="on", **changes), plain, **TOLERANCE)
    assert "going on without" not in capsys.readouterr().err


@COMPILER
@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, TD], ids=["iql", "td"])
def test_compiled_updates_train_what_plain_updates_train(capsys, changes):
    plain = parameters(3, **changes)
    torch.testing.assert_close(parameters(3, compile="on", **changes), plain, **TOLERANCE)
    assert "going on without" not in capsys.readouterr().err


def test_without_a_gpu_graph_is_on_with_one_warning(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda function: asked.append(function) or function)
    plain = parameters(4)
    monkeypatch.setattr(torch.cuda, "Stream", None)  # nothing is recorded
    torch.testing.assert_close(parameters(4, compile="graph"), plain, rtol=0, atol=0)
    assert len(asked) == 1
    assert capsys.readouterr().err == "vgf: compile=graph needs a CUDA device; going on with compile=on\n"


class OneByOne:
    """Stands in for the recorder where there is no GPU: makes the steps, and remembers how many a launch had."""

    launches: list[int]

    def __init__(self, step, generators):
        self.step, OneByOne.launches = step, []

    def run(self, phase, count):
        self.launches.append(count)
        return [self.step() for _ in range(count)][-1], count


def test_launches_end_where_something_is_due(monkeypatch, tmp_path):
    written = []
    for folder, record in (("plain", False), ("launched", True)):
        monkeypatch.setattr(trainer, "records", lambda *_, record=record, **__: record)
        monkeypatch.setattr(trainer, "Recorder", OneByOne)
        config = small_config(train__updates_per_launch=3, train__log_every=4, train__save_every=7, train__steps=15)
        run = RunDirectory(tmp_path / folder)
        run.claim(config)
        assert train(config, problem(validation=True), run, torch.device("cpu")) == 15
        entries = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        written.append([{k: v for k, v in entry.items() if "second" not in k} for entry in entries])
        written.append(sorted(path.name for path in (run.path / "checkpoints").iterdir()))
    assert written[:2] == written[2:]
    assert OneByOne.launches == [3, 1, 3, 1, 3, 1, 2, 1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"train__nonfinite": "skip"}, "cannot leave out single updates"),
        ({"train__critic": "td", "train__td__rule": "qpilots_g"}, "drawn on the host (train.td.rule=qpilots_g)"),
        ({"train__td__rule": "qpilots_g"}, None),  # of a critic that makes no move
    ],
)
def test_what_cannot_be_recorded_is_known_beforehand(changes, said):
    config = small_config(**changes)
    against = Trainer(config, problem(), torch.device("cpu"), objective(config)).against_recording()
    assert (against is None) if said is None else said in against


def _not_a_number(nets, draw, config):
    return {"cloning/loss": sum(p.sum() for p in nets.flow.parameters()) * float("nan")}


def test_recorded_updates_that_are_not_finite_end_where_they_are_logged(monkeypatch, tmp_path):
    monkeypatch.setattr(trainer, "records", lambda *_: True)
    monkeypatch.setattr(trainer, "Recorder", OneByOne)
    config = small_config(train__log_every=3, train__save_every=12, train__steps=12)
    run = RunDirectory(tmp_path / "run")
    run.claim(config)
    broken = dict(objective(config))
    broken["cloning"] = replace(broken["cloning"], losses=_not_a_number)
    with pytest.raises(UserError, match="is not finite after 3 updates"):
        loop.train(config, problem(), run, torch.device("cpu"), broken)
    assert not (run.path / "metrics.jsonl").is_file()


@GPU
@pytest.mark.parametrize("changes", [{}, TD], ids=["iql", "td"])
@pytest.mark.parametrize("setting", ["on", "graph"])
def test_on_a_gpu_all_settings_train_the_same(setting, changes):
    plain = parameters(30, "cuda", **changes)
    fast = parameters(30, "cuda", compile=setting, train__updates_per_launch=4, **changes)
    torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-4)
