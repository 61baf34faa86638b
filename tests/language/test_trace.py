"""Decoding from the first changed token on gives what decoding anew gives, and reads less."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.language.tiny import KINDS, classifier, reference
from vgf.language.decoding import Samples, Sampling, Tilt, decode
from vgf.language.gumbel import embedding, gumbel, logits
from vgf.language.reference import Reference
from vgf.transport import Budget

PROMPTS = ["w1 w2 w3", "w4", "good w5 bad w6 w7"]
SAMPLING = Sampling(12)


@contextmanager
def _counted(source: Reference) -> Iterator[list[int]]:
    """Tokens that go through the model, one entry a call."""
    read: list[int] = []
    hook = source.model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    yield read
    hook.remove()


def _random_tilt(size: float, seed: int, rows: int, vocabulary: int) -> Tilt:
    """Moves few tokens, so that particles differ from early on, late, or never."""
    dice = torch.Generator().manual_seed(seed)
    moves = size * torch.randn(SAMPLING.new_tokens, rows, vocabulary, generator=dice)
    moves *= torch.rand(SAMPLING.new_tokens, rows, 1, generator=dice) < 0.2
    return lambda t, scores: scores + moves[t]


def _pair(source: Reference, samples: Samples, tilt: Tilt, sampling: Sampling = SAMPLING) -> tuple[Samples, Samples]:
    anew = decode(source, samples.prompts, samples.particles, sampling, 3, tilt=tilt)
    traced = decode(source, samples.prompts, samples.particles, sampling, 3, tilt=tilt, trace=samples.trace, keep=True)
    return anew, traced


@pytest.mark.parametrize("kind", KINDS)
def test_three_traced_decodings_in_a_row_are_those_made_anew(kind: str) -> None:
    source = reference(kind)
    samples = decode(source, source.prompts(PROMPTS), 8, SAMPLING, 3, keep=True)
    for step in range(3):
        tilt = _random_tilt(4.0, step, 24, len(source.embeddings))
        anew, traced = _pair(source, samples, tilt)
        assert torch.equal(anew.tokens, traced.tokens)
        assert torch.equal(anew.mask, traced.mask)
        torch.testing.assert_close(anew.log_probs, traced.log_probs, atol=1e-4, rtol=1e-4)
        assert (traced.tokens != samples.tokens).any(), "the tilt should move something"
        samples = traced


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 20), st.integers(0, 999), st.integers(1, 5), st.floats(0.3, 2), st.sampled_from([None, 4]))
def test_whatever_the_tilt(size: float, seed: int, particles: int, temperature: float, top_k: int | None) -> None:
    source, sampling = reference(), Sampling(SAMPLING.new_tokens, temperature, top_k)
    samples = decode(source, source.prompts(PROMPTS), particles, sampling, 3, keep=True)
    anew, traced = _pair(source, samples, _random_tilt(size, seed, 3 * particles, len(source.embeddings)), sampling)
    assert torch.equal(anew.tokens, traced.tokens)


@pytest.mark.parametrize("law", [{}, {"temperature": 0.7}, {"top_p": 0.6}])
def test_a_tilt_of_nothing_reads_nothing_and_changes_nothing_in_bfloat16(law: dict) -> None:
    source, sampling = reference(), replace(SAMPLING, **law)
    source.model.to(torch.bfloat16)
    samples = decode(source, source.prompts(PROMPTS), 8, sampling, 3, keep=True)
    with _counted(source) as read:
        again = decode(source, samples.prompts, 8, sampling, 3, tilt=lambda t, s: s, trace=samples.trace, keep=True)
    assert read == []
    assert torch.equal(again.tokens, samples.tokens)
    assert torch.equal(again.log_probs, samples.log_probs)


def test_only_changed_particles_are_read_from_their_first_change_on() -> None:
    """One particle of 24 changes its token at position 5: it alone is read, at the positions after it."""
    source = reference()
    samples = decode(source, source.prompts(PROMPTS), 8, SAMPLING, 3, keep=True)
    row = int(samples.mask.flatten(0, 1).sum(1).argmax())
    assert samples.mask.flatten(0, 1)[row].all(), "a particle that does not end"
    taken = int(samples.tokens.flatten(0, 1)[row, 5])

    def tilt(t: int, scores: torch.Tensor) -> torch.Tensor:
        if t == 5:
            scores[row, [taken, 0]] = float("-inf")
        return scores

    with _counted(source) as read:
        again = decode(source, samples.prompts, 8, SAMPLING, 3, tilt=tilt, trace=samples.trace)
    assert set(read) == {1}
    assert len(read) <= SAMPLING.new_tokens - 6
    differ = (again.tokens != samples.tokens).flatten(0, 1)
    assert differ.any(1).nonzero().tolist() == [[row]]
    assert not differ[row, :5].any()


@pytest.mark.parametrize("rule", [gumbel, embedding, logits])
@pytest.mark.parametrize("kind", KINDS)
def test_rules_give_the_tokens_they_give_without_a_trace(kind: str, rule: object) -> None:
    source, reward = reference(kind), classifier(kind)
    prompts, budget = source.prompts(PROMPTS), Budget(steps=3, size=1.0)
    kept, plain = (decode(source, prompts, 6, SAMPLING, 1, keep=keep) for keep in (True, False))
    assert kept.trace is not None
    assert plain.trace is None
    with _counted(source) as less:
        traced = rule(source, reward, kept, SAMPLING, 1, budget)  # type: ignore[operator]
    with _counted(source) as more:
        anew = rule(source, reward, plain, SAMPLING, 1, budget)  # type: ignore[operator]
    assert torch.equal(traced.tokens, anew.tokens)
    assert sum(less) < sum(more)
    assert traced.trace is None, "the last decoding keeps nothing"
