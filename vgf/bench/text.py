"""Text: tokens a second of reference decoding and of ``hidden`` transport, in bfloat16 and float32.

Beside them transformers' own ``generate``, sampling as many tokens from the same prompts with the same model. The
model is SmolLM2-135M where ``VGF_MODELS`` holds it, else a small one with random weights; no text ends early, so all
sides make the same number of tokens.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from vgf.bench.item import Item, Row
from vgf.bench.timing import Side, Speed, Steps, race
from vgf.cores import cores
from vgf.language.decoding import Sampling, decode
from vgf.language.heads import ValueHeads
from vgf.language.hidden import hidden
from vgf.language.models import DEFAULT_MODEL, load_reference
from vgf.language.reference import Prompts, Reference
from vgf.transport import Budget

__all__ = ["text"]

_PROMPTS, _LENGTH, _PARTICLES, _TOKENS = 4, 16, 8, 16
_DECODE, _HIDDEN, _GENERATE = "ours, reference", "ours, hidden, 4 steps a token", "transformers' generate"
_PRECISIONS = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def text(speed: Speed) -> Item:
    """Tokens a second of all particles together."""
    if importlib.util.find_spec("transformers") is None:
        missing = "transformers is not installed; pip install 'vgf[llm]' to measure text"
        return Item("tokens/s", "higher", None, None, None, "", "", note=missing)
    threads = len(cores())
    run = race(
        [Side(_build, (precision,)) for precision in _PRECISIONS],
        Speed(max(2, speed.turns // 2), speed.seconds, warm_up=1),
        threads=threads,
    )
    other = run.times[f"{_GENERATE} / bfloat16"]
    tokens = _PROMPTS * _PARTICLES * _TOKENS
    rows = [
        Row(
            name.split(" / ")[1],
            name.split(" / ")[0],
            tokens / times.seconds,
            times.spread,
            None if times is other else times.times_faster(other),
            None if times is other else times.processor_ratio(other),
            peak_mb=run.peak_mb[name],
        )
        for name, times in run.times.items()
    ]
    ours = run.times[f"{_DECODE} / bfloat16"]
    model = _cached_model()
    what = f"{_PROMPTS} prompts of {_LENGTH} tokens, N {_PARTICLES}, {_TOKENS} new tokens, {threads} threads, bfloat16"
    moved = run.times[f"{_HIDDEN} / bfloat16"]
    return Item(
        "tokens/s",
        "higher",
        tokens / ours.seconds,
        tokens / other.seconds,
        ours.times_faster(other),
        f"{_DECODE} with kept noise: {what}",
        f"{_GENERATE}: {what}",
        rows,
        extra={
            "model": DEFAULT_MODEL if model else "random weights, 8 blocks of width 384, 8192 tokens",
            "hidden_costs": ours.times_faster(moved),
            "bfloat16_gains": ours.times_faster(run.times[f"{_DECODE} / float32"]),
        },
        note="ratios are against generate in bfloat16",
    )


def _cached_model() -> Path | None:
    folder = Path(os.environ.get("VGF_MODELS", "~/.cache/vgf")).expanduser() / "models" / DEFAULT_MODEL
    return folder if (folder / "config.json").is_file() else None


def _reference(dtype: torch.dtype) -> Reference:
    folder = _cached_model()
    if folder:
        return Reference(*load_reference(str(folder), folder, dtype))
    import transformers

    config = transformers.AutoConfig.for_model(
        "llama", hidden_size=384, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=6,
        num_key_value_heads=2, vocab_size=8192, bos_token_id=None, eos_token_id=None, pad_token_id=0,
        attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).to(dtype)
    return Reference(model, SimpleNamespace(pad_token_id=0, eos_token_id=None))


def _build(precision: str) -> Steps:
    reference = _reference(_PRECISIONS[precision])
    reference.end_tokens = reference.end_tokens[:0]
    ids = torch.randint(100, 5000, (_PROMPTS, _LENGTH), generator=torch.Generator().manual_seed(0))
    prompts = Prompts(("",) * _PROMPTS, ids, torch.ones_like(ids, dtype=torch.bool))
    sampling = Sampling(_TOKENS)
    torch.manual_seed(0)
    heads = ValueHeads(reference.width, layer=round(2 / 3 * len(reference.blocks))).requires_grad_(False)
    twins = decode(reference, prompts, _PARTICLES, sampling, seed=0)
    settings: dict[str, Any] = {"do_sample": True, "top_k": 0, "eos_token_id": None, "pad_token_id": 0}

    @torch.no_grad()
    def generate() -> None:
        reference.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            num_return_sequences=_PARTICLES,
            max_new_tokens=_TOKENS,
            min_new_tokens=_TOKENS,
            **settings,
        )

    steps = {
        _DECODE: lambda: decode(reference, prompts, _PARTICLES, sampling, seed=0),
        _HIDDEN: lambda: hidden(reference, heads, twins, sampling, 0, Budget(4, 0.1)),
        _GENERATE: generate,
    }
    return {f"{name} / {precision}": step for name, step in steps.items()}
