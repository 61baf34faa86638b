"""Value heads for text: reference samples of training prompts, their rewards, and heads that predict them.

    y_i ~ reference(. | x),  r_i = R(x, y_i)
    V(h_t)      <- r        h_t: state of one layer before token t          (moved by method=hidden)
    Q(h_t, y_t) <- r        beside the embedding of the token that follows  (method=tilt, method=expected)

Heads of a length-only reward are fitted to the same samples: the control that shows what chasing length would give.
"""

from __future__ import annotations

import torch

from vgf.config import Config
from vgf.language.decoding import Samples
from vgf.language.heads import ValueHeads, beside_tokens, fit_heads, sample_with_states
from vgf.language.loading import heads_path, sampling_of, save_heads
from vgf.language.problem import TextProblem
from vgf.language.reference import Reference
from vgf.language.scorers import scorer
from vgf.progress import progress_bar
from vgf.rundir import RunDirectory

__all__ = ["train"]

_SEED_OFFSET = 7_919  # training noise is not that of an evaluation with the same seed


def train(config: Config, problem: TextProblem, run: RunDirectory, device: torch.device) -> None:
    """Fit the heads and save them into the run's ``checkpoints``; nothing to do where they are."""
    if heads_path(run.path).is_file():
        print(f"{run.path} holds value heads: using them")
        return
    reference, text = problem.reference, config.text
    layer = layer_of(config, reference)
    parts = []
    with progress_bar("sampling for value heads", len(problem.train_prompts), "prompt") as bar:
        for first in range(0, len(problem.train_prompts), text.batch):
            texts = problem.train_prompts[first : first + text.batch]
            prompts = reference.prompts(texts, chat=text.chat, new_tokens=text.new_tokens, first=first)
            parts.append(
                sample_with_states(
                    reference,
                    prompts,
                    config.transport.particles,
                    sampling_of(config),
                    config.seed + _SEED_OFFSET,
                    layer,
                )
            )
            bar.update(len(texts))
    rewards = torch.cat([_rewards(problem.reward, reference, samples) for samples, _ in parts])
    lengths = torch.cat([_rewards(scorer("length"), reference, samples) for samples, _ in parts])
    states = torch.cat([states for _, states in parts])
    mask = torch.cat([samples.mask for samples, _ in parts])
    pairs = torch.cat([beside_tokens(reference, states, samples) for samples, states in parts])

    fitted: dict[str, ValueHeads] = {}
    for name, inputs, targets in (("heads", states, rewards), ("tokens", pairs, rewards), ("length", states, lengths)):
        fitted[name], correlation = fit_heads(inputs, mask, targets, layer, seed=config.seed, **_recipe(config))
        run.log({"step": 0, f"heads/{name}_correlation": correlation})
        print(f"value heads ({name}): correlation with the reward at held-out prefixes {correlation:.2f}")
    save_heads(run.path, fitted)


def layer_of(config: Config, reference: Reference) -> int:
    """The configured layer, or two thirds of the way up."""
    return config.text.heads.layer or max(1, round(2 / 3 * len(reference.blocks)))


def _recipe(config: Config) -> dict:
    heads = config.text.heads
    names = ("hidden", "heads", "steps", "batch_size", "learning_rate", "weight_decay")
    return {name: getattr(heads, name) for name in names}


def _rewards(reward, reference: Reference, samples: Samples) -> torch.Tensor:  # type: ignore[no-untyped-def]
    prompts = [prompt for prompt in samples.prompts.texts for _ in range(samples.tokens.shape[1])]
    texts = reference.texts(samples.tokens.flatten(0, 1), samples.mask.flatten(0, 1))
    return torch.tensor(reward(prompts, texts)).view(samples.tokens.shape[:2])
