"""Tiny language models with random weights, and rewards on them: everything that transformers gives, at toy size."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vgf.language.decoding import Samples, Sampling
from vgf.language.heads import ValueHeads, beside_tokens, fit_heads, sample_with_states
from vgf.language.policy import Values
from vgf.language.reference import Reference
from vgf.language.rewards import RewardModel

transformers = pytest.importorskip("transformers")

__all__ = ["KINDS", "WORDS", "classifier", "count_good", "reference", "tokenizer", "values"]

WORDS = ["<end>", "<unk>", *[f"w{i}" for i in range(20)], "good", "bad"]
KINDS = ["llama", "gemma", "gpt_neox", "qwen2"]
_SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 64, "vocab_size": len(WORDS),
    "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0, "initializer_range": 0.3,
}  # fmt: skip


def tokenizer() -> Any:
    """One token a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", eos_token="<end>", pad_token="<end>"
    )


def reference(kind: str = "llama", seed: int = 0) -> Reference:
    """A decoder-only model of a family of transformers."""
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(kind, **_SIZES)
    return Reference(transformers.AutoModelForCausalLM.from_config(config), tokenizer())


def classifier(kind: str = "llama", seed: int = 1) -> RewardModel:
    """A random reward model in the reference's tokens."""
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(kind, **_SIZES | {"initializer_range": 0.1}, num_labels=1)
    return RewardModel("tiny", transformers.AutoModelForSequenceClassification.from_config(config), tokenizer())


def count_good(prompts: list[str], completions: list[str]) -> list[float]:
    """How often a completion says good, less how often it says bad."""
    return [float(text.split().count("good") - text.split().count("bad")) for text in completions]


def values(source: Reference, *, seed: int = 5, steps: int = 200) -> Values:
    """Heads of both kinds, fitted to ``count_good``; the reward is a classifier in the reference's tokens."""
    prompts = source.prompts([f"w{i} w{i + 1}" for i in range(16)])
    samples, states = sample_with_states(source, prompts, 32, Sampling(6), seed, layer=2)
    rewards = torch.tensor(_scores(source, samples)).view(samples.tokens.shape[:2])
    fitted: dict[str, ValueHeads] = {}
    for name, inputs in (("heads", states), ("tokens", beside_tokens(source, states, samples.tokens))):
        fitted[name], _ = fit_heads(inputs, samples.mask, rewards, 2, steps=steps, hidden=32)
    return Values(classifier(), fitted["heads"], fitted["tokens"])


def _scores(source: Reference, samples: Samples) -> list[float]:
    texts = source.texts(samples.tokens.flatten(0, 1), samples.mask.flatten(0, 1))
    return count_good(texts, texts)
