"""Value heads: they learn what can be learned, keep their units, and are read back as they were written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.language.tiny import WORDS, reference, tokenizer, transformers
from vgf.errors import UserError
from vgf.language.decoding import Sampling, decode
from vgf.language.heads import ValueHeads, beside_tokens, fit_heads, sample_with_states
from vgf.language.loading import heads_path, load_heads, save_heads
from vgf.language.reference import Reference


def _data(prompts: int = 40, width: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """States whose first coordinate is the reward, shifted and stretched; the mask leaves the last position out."""
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(prompts, 4, generator=generator) * 3 + 10
    states = torch.randn(prompts, 4, 5, width, generator=generator) * 20 - 7
    states[..., 0] = rewards.unsqueeze(-1) * 0.1
    states[:, :, -1] = 1e6
    mask = torch.ones(prompts, 4, 5, dtype=torch.bool)
    mask[:, :, -1] = False
    return states, mask, rewards


def test_heads_find_the_coordinate_that_tells_the_reward() -> None:
    states, mask, rewards = _data()
    heads, correlation = fit_heads(states, mask, rewards, layer=1, hidden=32, steps=400)
    assert correlation > 0.9
    predicted = heads(heads.standardised(states[:, :, 0].flatten(0, 1))).mean(0)
    assert (predicted - rewards.flatten()).abs().mean() < 1.5, "rewards are predicted in their own units"


def test_fitting_ends_where_nothing_is_predicted_better_and_keeps_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    states, mask, rewards = _data()
    states[36:] = states[36:, ..., torch.tensor([3, 1, 2, 0, 4, 5])]  # held-out prompts have nothing to predict by
    updates: list[int] = []
    update = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *args: (updates.append(1), update(*args))[1])
    heads, correlation = fit_heads(states, mask, rewards, layer=1, hidden=8, steps=5000)
    assert 500 <= len(updates) < 5000
    x, y = heads.standardised(states[36:][mask[36:]]), rewards[36:].unsqueeze(-1).expand(4, 4, 5)[mask[36:]]
    assert float(torch.corrcoef(torch.stack([heads(x).mean(0), y]))[0, 1]) == pytest.approx(correlation, abs=1e-4)


def test_rewards_that_are_all_the_same_teach_nothing() -> None:
    states, mask, rewards = _data()
    with pytest.raises(UserError, match="same value"):
        fit_heads(states, mask, torch.ones_like(rewards), layer=1)
    only_held_out = torch.zeros_like(rewards)
    only_held_out[-1] = rewards[-1]
    with pytest.raises(UserError, match="that are learned from the same value"):
        fit_heads(states, mask, only_held_out, layer=1)
    with pytest.raises(UserError, match="two prompts"):
        fit_heads(states[:1], mask[:1], rewards[:1], layer=1)


def test_what_is_not_finite_is_named() -> None:
    states, mask, rewards = _data()
    rewards[3, 1] = torch.nan
    with pytest.raises(UserError, match="the reward of sample 1 of training prompt 3 is not finite"):
        fit_heads(states, mask, rewards, layer=1)
    states, mask, rewards = _data()
    states[:, :, -1] = torch.nan  # nothing was generated there
    fit_heads(states, mask, rewards, layer=1, steps=1)
    states[7, 2, 0, 4] = torch.inf
    with pytest.raises(UserError, match="the reference's state of sample 2 of training prompt 7 is not finite"):
        fit_heads(states, mask, rewards, layer=1)
    states, mask, rewards = _data()
    with pytest.raises(UserError, match=r"loss of the value heads is not finite at step \d+ of 50; lower text\.heads"):
        fit_heads(states, mask, rewards, layer=1, steps=50, learning_rate=1e30)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-50, 50))
def test_standardising_is_undone(seed: int, spread: float, shift: float) -> None:
    heads = ValueHeads(5, layer=1)
    heads.std.fill_(spread)
    heads.mean.fill_(shift)
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(heads.standardised(heads.restored(x)), x, atol=1e-3, rtol=1e-3)


def test_states_are_those_before_each_token_and_watching_changes_nothing() -> None:
    source = reference()
    prompts = source.prompts(["w1 w2 w3", "w4"])
    samples, states = sample_with_states(source, prompts, 3, Sampling(6), seed=2, layer=2)
    assert torch.equal(samples.tokens, decode(source, prompts, 3, Sampling(6), seed=2).tokens)
    whole = torch.cat([prompts.ids[:1], samples.tokens[0, :1]], 1)
    at = source.model(whole, output_hidden_states=True).hidden_states[2][0]
    length = int(samples.mask[0, 0].sum())
    torch.testing.assert_close(states[0, 0, :length], at[2 : 2 + length], atol=1e-4, rtol=1e-4)


def test_heads_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    states, mask, rewards = _data()
    heads, _ = fit_heads(states, mask, rewards, layer=3, hidden=8, steps=20)
    save_heads(tmp_path, {"heads": heads})
    again = load_heads(tmp_path, torch.device("cpu"))["heads"]
    x = torch.randn(4, 6)
    assert torch.equal(again(x), heads(x))
    assert again.layer == 3
    path = heads_path(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="damaged"):
        load_heads(tmp_path, torch.device("cpu"))
    assert load_heads(tmp_path / "elsewhere", torch.device("cpu")) == {}


def test_the_residual_stream_may_be_wider_than_an_embedding() -> None:
    """As of OPT-350m, which has a projection between them."""
    config = transformers.OPTConfig(
        vocab_size=len(WORDS), hidden_size=32, word_embed_proj_dim=16, ffn_dim=48, num_hidden_layers=3,
        num_attention_heads=2, max_position_embeddings=64, bos_token_id=None, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    source = Reference(transformers.OPTForCausalLM(config), tokenizer())
    samples, states = sample_with_states(source, source.prompts(["w1 w2", "w3"]), 2, Sampling(4), seed=0, layer=2)
    assert states.shape == (2, 2, 4, 32)
    assert beside_tokens(source, states, samples.tokens).shape == (2, 2, 4, 32 + 16)
