"""Trained rewards are taken from the cache where everything that shaped them is the same, contents included."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_text import CPU, save_model

from vgf.language.settings import RewardConfig
from vgf.language.text import Reviews
from vgf.tasks.llm_rewards import find_reward


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save_model(tmp_path_factory.mktemp("models") / "tiny"))


def found(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """The reward of ``pairs.jsonl`` in a folder, named as a user in that folder would."""
    monkeypatch.chdir(folder)
    settings = RewardConfig(model="reference", data="pairs.jsonl", layers=1, epochs=1, batch_size=8, train_layers=None)
    how: dict[str, Any] = {"reviews": Reviews((), (), ()), "seed": 3, "device": CPU, "dtype": torch.float32}
    path = find_reward("reward", settings, reference=model, cache=cache, **how).path
    assert path is not None
    return path


def write_pairs(folder: Path, good: str) -> Path:
    folder.mkdir(exist_ok=True)
    rows = [{"prompt": "a film ", "chosen": f"was {good} " * (1 + k % 3), "rejected": "was bad"} for k in range(20)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_another_file_of_the_same_name_makes_another_reward(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = write_pairs(tmp_path / "one", "good"), write_pairs(tmp_path / "other", "fine")
    first = found(model, one, monkeypatch, tmp_path / "cache")
    assert found(model, other, monkeypatch, tmp_path / "cache") != first
    assert found(model, one, monkeypatch, tmp_path / "cache") == first
    write_pairs(tmp_path / "one", "fine")  # edited in place
    assert found(model, one, monkeypatch, tmp_path / "cache") != first


def test_another_base_of_the_same_name_and_size_makes_another_reward(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, tuned = write_pairs(tmp_path / "data", "good"), tmp_path / "tuned" / model.name
    shutil.copytree(model, tuned)
    copied = found(tuned, data, monkeypatch, tmp_path / "cache")
    assert found(model, data, monkeypatch, tmp_path / "cache") == copied
    weights = load_file(tuned / "model.safetensors")
    save_file({name: weight + 0.01 for name, weight in weights.items()}, tuned / "model.safetensors", {"format": "pt"})
    assert found(tuned, data, monkeypatch, tmp_path / "cache") != copied
    linked = tmp_path / "linked" / model.name
    shutil.copytree(model, linked)
    (linked / "model.safetensors").rename(tmp_path / "weights")  # as a cache keeps them: a link to another name
    (linked / "model.safetensors").symlink_to(tmp_path / "weights")
    assert found(linked, data, monkeypatch, tmp_path / "cache") == copied
