"""A tiny language model with random weights, and a language problem on it whose reward counts one word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vgf.config import Config
from vgf.language.loading import open_reference
from vgf.language.problem import TextProblem
from vgf.language.reference import Reference
from vgf.language.scorers import Scorer
from vgf.methods import load_method

CPU = torch.device("cpu")
WORDS = ["<unk>", "<end>", "a", "good", "bad", "film", "was", "it"]
_OPENINGS = ["a film was", "it was a", "a film", "was it", "it", "film was it"]


def save_model(folder: Path) -> Path:
    """Two blocks of width 32 and a tokenizer of eight words."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 1, "tie_word_embeddings": False}
    config = transformers.AutoConfig.for_model(
        "llama", vocab_size=len(WORDS), max_position_embeddings=32, **sizes, **ends
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(8)  # laws that differ from token to token
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>"
    ).save_pretrained(folder)
    return folder


def text_config(model: Path, **finetune: Any) -> Config:
    """A few tokens in float32; ``name=value`` changes a setting of text.finetune."""
    config = Config(task="llm_reward", trainer="distill", **vars(load_method("hidden")))
    config.transport = replace(config.transport, particles=4)
    text = config.text
    text.model, text.cache, text.dtype = str(model), str(model.parent), "float32"
    text.new_tokens, text.seeds, text.batch = 6, 1, 8
    text.heads = replace(text.heads, hidden=8, heads=2, steps=100, batch_size=64)
    small = {"rounds": 1, "prompts": 16, "keep": 2, "lora": 4, "learning_rate": 1e-2, "epochs": 4.0, "measured": 16}
    text.finetune = replace(text.finetune, **(small | {"batch_size": 8, "generations": 4, "max_steps": 12} | finetune))
    return config


def count_good(*, prompts: list[str], completions: list[str]) -> list[float]:
    """How often ``good`` is said."""
    return [float(text.split().count("good")) for text in completions]


def text_problem(config: Config, function: Callable[..., list[float]] = count_good) -> TextProblem:
    """Sixteen prompts to train on, six held out; the proxy is its own judge."""
    reward, prompts = Scorer("good", function), [_OPENINGS[i % len(_OPENINGS)] for i in range(22)]
    return TextProblem(
        reference=open_reference(config, CPU),
        reward=reward,
        judges={"gold": reward},
        train_prompts=prompts[:16],
        held_out=prompts[16:],
        chosen=None,
        reward_path=None,
        facts={},
    )


def logits(reference: Reference) -> torch.Tensor:
    """Of two prompts of unlike lengths: [2, T, V]."""
    prompts = reference.prompts(["a film was", "it"])
    with torch.no_grad():
        found: torch.Tensor = reference.model(input_ids=prompts.ids, attention_mask=prompts.mask.long()).logits
    return found
