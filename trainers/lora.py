"""What the finetuning trainers share: the model TRL trains, TRL's settings, and what becomes of a finished adapter.

A finished adapter is merged into a copy of the reference; its proxy, its NLL and its KL are measured on its own
samples, always under the original reference; and value heads are fitted to it, because those of the reference read
states that it no longer has. The heads are in ``rounds/K`` of the run, laid out as a run of their own; the adapter is
published last, so that whatever is in ``checkpoints/adapter`` is complete.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from vgf.config import Config
from vgf.errors import UserError
from vgf.identity import MAY_GROW
from vgf.language.adapters import adapted_reference, adapter_facts, adapter_path, round_folder, save_adapter
from vgf.language.decoding import Samples, cut
from vgf.language.hub import extra
from vgf.language.loading import load_heads, open_reference, precision, text_policy
from vgf.language.policy import TextPolicy, Values
from vgf.language.problem import TextProblem
from vgf.language.ranks import first_first, is_first
from vgf.language.reference import Reference
from vgf.rundir import RunDirectory
from vgf.trainers import value
from vgf.trainers.watched import SETTINGS, train_watched

__all__ = [
    "SEED_OFFSET", "keep", "lora_config", "policy_on", "prompt_rows", "reward_function",
    "rounds_done", "settings", "token_rows", "train_online", "trainable",
]  # fmt: skip

SEED_OFFSET = 15_485_863  # noise of training is neither an evaluation's nor that of the value heads' samples
_MEASURED_OFFSET = 32_452_843  # an adapter is not measured on the noise that it was fitted to


def trainable(config: Config, device: torch.device, seed: int) -> Any:
    """A copy of the reference's model: PEFT puts its layers into whatever it is given.

    Their first weights are drawn from the global generators, which older versions of TRL seed only afterwards.
    """
    model = open_reference(config, device).model
    extra("transformers").set_seed(seed)
    return model


def lora_config(config: Config) -> Any:
    """The adapter's shape: all linear layers of the blocks."""
    rank = config.text.finetune.lora
    return extra("peft").LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear")


def settings(config: Config, device: torch.device, scratch: Path, seed: int) -> dict[str, Any]:
    """What every configuration of TRL is given; several of its defaults do not suit small models and processors."""
    tune = config.text.finetune
    return {
        "output_dir": str(scratch),
        "learning_rate": tune.learning_rate,
        "per_device_train_batch_size": tune.batch_size,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 5,
        "bf16": precision(config) == torch.bfloat16,
        "use_cpu": device.type == "cpu",
        "dataloader_pin_memory": device.type != "cpu",
        "gradient_checkpointing": False,
        "seed": seed,
    } | SETTINGS


def policy_on(reference: Reference, config: Config, problem: TextProblem, heads_from: Path | None = None) -> TextPolicy:
    """The run's policy on a reference of its own, with the value heads of a folder; None: without any."""
    heads = load_heads(heads_from, reference.device) if heads_from else {}
    return text_policy(config, reference, Values(problem.reward, heads.get("heads"), heads.get("tokens")))


def prompt_rows(config: Config, problem: TextProblem) -> Any:
    """The training prompts as TRL reads them; ``text`` is what the user wrote, with and without a chat template."""
    chat = config.text.chat
    rows = [
        {"prompt": [{"role": "user", "content": text}] if chat else text, "text": text}
        for text in problem.train_prompts
    ]
    return extra("datasets").Dataset.from_list(rows)


