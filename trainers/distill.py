r"""Transported samples turned into weights: an adapter that needs no gradient and no budget at test time.

    heads <- fit to samples of the reference
    for every round:
        y  <- samples of the adapted model, moved by the run's method at its configured budget; their twins
        D  <- the best k of each prompt by the proxy, and plain samples of the reference
        adapter <- adapter - lr * grad of  - sum_{(x, y) in D} log p(y | x)         # SFT, LoRA; completions alone
        heads <- fit anew to samples of the adapted model

Examples are the very token ids that were decoded: nothing is tokenised again, and a completion that ran out of tokens
gets no end token. The samples of the reference hold the adapter near it. From the second round on particles start
from the adapted model, while NLL and KL stay those under the original reference.

Value heads of the reference do not fit the adapted model, whose states have moved; each round's adapter gets its own,
so that test-time budget can still be spent on top of it. They cost one pass of sampling a round.
"""

from __future__ import annotations

import math
import shutil
from functools import partial
from typing import Any

import torch

from vgf.config import Config
from vgf.language.adapters import adapted_reference, adapter_path, round_folder
from vgf.language.decoding import decode
from vgf.language.hub import extra
from vgf.language.loading import heads_path
from vgf.language.policy import TextPolicy
from vgf.language.problem import TextProblem
from vgf.language.ranks import from_first
from vgf.language.rules import get_text_rule
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

_IGNORED = -100  # labels that the loss leaves out


def train(config: Config, problem: TextProblem, run: RunDirectory, device: torch.device) -> None:
    """Train the adapter of all rounds into ``checkpoints/adapter``; rounds that are there are not trained again."""
    value.train(config, problem, run, device)
    done = rounds_done(config, run)
    if done >= config.text.finetune.rounds:
        print(f"{run.path} holds the adapter of {done} rounds: using it")
        return
    source = adapted_reference(config, adapter_path(run.path), device) if done else problem.reference
    for number in range(done + 1, config.text.finetune.rounds + 1):
        heads_from = round_folder(run.path, number - 1)
        if get_text_rule(config.transport.rule).needs_heads and not heads_path(heads_from).is_file():
            print(f"distill: stopping before round {number}, because there are no value heads to move particles with")
            return
        policy = policy_on(source, config, problem, heads_from)
        rows = from_first(partial(_examples, config, problem, policy, number))
        model, loss = _sft(config, run, device, problem, rows, number)
        source = keep(config, problem, run, device, model, number, loss=loss, examples=len(rows))


def _examples(config: Config, problem: TextProblem, policy: TextPolicy, number: int) -> list[dict[str, list[int]]]:
    """Token ids and labels of what a round learns from."""
    tune, seed = config.text.finetune, config.seed + SEED_OFFSET + number
    texts = _prompts_of_round(problem.train_prompts, tune.prompts, number)
    best: list[tuple[list[int], list[int]]] = []
    plain: list[tuple[list[int], list[int]]] = []
    wanted = tune.keep * tune.reference_share / (1 - tune.reference_share)  # plain samples a prompt
    with progress_bar(f"moving particles, round {number}", len(texts), "prompt") as bar:
        for batch in policy.batches(texts):
            kept, _ = policy.move(batch, None, seed, config).best(min(tune.keep, config.transport.particles))
            best += token_rows(kept)
            if wanted > 0:
                unmoved = decode(problem.reference, batch, math.ceil(wanted), policy.sampling, seed)
                plain += token_rows(unmoved)
            bar.update(len(batch.texts))
    taken = round(wanted * len(texts))
    rows = best + [plain[(i * len(plain)) // taken] for i in range(taken)]
    return [
        {"input_ids": prompt + answer, "labels": [_IGNORED] * len(prompt) + answer} for prompt, answer in rows if answer
    ]


def _prompts_of_round(prompts: list[str], count: int, number: int) -> list[str]:
    """The next ``count`` prompts, from the beginning again after the last one; each at most once a round."""
    count = min(count, len(prompts))
    first = (number - 1) * count
    return [prompts[(first + i) % len(prompts)] for i in range(count)]


def _sft(
    config: Config, run: RunDirectory, device: torch.device, problem: TextProblem, rows: list[Any], number: int
) -> tuple[Any, float]:
    """Go on training the adapter on examples; the model of PEFT, and the mean loss."""
    trl, peft, folder = extra("trl"), extra("peft"), adapter_path(run.path)
    seed, first = config.seed + number, number == 1
    model = trainable(config, device, seed)
    if not first:
        model = peft.PeftModel.from_pretrained(model, folder, is_trainable=True)
    scratch, tune = run.path / "trainer", config.text.finetune
    trainer = trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(**settings(config, device, scratch, seed), num_train_epochs=tune.epochs, max_length=None),
        train_dataset=extra("datasets").Dataset.from_list(rows),
        processing_class=problem.reference.tokenizer,
        peft_config=lora_config(config) if first else None,
    )
    loss = train_watched(trainer, f"trainer=distill, round {number}", "text.finetune.learning_rate").training_loss
    shutil.rmtree(scratch, ignore_errors=True)
    return trainer.model, float(loss)
