"""A reward model from preference pairs, trained with TRL's RewardTrainer (Bradley-Terry loss).

    loss = -log sigmoid(R(x, y_chosen) - R(x, y_rejected))

Any AutoModelForSequenceClassification will do. ``layers=K`` keeps the first K blocks of a causal model, so that a
reward built on the reference shares its tokenizer and embeddings, and its gradient is exact at the reference's tokens.
Texts are tokenised and cut here, as :class:`vgf.language.rewards.RewardModel` will read them (TRL would append an end
token that no unfinished completion has).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vgf.errors import UserError
from vgf.language.hub import SAFE, extra
from vgf.language.reference import blocks_of
from vgf.language.rewards import token_ids
from vgf.language.settings import RewardConfig
from vgf.trainers.watched import SETTINGS, train_watched

__all__ = ["train_reward"]

Pairs = Sequence[Mapping[str, str]]


def train_reward(
    base: Path, pairs: Pairs, held_out: Pairs, config: RewardConfig, folder: Path, *, seed: int, layers: int | None
) -> float:
    """Train on pairs and save model and tokenizer into ``folder``, which exists.

    Args:
        base: folder of the model to start from.
        pairs, held_out: rows with ``chosen``, ``rejected`` and perhaps ``prompt``, which is put before both.
        layers: keep so many blocks of the model, from the bottom; None: all.

    Returns:
        Accuracy on the held-out pairs: how often the chosen one scores higher.

    Raises:
        UserError: the extra is not installed, the model cannot be read as a classifier, or has fewer blocks.
    """
    transformers, trl = extra("transformers"), extra("trl")
    torch.manual_seed(seed)  # of the new output layer
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(base, **SAFE)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        kept = {} if layers is None else _lowest(layers, transformers.AutoConfig.from_pretrained(base, **SAFE))
        shape = transformers.AutoConfig.from_pretrained(
            base, num_labels=1, pad_token_id=tokenizer.pad_token_id, **kept, **SAFE
        )
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            base, config=shape, dtype=torch.float32, **SAFE
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{base} cannot be made a reward model: {str(error).splitlines()[0]}") from error
    if config.train_layers is not None and config.lora is None:
        _freeze_below(model, config.train_layers)
    scratch = folder / "trainer"
    trainer = trl.RewardTrainer(
        model=model,
        args=trl.RewardConfig(
            output_dir=str(scratch),
            num_train_epochs=config.epochs,
            per_device_train_batch_size=config.batch_size,
            per_device_eval_batch_size=4 * config.batch_size,
            learning_rate=config.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=10,
            max_length=config.max_length,
            bf16=True,
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=torch.cuda.is_available(),
            gradient_checkpointing=False,
            seed=seed,
            **SETTINGS,
        ),
        train_dataset=_tokenised(tokenizer, pairs, config.max_length),
        eval_dataset=_tokenised(tokenizer, held_out, config.max_length),
        processing_class=tokenizer,
        peft_config=_lora(config.lora),
    )
    train_watched(trainer, "a reward model", "its learning_rate")
    accuracy = float(trainer.evaluate()["eval_accuracy"])
    trained = trainer.model.merge_and_unload() if config.lora else trainer.model
    shutil.rmtree(scratch, ignore_errors=True)
    trained.to(torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return accuracy


def _lowest(layers: int, whole: Any) -> dict[str, Any]:
    """The settings of a model that change where it keeps so many blocks, from the bottom."""
    if layers > (depth := whole.num_hidden_layers):
        raise UserError(f"layers={layers}, but it has {depth} blocks; give at most {depth}, or null")
    kinds = getattr(whole, "layer_types", None)  # of attention, one a block
    return {"num_hidden_layers": layers} | ({"layer_types": list(kinds[:layers])} if kinds else {})


def _freeze_below(model: Any, top: int) -> None:
    """Leave the ``top`` blocks, and what comes after the blocks, to learn."""
    blocks = list(blocks_of(model))
    frozen = [model.get_input_embeddings(), *blocks[: max(0, len(blocks) - top)]]
    for part in frozen:
        part.requires_grad_(False)


def _lora(rank: int | None) -> Any:
    if rank is None:
        return None
    return extra("peft").LoraConfig(task_type="SEQ_CLS", r=rank, lora_alpha=2 * rank, target_modules="all-linear")


def _tokenised(tokenizer: Any, pairs: Pairs, longest: int) -> Any:
    def ids(row: Mapping[str, str], answer: str) -> list[int]:
        return token_ids(tokenizer, row.get("prompt", "") + row[answer], longest)

    rows = [{"chosen_ids": ids(row, "chosen"), "rejected_ids": ids(row, "rejected")} for row in pairs]
    return extra("datasets").Dataset.from_list(rows)