def reward_function(problem: TextProblem, stop: Sequence[str] = ()) -> Callable[..., list[float]]:
    """The proxy as TRL calls rewards; completions are read as decoding reads them: from tokens, up to ``stop``."""

    def proxy(*, text: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        answers = problem.reference.tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
        return problem.reward(text, [cut(answer, stop) for answer in answers])

    return proxy


def train_online(kind: str, config: Config, problem: TextProblem, run: RunDirectory, device: torch.device) -> None:
    """Train value heads, then an adapter by a trainer of TRL that draws its own completions and has them scored.

    An adapter that is there is not trained again.

    Args:
        kind: ``GRPO`` or ``RLOO``, as TRL's classes are called.

    Raises:
        UserError: completions of a prompt do not fit into batches, or are all the same.
    """
    value.train(config, problem, run, device)
    if rounds_done(config, run):
        print(f"{run.path} holds an adapter: using it")
        return
    trl, text, tune = extra("trl"), config.text, config.text.finetune
    if tune.batch_size % tune.generations:
        raise UserError(
            f"text.finetune.batch_size={tune.batch_size} is not a multiple of "
            f"text.finetune.generations={tune.generations}; completions of a prompt are compared within a batch"
        )
    if text.temperature == 0:
        raise UserError(
            f"trainer={config.trainer} learns from differences between samples; set text.temperature above 0"
        )
    scratch = run.path / "trainer"
    trainer = getattr(trl, f"{kind}Trainer")(
        model=trainable(config, device, config.seed),
        reward_funcs=reward_function(problem, text.stop),
        args=getattr(trl, f"{kind}Config")(
            **settings(config, device, scratch, config.seed),
            max_steps=tune.max_steps,
            num_generations=tune.generations,
            max_completion_length=text.new_tokens,
            temperature=text.temperature,
            top_k=text.top_k or 0,
            top_p=text.top_p or 1.0,
            beta=tune.beta,
        ),
        train_dataset=prompt_rows(config, problem),
        processing_class=problem.reference.tokenizer,
        peft_config=lora_config(config),
    )
    try:
        train_watched(trainer, f"trainer={config.trainer}", "text.finetune.learning_rate")
    except RuntimeError as error:
        if "probability tensor" not in str(error):  # what torch.multinomial says of logits that are not finite
            raise
        raise UserError(
            f"trainer={config.trainer}: the adapted model's probabilities are not finite; "
            "lower text.finetune.learning_rate"
        ) from error
    shutil.rmtree(scratch, ignore_errors=True)
    keep(config, problem, run, device, trainer.model, 1)


def token_rows(samples: Samples) -> list[tuple[list[int], list[int]]]:
    """Token ids of prompt and completion of every sample, as they were decoded: no end token is added."""
    prompts = [ids[mask].tolist() for ids, mask in zip(samples.prompts.ids, samples.prompts.mask, strict=True)]
    found = []
    for prompt, tokens, mask in zip(prompts, samples.tokens, samples.mask, strict=True):
        found += [(prompt, row[keep].tolist()) for row, keep in zip(tokens, mask, strict=True)]
    return found


def rounds_done(config: Config, run: RunDirectory) -> int:
    """How many rounds the run's adapter has behind it; their metrics are logged again where they are gone.

    Raises:
        UserError: the adapter there is another trainer's, or was trained with other settings.
    """
    facts = adapter_facts(adapter_path(run.path))
    if facts is None:
        return 0
    for key, ours in _identity(config).items():
        if facts["settings"].get(key) != ours:
            name = key if key == "trainer" else f"text.finetune.{key}"
            raise UserError(
                f"{run.path} holds an adapter trained with {name}={facts['settings'].get(key)}, not {ours}; "
                "choose another run_dir=..."
            )
    if is_first():
        run.log_missing(facts["metrics"])
    return int(facts["rounds"])


def _identity(config: Config) -> dict[str, Any]:
    chosen = {key: value for key, value in asdict(config.text.finetune).items() if key not in MAY_GROW}
    return {"trainer": config.trainer} | chosen


def keep(
    config: Config, problem: TextProblem, run: RunDirectory, device: torch.device, model: Any, done: int,
    **metrics: float,
) -> Reference:  # fmt: skip
    """Measure a trained adapter, fit value heads to it, publish it, and give back the adapted reference.

    Args:
        model: of PEFT, as TRL has trained it.
        done: rounds behind it; 1 for trainers that have none.
        metrics: further numbers of the round.
    """
    with first_first():
        if is_first():
            return _publish(config, problem, run, device, model, done, metrics)
        return adapted_reference(config, round_folder(run.path, done) / "adapter", device)


def _publish(
    config: Config, problem: TextProblem, run: RunDirectory, device: torch.device, model: Any, done: int,
    metrics: dict[str, float],
) -> Reference:  # fmt: skip
    folder, name = round_folder(run.path, done), config.trainer
    shutil.rmtree(folder, ignore_errors=True)  # of a round that was interrupted here
    save_adapter(folder / "adapter", model, {})
    adapted = adapted_reference(config, folder / "adapter", device)
    before = adapter_facts(adapter_path(run.path))
    rows = before["metrics"] if before else [{"step": 0} | _measured(config, problem, problem.reference, name)]
    row = {"step": done} | _measured(config, problem, adapted, name)
    row |= {f"{name}/{key}": value for key, value in metrics.items()}
    distance = f", KL {row[f'{name}/kl']:.2f} nats" if f"{name}/kl" in row else ""
    print(
        f"{name}, round {done}: proxy {rows[0][f'{name}/proxy']:.2f} -> {row[f'{name}/proxy']:.2f}, "
        f"NLL {rows[0][f'{name}/nll']:.2f} -> {row[f'{name}/nll']:.2f}{distance}"
    )
    try:
        value.fit(config, replace(problem, reference=adapted), RunDirectory(folder))
    except UserError as error:  # a reward that the adapter always earns leaves nothing to predict
        print(f"{name}, round {done}: no value heads for the adapter: {error}")
    told = [*rows, row]
    save_adapter(adapter_path(run.path), model, {"settings": _identity(config), "rounds": done, "metrics": told})
    run.log_missing(told)
    return adapted


def _measured(config: Config, problem: TextProblem, adapted: Reference, name: str) -> dict[str, float]:
    """Proxy of a model's own samples; NLL a token under the original reference, KL a completion from that one."""
    policy, read = policy_on(adapted, config, problem), problem.reference.log_probs
    sampling, proxy, nll, kl, tokens = policy.sampling, [], 0.0, 0.0, 0
    for batch in policy.batches(problem.train_prompts[: config.text.finetune.measured]):
        samples = policy.samples(batch, config.transport.particles, config.seed + _MEASURED_OFFSET)
        proxy.append(policy.score(samples, problem.reward).flatten())
        log_p = read(batch, samples.tokens, samples.mask)
        nll -= float(log_p.sum())
        if sampling.is_whole:
            if sampling.temperature != 1:
                log_p = read(batch, samples.tokens, samples.mask, sampling.temperature)
            kl += float((samples.log_probs - log_p).sum())
        tokens += int(samples.mask.sum())
    scores = torch.cat(proxy)
    found = {f"{name}/proxy": float(scores.mean()), f"{name}/nll": nll / tokens}
    return found | ({f"{name}/kl": kl / len(scores)} if sampling.is_whole else {})
