"""Language trainers that are broken off begin their round again and end with the same adapter, bit for bit.

What TRL's trainers hold in the midst of a round (optimiser, scheduler, sampler) they would keep as pickles, which are
never loaded here; so a round is the unit that is kept, and a round that is begun again is the same round.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from cycles import COUNTS
from safetensors.torch import load_file
from small_text import CPU, save_model, text_config, text_problem

from vgf.config import Config
from vgf.errors import UserError
from vgf.language.adapters import adapter_path, round_folder
from vgf.language.loading import heads_path
from vgf.rundir import RunDirectory
from vgf.trainers import distill, lora, value

pytest.importorskip("trl")
peft = pytest.importorskip("peft")
torch.set_num_threads(1)


class Crash(BaseException):
    """Nobody handles it."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


def config_of(model: Path, trainer: str, **changes: Any) -> Config:
    short = {"max_steps": 3, "epochs": 1.0, "batch_size": 16 if trainer in ("grpo", "rloo") else 8}
    config = text_config(model, **(short | changes))
    config.trainer, config.text.heads.steps = trainer, 30
    return config


def train(config: Config, path: Path) -> None:
    """As the task does it, in a process whose random stream has been used for other things before."""
    run = RunDirectory(path)
    with run.held():
        run.claim(config)
        (path / "text.json").write_text("{}")
        torch.rand(len(path.name))
        importlib.import_module(f"vgf.trainers.{config.trainer}").train(config, text_problem(config), run, CPU)


def same(whole: Path, parts: Path, files: list[Path]) -> None:
    for name in files:
        a, b = load_file(whole / name), load_file(parts / name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), name
    metrics = [(path / "metrics.jsonl").read_text().splitlines() for path in (whole, parts)]
    assert metrics[0] == metrics[1]
    assert len({*metrics[1]}) == len(metrics[1])


ADAPTER = adapter_path(Path()) / "adapter_model.safetensors"
# Where it breaks off, and in which call; in this order none is there yet when its turn comes.
BREAKS = [
    (value, "save_heads", 1),
    (peft.PeftModel, "__init__", 1),
    (torch.optim.AdamW, "step", 2),
    (lora, "_measured", 2),
    (lora, "save_adapter", 2),  # the first one is the round's own, the second is published
]


@pytest.mark.parametrize(
    "trainer", ["distill", *(pytest.param(t, marks=pytest.mark.slow) for t in ("grpo", "rloo", "dpo"))]
)
def test_a_round_that_is_broken_off_is_done_again_and_is_the_same(tmp_path, model, trainer, monkeypatch):
    rounds = 2 if trainer == "distill" else 1
    config = config_of(model, trainer, rounds=rounds)
    train(config, tmp_path / "whole")
    parts = tmp_path / "in-parts"
    for owner, name, at in BREAKS:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, breaking(getattr(owner, name), at))
            with pytest.raises(Crash):
                train(config, parts)
        COUNTS["crashes"] += 1
    train(config, parts)
    same(tmp_path / "whole", parts, [ADAPTER, heads_path(Path()), heads_path(round_folder(Path(), rounds))])


def breaking(whole: Any, at: int) -> Any:
    """A function that crashes when it is called for the ``at``-th time."""
    calls = itertools.count(1)

    @functools.wraps(whole)
    def broken(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == at:
            raise Crash
        return whole(*args, **kwargs)

    return broken


def test_value_heads_are_logged_once_however_often_it_breaks_off(tmp_path, model, monkeypatch):
    config = config_of(model, "distill")
    problem = text_problem(config)
    runs = {name: RunDirectory(tmp_path / name) for name in ("whole", "parts")}
    for run in runs.values():
        run.path.mkdir()
    value.train(config, problem, runs["whole"], CPU)
    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "log", lambda self, row: (_ for _ in ()).throw(Crash()))
        with pytest.raises(Crash):
            value.train(config, problem, runs["parts"], CPU)
    COUNTS["crashes"] += 1
    assert not (runs["parts"].path / "metrics.jsonl").exists()
    for _ in range(2):
        value.train(config, problem, runs["parts"], CPU)
    same(runs["whole"].path, runs["parts"].path, [heads_path(Path())])
    assert len((runs["parts"].path / "metrics.jsonl").read_text().splitlines()) == 3


def test_the_reward_model_is_the_same_when_its_training_begins_again(tmp_path, model, monkeypatch):
    from vgf.language.settings import RewardConfig
    from vgf.language.text import Reviews
    from vgf.tasks.llm_rewards import find_reward

    pairs = tmp_path / "pairs.jsonl"
    rows = [{"prompt": "a film ", "chosen": "was good " * (1 + k % 3), "rejected": "was bad"} for k in range(40)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = RewardConfig(model="reference", data=str(pairs), layers=1, epochs=1, batch_size=8, train_layers=None)

    def found(cache: Path) -> dict[str, torch.Tensor]:
        torch.rand(len(cache.name))
        path = find_reward(
            "reward", settings, reference=model, reviews=Reviews((), (), ()), cache=cache, seed=3, device=CPU,
            dtype=torch.float32,
        ).path  # fmt: skip
        assert path is not None
        return load_file(path / "model.safetensors")

    whole = found(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", breaking(torch.optim.AdamW.step, 3))
        with pytest.raises(Crash):
            found(tmp_path / "in-parts")
    COUNTS["crashes"] += 1
    parts = found(tmp_path / "in-parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert [p.name for p in (tmp_path / "in-parts" / "rewards").iterdir() if "tmp" in p.name] == []


def killed_worker(config: Config, share: tuple[int, int]) -> Any:
    """Takes the place of a worker's problem: its process dies."""
    os.kill(os.getpid(), signal.SIGKILL)


def failing_worker(config: Config, device: torch.device) -> Any:
    """Takes the place of a worker's problem: it raises what nobody foresaw."""
    raise RuntimeError("the tokenizer\nexploded")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (killed_worker, "a process of the evaluation ended with status -9"),
        (failing_worker, "the evaluation failed: RuntimeError: the tokenizer"),
    ],
)
def test_a_process_of_the_evaluation_that_dies_is_one_line(tmp_path, model, prepare, said):
    from vgf.tasks.llm_workers import evaluate_run

    config, run = config_of(model, "distill"), RunDirectory(tmp_path)
    COUNTS["worker processes that died"] += 1
    with pytest.raises(UserError, match=said) as error:
        list(evaluate_run(config, text_problem(config), run, CPU, prepare, 2))
    assert "\n" not in str(error.value)


def test_nothing_of_trl_is_ever_resumed_from():
    sources = Path(distill.__file__).parent.glob("*.py")
    assert all("resume_from_checkpoint" not in path.read_text() for path in sources)
