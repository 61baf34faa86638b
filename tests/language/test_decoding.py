"""The noise is the particle: decoding gives it back, alone or in any batch, with any model family."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.language.tiny import KINDS, reference
from vgf.errors import UserError
from vgf.language.decoding import Sampling, cut, decode, filtered
from vgf.language.reference import Reference, left_padded

PROMPTS = ["w1 w2 w3", "w4", "good w5 bad w6 w7"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_particle_does_not_depend_on_its_batch(kind: str) -> None:
    source = reference(kind)
    together = decode(source, source.prompts(PROMPTS), 4, Sampling(8), seed=3)
    for i, prompt in enumerate(PROMPTS):
        alone = decode(source, source.prompts([prompt], first=i), 2, Sampling(8), seed=3, skip=1)
        assert torch.equal(together.tokens[i, 1:3], alone.tokens[0])


@pytest.mark.parametrize("kind", KINDS)
def test_its_log_probabilities_are_those_of_the_whole_text(kind: str) -> None:
    """Step by step with a cache, left padding and ended rows, against one pass over the finished text."""
    source = reference(kind)
    samples = decode(source, source.prompts(PROMPTS), 40, Sampling(16), seed=0)
    assert not samples.mask.all(), "some of them should have ended early"
    whole = source.log_probs(samples.prompts, samples.tokens, samples.mask)
    torch.testing.assert_close(samples.log_probs, whole, atol=2e-4, rtol=1e-3)


def test_samples_follow_the_models_law() -> None:
    """4,000 first tokens against the probabilities, by Pearson's chi-squared at a level of about 1e-6."""
    source = reference()
    prompts = source.prompts(["w1 w2 w3"])
    samples = decode(source, prompts, 4000, Sampling(1), seed=1)
    p = source.model(prompts.ids).logits[0, -1].softmax(-1)
    found = torch.bincount(samples.tokens.flatten(), minlength=len(p))
    common = p > 0.002
    statistic = ((found - 4000 * p).square() / (4000 * p))[common].sum()
    degrees = int(common.sum())
    assert statistic < degrees + 5 * math.sqrt(2 * degrees) + 10


def test_after_the_end_there_is_nothing() -> None:
    source = reference()
    samples = decode(source, source.prompts(PROMPTS), 20, Sampling(12), seed=0)
    ended = (samples.tokens == 0) & samples.mask
    assert ended.any()
    assert (ended.sum(-1) <= 1).all(), "an end token ends"
    assert (samples.mask.sum(-1) >= 1).all()
    assert (samples.tokens[~samples.mask] == 0).all()
    assert (samples.log_probs[~samples.mask] == 0).all()


def test_every_end_token_of_the_generation_config_ends() -> None:
    plain = reference()
    plain.model.generation_config.eos_token_id = [5, 7]
    source = Reference(plain.model, plain.tokenizer)
    assert source.end_tokens.tolist() == [0, 5, 7], "the tokenizer's own as well"
    samples = decode(source, source.prompts(PROMPTS), 60, Sampling(12), seed=0)
    for end in (0, 5, 7):
        there = samples.mask & (samples.tokens == end)
        assert there.any()
        assert not samples.mask[..., 1:][there[..., :-1]].any(), "nothing comes after it"


@pytest.mark.parametrize("stop", [("good",), ("w1 w", "bad")])
def test_a_text_ends_at_the_first_stop_string(stop: tuple[str, ...]) -> None:
    """The tokens are those of the text without a stop string, up to the one that completes it."""
    source = reference()
    prompts = source.prompts(["w1 w2", "w4"])
    free, cut_off = (decode(source, prompts, 40, Sampling(12, stop=s), seed=2) for s in ((), stop))
    stopped = 0
    for b in range(2):
        texts = source.texts(cut_off.tokens[b], cut_off.mask[b])
        for n, text in enumerate(texts):
            length = int(cut_off.mask[b, n].sum())
            assert torch.equal(cut_off.tokens[b, n, :length], free.tokens[b, n, :length])
            found = any(s in text for s in stop)
            stopped += found
            assert found or length == int(free.mask[b, n].sum())
            before = source.tokenizer.decode(cut_off.tokens[b, n, : length - 1])
            assert not any(s in before for s in stop), "it ends at the first one"
    assert stopped > 5


def test_a_stop_string_is_cut_off() -> None:
    assert cut("one STOP two END", ("END", "STOP")) == "one "
    assert cut("nothing here", ("END",)) == "nothing here"
    assert cut("", ()) == ""


def test_temperature_zero_is_the_likeliest_token_whatever_the_seed() -> None:
    source = reference()
    prompts = source.prompts(PROMPTS)
    first, second = (decode(source, prompts, 1, Sampling(5, temperature=0), seed=s).tokens for s in (0, 1))
    assert torch.equal(first, second)
    likeliest = source.model(source.prompts(PROMPTS[:1]).ids).logits[0, -1].argmax()
    assert first[0, 0, 0] == likeliest


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=3, max_size=12), st.integers(1, 12), st.floats(0.05, 1))
def test_top_k_and_top_p_keep_the_likeliest(logits: list[float], k: int, p: float) -> None:
    scores = torch.tensor([logits])
    kept_k = filtered(scores, Sampling(1, top_k=k))[0].isfinite()
    assert int(kept_k.sum()) >= min(k, len(logits))
    assert scores[0][kept_k].min() >= (scores[0][~kept_k].max() if (~kept_k).any() else -math.inf)
    kept_p = filtered(scores, Sampling(1, top_p=p))[0].isfinite()
    probabilities = scores[0].softmax(-1)
    assert probabilities[kept_p].sum() >= p - 1e-5
    if kept_p.sum() > 1:
        assert probabilities[kept_p].sum() - probabilities[kept_p].min() < p + 1e-5, "one fewer would not do"


def test_padding_goes_to_the_left() -> None:
    ids, mask = left_padded([[5, 6], [7]], pad=0)
    assert ids.tolist() == [[5, 6], [0, 7]]
    assert mask.tolist() == [[True, True], [False, True]]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "no prompts"),
        (["w1", "  "], "prompt 1 is empty"),
        (["w1 " * 60], "exceeds the reference's context of 64"),
    ],
)
def test_prompts_that_cannot_be_used(texts: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        reference().prompts(texts, new_tokens=10)


def test_a_chat_template_has_to_be_there() -> None:
    with pytest.raises(UserError, match="no chat template"):
        reference().prompts(["w1"], chat=True)


@pytest.mark.parametrize(
    "wrong",
    [{"new_tokens": 0}, {"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}, {"stop": ("a", "")}],
)
def test_sampling_out_of_range_names_its_key(wrong: dict) -> None:
    with pytest.raises(UserError, match=f"text.{next(iter(wrong))}"):
        Sampling(**wrong)
