"""Attention with queries packed by the keys they share, and the cache with room: the sums of transformers' own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.language.tiny import WORDS, tokenizer
from vgf.language.attention import GROUPED, attention_for
from vgf.language.cache import RoomyLayer, roomy_cache
from vgf.language.decoding import Sampling, decode
from vgf.language.reference import Reference

transformers = pytest.importorskip("transformers")
CPU = torch.device("cpu")
KINDS = ["llama", "gemma", "gpt_neox", "qwen2"]


def _model(kind: str, attention: str | None, dtype: torch.dtype = torch.float32) -> Any:
    """Four query heads, which share two heads of keys and values where the family knows such a thing."""
    config = transformers.AutoConfig.for_model(
        kind, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, max_position_embeddings=64, vocab_size=len(WORDS), bos_token_id=None, eos_token_id=0,
        pad_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention).to(dtype)


def _class(kind: str) -> Any:
    config = transformers.AutoConfig.for_model(kind)
    return transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_queries_decode_to_the_tokens_of_single_ones(kind: str, dtype: torch.dtype) -> None:
    assert attention_for(_class(kind), CPU) == GROUPED
    packed, single = (Reference(_model(kind, name, dtype), tokenizer()) for name in (GROUPED, "eager"))
    found = [decode(one, one.prompts(["w1 w2 w3", "w4"]), 5, Sampling(8), seed=3) for one in (packed, single)]
    texts = packed.prompts(["w1 w2 w3", "w4"])
    laws = [one.log_probs(texts, found[0].tokens, found[0].mask) for one in (packed, single)]
    torch.testing.assert_close(*laws, atol=1e-5 if dtype == torch.float32 else 0.1, rtol=1e-3)
    if dtype == torch.float32:
        assert torch.equal(found[0].tokens, found[1].tokens)
    else:
        assert (found[0].tokens == found[1].tokens).float().mean() > 0.8, "a rounding may tip one choice"


@pytest.mark.parametrize("kind", ["gemma2", "gpt_oss", "falcon"])
def test_models_with_sums_of_their_own_keep_them(kind: str) -> None:
    assert attention_for(_class(kind), CPU) == "eager", "capped logits, attention sinks, a table of its own"
    assert attention_for(_class("llama"), torch.device("cuda")) is None


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.lists(st.sampled_from(["one", "three", "repeat", "choose", "crop"]), max_size=8))
@example(1, ["crop", "crop", "crop", "repeat", "one"])
def test_a_cache_with_room_holds_what_a_growing_one_holds(room: int, events: list[str]) -> None:
    generator = torch.Generator().manual_seed(0)
    roomy, growing = RoomyLayer(room), transformers.cache_utils.DynamicLayer()
    rows = 2
    for event in ["three", *events]:
        if event == "repeat":
            rows *= 2
            for layer in (roomy, growing):
                layer.batch_repeat_interleave(2)
        elif event == "choose":
            rows = 1
            for layer in (roomy, growing):
                layer.batch_select_indices(torch.tensor([0]))
        elif event == "crop":
            if growing.get_seq_length() == 1:
                continue  # no text is empty, and theirs does not repeat an empty one
            for layer in (roomy, growing):
                layer.crop(-1)
        else:
            new = torch.randn(2, rows, 2, {"one": 1, "three": 3}[event], 4, generator=generator)
            given_back = [layer.update(new[0], new[1]) for layer in (roomy, growing)]
            assert all(torch.equal(mine, theirs) for mine, theirs in zip(*given_back, strict=True))
        assert torch.equal(roomy.keys, growing.keys)
        assert torch.equal(roomy.values, growing.values)
        assert roomy.get_seq_length() == growing.get_seq_length()


def test_a_step_writes_into_the_room_that_is_there() -> None:
    layer = RoomyLayer(4)
    layer.update(torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 3, 4))
    before = layer.keys.data_ptr()
    layer.update(torch.ones(2, 1, 1, 4), torch.ones(2, 1, 1, 4))
    assert layer.keys.data_ptr() == before
    layer.update(torch.ones(2, 1, 1, 4), torch.ones(2, 1, 1, 4))
    assert layer.keys.data_ptr() != before, "five positions have no room in four"


def test_layers_with_a_sliding_window_stay_as_they_are() -> None:
    config = transformers.AutoConfig.for_model("mistral", num_hidden_layers=2, sliding_window=4)
    theirs = [type(layer) for layer in transformers.DynamicCache(config=config).layers]
    assert [type(layer) for layer in roomy_cache(config, 8).layers] == theirs
    whole = transformers.AutoConfig.for_model("llama", num_hidden_layers=2)
    assert [type(layer) for layer in roomy_cache(whole, 8).layers] == [RoomyLayer] * 2
