r"""DPO on the proxy, through TRL: the best and the worst of N reference samples are a pair.

    loss = - log sigmoid(beta * (log p_adapted(y+)/p_reference(y+) - log p_adapted(y-)/p_reference(y-)))
                                                                                                (arXiv 2305.18290)

Pairs are the very token ids that were decoded. TRL would tokenise their texts again and end each with an end token,
which no completion that ran out of tokens has; a collator puts the ids in the place of what it made. Prompts whose
samples all score alike are left out. An interrupted training begins again.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

import torch

from vgf.config import Config
from vgf.errors import UserError
from vgf.language.hub import extra
from vgf.language.problem import TextProblem
from vgf.language.ranks import from_first
from vgf.progress import progress_bar
from vgf.rundir import RunDirectory
from vgf.trainers import value
from vgf.trainers.lora import (
    SEED_OFFSET,
    keep,
    lora_config,
    policy_on,
    rounds_done,
    settings,
    token_rows,
    trainable,
)
from vgf.trainers.watched import train_watched

__all__ = ["train"]

_COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids")  # as TRL's collator reads them
_OURS = "decoded_"


def train(config: Config, problem: TextProblem, run: RunDirectory, device: torch.device) -> None:
    """Train the adapter into ``checkpoints/adapter``; one that is there is not trained again.

    Raises:
        UserError: the proxy tells no two samples of any prompt apart.
    """
    value.train(config, problem, run, device)
    if rounds_done(config, run):
        print(f"{run.path} holds an adapter: using it")
        return
    trl, tune, scratch = extra("trl"), config.text.finetune, run.path / "trainer"
    pairs, tokenizer = from_first(lambda: _pairs(config, problem)), problem.reference.tokenizer
    if not pairs:
        raise UserError(
            f"the reward gives all {tune.generations} samples of each prompt the same value; dpo has no pairs"
        )
    trainer = trl.DPOTrainer(
        model=trainable(config, device, config.seed),
        args=trl.DPOConfig(
            **settings(config, device, scratch, config.seed),
            num_train_epochs=tune.epochs,
            max_length=None,
            beta=tune.beta,
            remove_unused_columns=False,
        ),
        train_dataset=extra("datasets").Dataset.from_list(pairs),
        data_collator=_AsDecoded(extra("trl.trainer.dpo_trainer").DataCollatorForPreference(tokenizer.pad_token_id)),
        processing_class=tokenizer,
        peft_config=lora_config(config),
    )
    train_watched(trainer, "trainer=dpo", "text.finetune.learning_rate")
    shutil.rmtree(scratch, ignore_errors=True)
    keep(config, problem, run, device, trainer.model, 1, pairs=len(pairs))


def _pairs(config: Config, problem: TextProblem) -> list[dict[str, Any]]:
    """The best and the worst sample of each prompt, as token ids, and as the texts that TRL wants to see."""
    tune, policy = config.text.finetune, policy_on(problem.reference, config, problem)
    texts, rows = problem.train_prompts[: tune.prompts], []
    with progress_bar("sampling pairs", len(texts), "prompt") as bar:
        for batch in policy.batches(texts):
            samples = policy.samples(batch, tune.generations, config.seed + SEED_OFFSET)
            scores = policy.score(samples, problem.reward)
            ends = torch.stack([scores.argmax(1), scores.argmin(1)], 1)  # [B, 2]
            found = token_rows(samples[ends])
            for i, text in enumerate(batch.texts):
                (prompt, chosen), (_, rejected) = found[2 * i], found[2 * i + 1]
                if scores[i].max() > scores[i].min():
                    ids = dict(zip((_OURS + name for name in _COLUMNS), (prompt, chosen, rejected), strict=True))
                    rows.append({"prompt": text, "chosen": "", "rejected": ""} | ids)
            bar.update(len(batch.texts))
    return rows


@dataclass(frozen=True)
class _AsDecoded:
    """A collator that reads our token ids in the place of TRL's."""

    collator: Any

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = self.collator([{name: row[_OURS + name] for name in _COLUMNS} for row in rows])
        return found
