"""Reward models: padding and batches change nothing, and the gradient is the derivative."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.language.tiny import KINDS, classifier, reference, tokenizer, transformers
from vgf.errors import UserError
from vgf.language.decoding import Sampling, decode
from vgf.language.heads import beside_tokens
from vgf.language.rewards import RewardModel, load_reward

PROMPTS = ["w1 w2 w3", "w4", "good w5 bad w6 w7"]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_tokens_and_embeddings_score_the_same(kind: str) -> None:
    source, reward = reference(kind), classifier(kind)
    samples = decode(source, source.prompts(PROMPTS), 6, Sampling(10), seed=0)
    prompts = [p + " " for p in PROMPTS for _ in range(6)]
    texts = source.texts(samples.tokens.flatten(0, 1), samples.mask.flatten(0, 1))
    by_text = torch.tensor(reward(prompts, texts)).view(3, 6)
    by_token, g = reward.gradient(samples)
    torch.testing.assert_close(by_text, by_token, atol=1e-4, rtol=1e-4)
    assert g.shape == (*samples.tokens.shape, 32)
    read = samples.mask & (samples.tokens > 1)  # neither end nor unknown: special tokens are not decoded
    assert (g[~read] == 0).all(), "what is not read has no gradient"
    assert (g[read].abs().sum(-1) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_that_is_too_long_is_cut_the_same_as_text_and_as_embeddings(kind: str) -> None:
    source, reward = reference(kind), classifier(kind)
    samples = decode(source, source.prompts(PROMPTS), 4, Sampling(6), seed=0)
    texts = source.texts(samples.tokens.flatten(0, 1), samples.mask.flatten(0, 1))
    whole, _ = reward.gradient(samples)
    reward.max_length = 4
    by_text = torch.tensor(reward([p + " " for p in PROMPTS for _ in range(4)], texts)).view(3, 4)
    by_token, g = reward.gradient(samples)
    torch.testing.assert_close(by_text, by_token, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(by_token, whole, atol=1e-3)
    assert ((g != 0).any(-1).sum(-1) <= 3).all(), "the first of the four tokens is the prompt's"


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_holds_what_the_models_read(kind: str) -> None:
    """Gemma's embedding scales its rows."""
    source, reward = reference(kind), classifier(kind)
    samples = decode(source, source.prompts(PROMPTS), 2, Sampling(5), seed=0)
    torch.testing.assert_close(reward.gradient(samples, reward.embeddings[samples.tokens]), reward.gradient(samples))
    states = torch.zeros(*samples.tokens.shape, source.width)
    torch.testing.assert_close(
        beside_tokens(source, states, samples.tokens)[..., source.width :], source.embeddings[samples.tokens]
    )


def saved(folder: Path, model: Any, **changes: Any) -> Path:
    model.save_pretrained(folder)
    own = tokenizer()
    for name, value in changes.items():
        setattr(own, name, value)
    own.save_pretrained(folder)
    return folder


def loaded(folder: Path) -> RewardModel:
    return load_reward("stored", folder, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("pad", [None, 5])
def test_padding_of_a_stored_reward_is_its_tokenizer_s(tmp_path: Path, pad: int | None) -> None:
    model = classifier().model
    model.config.pad_token_id = pad
    reward = loaded(saved(tmp_path, model))
    alone, beside = reward(["w1 w2"], [""]), reward(["w1 w2", "w3 w4 w5 w6 w7"], ["", ""])
    assert beside[0] == pytest.approx(alone[0], abs=1e-5)


def test_a_stored_reward_that_lacks_something_is_refused(tmp_path: Path) -> None:
    model = reference().model
    model.config.num_labels = 1
    with pytest.raises(UserError, match=r"headless holds no reward model \(its weights lack score\.weight\)"):
        loaded(saved(tmp_path / "headless", model))
    with pytest.raises(UserError, match="neither a pad nor an end-of-sequence token"):
        loaded(saved(tmp_path / "endless", classifier().model, pad_token=None, eos_token=None))


def test_no_code_of_a_stored_reward_is_run(tmp_path: Path) -> None:
    folder = saved(tmp_path, classifier().model)
    config = json.loads((folder / "config.json").read_text())
    own = {"auto_map": {"AutoConfig": "own.C", "AutoModelForSequenceClassification": "own.M"}, "model_type": "own"}
    (folder / "config.json").write_text(json.dumps(config | own))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match="holds no reward model"):
        loaded(folder)
    assert not (tmp_path / "ran").exists()


def test_the_gradient_is_the_derivative() -> None:
    source, reward = reference(), classifier()
    reward.model.double()
    samples = decode(source, source.prompts(PROMPTS), 2, Sampling(5), seed=0)
    x = reward.model.get_input_embeddings()(samples.tokens)
    _, g = reward.gradient(samples, x)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    step = 1e-3
    ahead, behind = (reward.at_embeddings(samples, x + sign * step * direction) for sign in (1, -1))
    found = (ahead - behind).double() / (2 * step)
    torch.testing.assert_close(found, (g * direction).sum((2, 3)), atol=2e-2, rtol=1e-2)


def encoder() -> RewardModel:
    """A reward that reads its first token, as the default judge does."""
    torch.manual_seed(2)
    config = transformers.BertConfig(
        vocab_size=24, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, num_labels=1,
        pad_token_id=0, initializer_range=0.5,
    )  # fmt: skip
    return RewardModel("encoder", transformers.BertForSequenceClassification(config), tokenizer())


@pytest.mark.parametrize("reward", [classifier(), encoder()], ids=lambda reward: reward.name)
def test_a_text_does_not_depend_on_its_neighbours(reward: RewardModel) -> None:
    texts = ["w1 w2", "good good w3 w4 w5 w6", "bad"]
    together = reward(texts, [""] * 3)
    assert together == pytest.approx([reward([text], [""])[0] for text in texts], abs=1e-5)


def test_other_tokenizers_are_refused_with_a_way_out() -> None:
    source, reward = reference(), classifier()
    other = tokenizer()
    other.add_tokens(["more"])
    with pytest.raises(UserError, match=r"different tokenizers.*method=hidden"):
        RewardModel("other", reward.model, other).require_gradient(source)
    reward.require_gradient(source)


def test_more_outputs_than_one_are_no_reward() -> None:
    config = transformers.AutoConfig.for_model(
        "llama", hidden_size=8, num_labels=3, vocab_size=9, num_hidden_layers=1, num_attention_heads=2
    )
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    with pytest.raises(UserError, match="3 outputs"):
        RewardModel("three", model, tokenizer())


def test_a_score_that_is_no_number_is_an_error() -> None:
    reward = classifier()
    reward.model.score.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="scores 'w1' as nan"):
        reward(["w1"], [""])
