"""Language trainers stop at what is not finite, in one line, and store nothing of it."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_text import CPU, save_model, text_config, text_problem

from vgf.errors import UserError
from vgf.language.adapters import adapter_path
from vgf.language.settings import RewardConfig
from vgf.rundir import RunDirectory
from vgf.trainers import grpo
from vgf.trainers.reward import train_reward

pytest.importorskip("trl")
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize("trainer", ["distill", "grpo", "dpo"])
def test_an_adapter_that_diverges_is_not_stored(tmp_path: Path, model: Path, trainer: str) -> None:
    config, run = text_config(model, learning_rate=1e30), RunDirectory(tmp_path)
    config.trainer = trainer
    with pytest.raises(UserError, match=r"trainer=\w+.* not finite.*lower text\.finetune\.learning_rate") as error:
        importlib.import_module(f"vgf.trainers.{trainer}").train(config, text_problem(config), run, CPU)
    assert "\n" not in str(error.value)
    assert not adapter_path(tmp_path).exists()


def test_a_reward_model_that_diverges_is_not_stored(tmp_path: Path, model: Path) -> None:
    pairs = [{"chosen": "good film", "rejected": "bad film was"}] * 16
    config = RewardConfig(train_layers=None, learning_rate=1e30, batch_size=2)
    with pytest.raises(UserError, match=r"a reward model: .* not finite .*lower its learning_rate"):
        train_reward(model, pairs, pairs, config, tmp_path, seed=0, layers=None)
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_training_without_an_update_is_not_stored(tmp_path: Path, model: Path) -> None:
    """TRL leaves out prompts that do not fill a batch, without a word."""
    config = text_config(model, batch_size=8, generations=2)
    config.trainer = "grpo"
    problem = replace(text_problem(config), train_prompts=["a film was", "it"])
    with pytest.raises(UserError, match=r"trainer=grpo.* no update was made; its data do not fill a batch"):
        grpo.train(config, problem, RunDirectory(tmp_path), CPU)
    assert not adapter_path(tmp_path).exists()


def test_a_training_shows_a_bar_and_no_dictionaries(tmp_path: Path, model: Path, capfd: pytest.CaptureFixture) -> None:
    pairs = [{"chosen": "good film", "rejected": "bad film was"}] * 40
    config = RewardConfig(train_layers=None, batch_size=2)
    train_reward(model, pairs, pairs[:4], config, tmp_path, seed=0, layers=None)
    said = capfd.readouterr()
    assert re.search(r"a reward model: 20/20 update .*loss=", said.err)
    assert "{" not in said.out
