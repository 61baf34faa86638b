"""Prompts at random: each is completed, or refused in one line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from tests.fuzzing import cases, complaint, run_cases
from tests.language.tiny import WORDS, classifier, count_good, reference, transformers, values
from vgf.errors import UserError
from vgf.language.decoding import Sampling
from vgf.language.policy import TextPolicy, Values
from vgf.language.reference import Reference
from vgf.language.rules import TEXT_RULES
from vgf.language.scorers import Scorer
from vgf.methods import load_method, method_names
from vgf.transport import Budget

ODD = [
    "", " ", "\t\n", "<end>", "<unk>", "<end><end>", " <end> ", "w1 <end> w2", "\x00", "\ufeff", "\u200b", "\u2028",
    "é\u0301", "e\u0301", "\udcff", "w1 \ud800 w2", "\U0010ffff", "🙂" * 30, "\u202eabc", "a" * 5000, "w1 " * 57,
    "w1 " * 58, "w1 " * 59, "w1 " * 70, "<script>alert(1)</script>", "{{7*7}}", "w1\r\nw2", "\x1b[31m", "%s%n", "\x1c",
    b"w1 w2", b"\xff", None, 5, ["w1"],
]  # fmt: skip
words = st.lists(st.sampled_from([*WORDS, "other"]), max_size=70).map(" ".join)
anything = st.text(max_size=80) | st.text(st.characters(codec=None), max_size=20)  # lone surrogates among them
prompts = st.lists(st.one_of(words, st.sampled_from(ODD), anything), max_size=3)
budgets = st.builds(
    Budget, steps=st.sampled_from([None, 0, 1, 2]), size=st.sampled_from([None, 0.0, 0.1, 1.0, 1e6, 1e30, 1e300])
)


def bytes_reference() -> Reference:
    """A model of bytes, into which every text can be spelled."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    spelled = Tokenizer(models.BPE({c: row for row, c in enumerate(["<end>", *alphabet])}, []))
    spelled.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    spelled.decoder = decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=spelled, eos_token="<end>", pad_token="<end>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}:"
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        "llama", hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, vocab_size=257,
        max_position_embeddings=64, bos_token_id=None, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    return Reference(transformers.AutoModelForCausalLM.from_config(config), tokenizer)


@pytest.fixture(scope="module")
def policies() -> list[TextPolicy]:
    """Words with every value that a rule can ask for; bytes with a reward alone; bytes in a chat."""
    source, spelled = reference(), bytes_reference()
    hidden, none = load_method("hidden"), load_method("tilt")
    good = Values(Scorer("good", lambda prompts, completions: count_good(prompts, completions)))
    return [
        TextPolicy(source, values(source, steps=20), hidden, Sampling(6), batch=2),
        TextPolicy(spelled, good, none, Sampling(4, temperature=0.7, top_k=5), batch=2),
        TextPolicy(spelled, good, none, Sampling(4, top_p=0.5), batch=2, chat=True),
    ]


@cases(100, 1500)
def test_any_prompts_are_completed_or_refused_in_one_line(policies: list[TextPolicy], count: int) -> None:
    def case(texts: list[Any], budget: Budget, method: str, which: int, seed: int) -> str:
        chosen = load_method(method)
        chosen = replace(chosen, transport=replace(chosen.transport, particles=2))
        with complaint() as said:
            found = policies[which].generate(texts, budget=budget, seed=seed, method=chosen)
            assert len(found) == len(texts)
            assert all(isinstance(text, str) for text in found)
        return "refused" if said else "completed"

    strategies = {
        "texts": prompts, "budget": budgets, "method": st.sampled_from(method_names(TEXT_RULES)),
        "which": st.sampled_from([0, 0, 1, 2]), "seed": st.integers(0, 2**63),
    }  # fmt: skip
    seen = run_cases(count, strategies, case)
    assert seen["completed"] > count / 5


def test_what_is_wrong_with_a_prompt_is_said() -> None:
    source = reference()
    for texts, said in (
        (["w1", b"w2"], "prompt 1 is of type bytes, not text"),
        ([None], "prompt 0 is of type NoneType"),
        (["w1", "w2 \udcff"], "prompt 1 is not valid Unicode"),
        ("w1 w2", "prompts are a single text"),
    ):
        with pytest.raises(UserError, match=said):
            source.prompts(texts)  # type: ignore[arg-type]


def test_special_tokens_alone_can_be_gone_on_from() -> None:
    source = reference()
    policy = TextPolicy(source, Values(classifier()), load_method("gumbel"), Sampling(6))
    assert len(policy.generate(["<end>", "<end><end>", "<unk>"])) == 3
