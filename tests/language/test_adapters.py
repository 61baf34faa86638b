"""Adapters: zeros are the reference, a sum is rounded once, and one that does not fit is one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_text import CPU, logits, save_model, text_config

from vgf.errors import UserError
from vgf.language.adapters import adapted_reference, adapter_facts, save_adapter
from vgf.language.decoding import Sampling, decode
from vgf.language.loading import open_reference
from vgf.trainers import lora

peft = pytest.importorskip("peft")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


def test_an_adapter_of_zeros_is_the_reference(tmp_path: Path, model: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        config = text_config(model)
        config.text.dtype = dtype
        plain = open_reference(config, CPU)
        fresh = peft.get_peft_model(open_reference(config, CPU).model, lora.lora_config(config))
        save_adapter(tmp_path / dtype, fresh, {"some": [1]})
        adapted = adapted_reference(config, tmp_path / dtype, CPU)
        assert torch.equal(logits(adapted), logits(plain))
        pair = [decode(r, r.prompts(["a film was", "it"]), 3, Sampling(5), 0) for r in (adapted, plain)]
        assert torch.equal(pair[0].tokens, pair[1].tokens)
        assert adapter_facts(tmp_path / dtype) == {"some": [1]}


def test_the_sum_of_weights_and_adapter_is_rounded_once(tmp_path: Path, model: Path) -> None:
    config = text_config(model)
    exact = open_reference(config, CPU).model
    changed = peft.get_peft_model(open_reference(config, CPU).model, lora.lora_config(config))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in changed.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=1e-4)
    save_adapter(tmp_path, changed, {})
    wanted = changed.merge_and_unload()
    config.text.dtype = "bfloat16"
    trained = adapted_reference(config, tmp_path, CPU).model
    config.text.adapter = str(tmp_path)
    given = open_reference(config, CPU).model
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(wanted.get_parameter(name), exact.get_parameter(name))
    for found in (trained, given):
        assert torch.equal(found.get_parameter(name), wanted.get_parameter(name).bfloat16())


def test_an_adapter_that_does_not_fit_is_one_line(tmp_path: Path, model: Path) -> None:
    config = text_config(model)
    changed = peft.get_peft_model(open_reference(config, CPU).model, lora.lora_config(config))
    save_adapter(tmp_path, changed, {})
    file = tmp_path / "adapter_model.safetensors"
    wider = {name: torch.cat([weight, weight], -1) for name, weight in load_file(file).items()}
    save_file(wider, file, {"format": "pt"})
    with pytest.raises(UserError, match=r"cannot be put on .*: size mismatch for \S+lora_A") as trained:
        adapted_reference(config, tmp_path, CPU)
    config.text.adapter = str(tmp_path)
    with pytest.raises(UserError) as given:
        open_reference(config, CPU)
    assert str(given.value) == str(trained.value)
    assert "\n" not in str(given.value)
