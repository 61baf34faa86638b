"""Any decoder-only model of transformers, with a transport budget in ``generate``."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.language.tiny import KINDS, reference, tokenizer, values
from vgf import Budget, UserError
from vgf.language.decoding import Sampling
from vgf.language.generate import Transported
from vgf.language.heads import ValueHeads
from vgf.language.policy import TextPolicy
from vgf.methods import load_method

PROMPTS = ["w1 w2 w3", "w4"]


def inputs(words: Any) -> Any:
    return words(PROMPTS, return_tensors="pt", padding=True)


@pytest.mark.parametrize("kind", KINDS)
def test_budget_zero_is_the_model_and_more_is_not(kind: str) -> None:
    source, words = reference(kind), tokenizer()
    words.padding_side = "left"
    moved = Transported(source.model, words, ValueHeads(source.width, 2))
    torch.nn.init.normal_(list(moved.values.heads.parameters())[-2])
    given = inputs(words)
    zero = moved.generate(**given, transport_budget=0, max_new_tokens=5, seed=3)
    again = moved.generate(**given, transport_budget=Budget(steps=0), max_new_tokens=5, seed=3)
    far = moved.generate(**given, transport_budget=Budget(4, 2.0), max_new_tokens=5, seed=3)
    assert torch.equal(zero, again)
    assert torch.equal(zero[:, : given.input_ids.shape[1]], given.input_ids)
    assert zero.shape != far.shape or not torch.equal(zero, far)
    with torch.inference_mode():
        assert torch.equal(
            moved.generate(**inputs(words), transport_budget=Budget(4, 2.0), max_new_tokens=5, seed=3), far
        )
    greedy = moved.generate(**given, transport_budget=0, do_sample=False, max_new_tokens=5)
    expected = source.model.generate(**given, do_sample=False, max_new_tokens=5, pad_token_id=0)
    assert torch.equal(greedy, expected)


def test_padding_on_the_other_side_changes_nothing_but_the_prompts() -> None:
    source, words = reference(), tokenizer()
    moved = Transported(source.model, words, ValueHeads(source.width, 2))
    ends = []
    for words.padding_side in ("left", "right"):
        given = inputs(words)
        ends.append(moved.generate(**given, max_new_tokens=4, seed=1)[:, given.input_ids.shape[1] :])
    assert torch.equal(*ends)


def test_a_policy_selects_as_it_does_itself() -> None:
    source = reference()
    found = values(source, steps=20)
    policy = TextPolicy(source, found, load_method("hidden"), Sampling(6))
    moved = Transported(source.model, source.tokenizer, policy)
    words = source.tokenizer
    words.padding_side = "left"
    given = inputs(words)
    ids = moved.generate(**given, transport_budget=0.3, max_new_tokens=6, seed=2)
    texts = words.batch_decode(ids[:, given.input_ids.shape[1] :], skip_special_tokens=True)
    assert texts == policy.generate(PROMPTS, Budget(size=0.3), seed=2)
    several = moved.generate(**given, transport_budget=0.3, max_new_tokens=6, seed=2, num_return_sequences=3)
    assert several.shape[0] == 6
    cut = several[::3, : ids.shape[1]]
    assert torch.equal(cut, ids[:, : cut.shape[1]])
    unmoved = moved.generate(**given, transport_budget=0, max_new_tokens=6, seed=3, num_return_sequences=3)
    assert len(unmoved.unique(dim=0)) == 6, "no completion comes twice"


def test_what_is_not_known_is_refused() -> None:
    source = reference()
    moved = Transported(source.model, source.tokenizer, ValueHeads(source.width, 2))
    given = inputs(source.tokenizer)
    for wrong, said in (
        ({"num_beams": 4}, "no argument 'num_beams'"),
        ({"num_return_sequences": 0}, "num_return_sequences=0"),
        ({"max_new_tokens": 0}, "new_tokens=0"),
        ({"max_new_tokens": 100}, "context of 64"),
        ({"transport_budget": -1}, "budget.size=-1"),
    ):
        with pytest.raises(UserError, match=said):
            moved.generate(**given, **wrong)
    with pytest.raises(UserError, match="a prompt is empty"):
        moved.generate(torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, 3))
    assert moved.config is source.model.config
