"""Pairs are tokenised for training as the trained reward will read texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.language.tiny import classifier, reference, tokenizer
from vgf.errors import UserError
from vgf.language import rewards
from vgf.language.reference import blocks_of
from vgf.language.rewards import RewardModel, load_reward
from vgf.language.rows import split_dialogue
from vgf.language.settings import RewardConfig
from vgf.trainers.reward import _freeze_below, _tokenised, train_reward

pytest.importorskip("datasets")
pytest.importorskip("trl")


def _encoder_tokenizer() -> Any:
    """Puts a token before and one after every text, as encoders have it."""
    from tokenizers.processors import TemplateProcessing

    own = tokenizer()
    around = [("good", own.convert_tokens_to_ids("good")), ("bad", own.convert_tokens_to_ids("bad"))]
    own.backend_tokenizer.post_processor = TemplateProcessing(single="good $A bad", special_tokens=around)
    return own


@pytest.mark.parametrize("own", [tokenizer(), _encoder_tokenizer()], ids=["decoder", "encoder"])
@pytest.mark.parametrize("longest", [3, 6, 20])
def test_training_reads_what_the_reward_will_read(own: Any, longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"prompt": "w1 w2 w3 ", "chosen": "w4 w5 w6 w7", "rejected": "w8 w9"},
        {"chosen": "w1", "rejected": "w2 w3"},
    ]
    read, whole = [], rewards.right_padded

    def right_padded(ids: Sequence[Sequence[int]], pad: int) -> Any:
        read.extend(list(row) for row in ids)
        return whole(ids, pad)

    monkeypatch.setattr(rewards, "right_padded", right_padded)
    reward = RewardModel("tiny", classifier().model, own, longest)
    for row in rows:
        for answer in ("chosen", "rejected"):
            reward([row.get("prompt", "")], [row[answer]])
    trained = [row[column] for row in _tokenised(own, rows, longest) for column in ("chosen_ids", "rejected_ids")]
    assert trained == read
    assert max(map(len, trained)) <= longest


@pytest.mark.parametrize("kind", ["llama", "gemma3_text"])  # the second names the attention of each block
def test_a_reward_on_the_lowest_blocks_can_be_read_again(kind: str, tmp_path: Path) -> None:
    base, pairs = tmp_path / "base", [{"prompt": "w1 ", "chosen": "good w2", "rejected": "bad w3"}] * 4
    reference(kind).model.save_pretrained(base)
    tokenizer().save_pretrained(base)
    config = RewardConfig(epochs=1, batch_size=4)  # 3 blocks learn of the 2 that are kept: all of them
    train_reward(base, pairs, pairs, config, tmp_path, seed=0, layers=2)
    trained = load_reward("trained", tmp_path, torch.device("cpu"), torch.float32)
    assert len(blocks_of(trained.model)) == 2
    torch.testing.assert_close(trained.embeddings, reference(kind).embeddings)
    with pytest.raises(
        UserError, match=r"base cannot be made a reward model: layers=4, but it has 3 blocks; give at most 3, or null$"
    ):
        train_reward(base, pairs, pairs, config, tmp_path, seed=0, layers=4)


def test_all_blocks_learn_where_there_are_fewer_than_shall() -> None:
    model = classifier().model.requires_grad_(True)
    _freeze_below(model, 5)
    assert [any(p.requires_grad for p in block.parameters()) for block in blocks_of(model)] == [True] * 3


def test_an_answer_of_a_dialogue_begins_with_the_token_that_a_generated_one_begins_with() -> None:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    trained = ByteLevelBPETokenizer()
    talk = "\n\nHuman: Why?\n\nAssistant:"
    trained.train_from_iterator([f"{talk} Because. No."] * 8, vocab_size=400, min_frequency=2)
    own = PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer)
    prompt, chosen, rejected = split_dialogue(f"{talk} Because.", f"{talk} No.")
    (row,) = _tokenised(own, [{"prompt": prompt, "chosen": chosen, "rejected": rejected}], 64)
    for ids, word in ((row["chosen_ids"], " Because"), (row["rejected_ids"], " No")):
        first = own(prompt)["input_ids"]
        assert ids[: len(first)] == first
        assert own.decode(ids[len(first)]) == word, "with the space, as completions have it"
