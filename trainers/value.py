"""Value heads for text: reference samples of training prompts, their rewards, and heads that predict them.

    y_i ~ reference(. | x),  r_i = R(x, y_i)
    V(h_t)      <- r        h_t: state of one layer before token t          (moved by method=hidden)
    Q(h_t, y_t) <- r        beside the embedding of the token that follows  (method=tilt, method=expected)

Heads of a length-only reward are fitted to the same samples: the control that shows what chasing length would give.
"""

from __future__ import annotations

import torch

from vgf.config import Config
from vgf.language.heads import ValueHeads, beside_tokens, fit_heads, sample_with_states
from vgf.language.loading import heads_path, heads_rows, save_heads, text_policy
from vgf.language.policy import Values
from vgf.language.problem import TextProblem
from vgf.language.ranks import first_first
from vgf.language.reference import Reference
from vgf.language.scorers import scorer
from vgf.progress import progress_bar
from vgf.rundir import RunDirectory

__all__ = ["fit", "train"]

_SEED_OFFSET = 7_919  # training noise is not that of an evaluation with the same seed


def train(config: Config, problem: TextProblem, run: RunDirectory, device: torch.device) -> None:
    """Fit the heads and save them into the run's ``checkpoints``; nothing to do where they are.

    An interrupted call begins again: all noise depends on the seed alone, so the heads are the same.
    """
    with first_first():
        fit(config, problem, run)


def fit(config: Config, problem: TextProblem, run: RunDirectory) -> None:
    """:func:`train`, in one process that does not wait for others."""
    if heads_path(run.path).is_file():
        run.log_missing(heads_rows(run.path))
        print(f"{run.path} holds value heads: using them")
        return
    policy, layer = text_policy(config, problem.reference, Values(problem.reward)), layer_of(config, problem.reference)
    parts = []
    with progress_bar("sampling for value heads", len(problem.train_prompts), "prompt") as bar:
        for batch in policy.batches(problem.train_prompts):
            particles, seed = config.transport.particles, config.seed + _SEED_OFFSET
            parts.append(sample_with_states(problem.reference, batch, particles, policy.sampling, seed, layer))
            bar.update(len(batch.texts))
    rewards = torch.cat([policy.score(samples, problem.reward) for samples, _ in parts])
    lengths = torch.cat([policy.score(samples, scorer("length")) for samples, _ in parts])
    states = torch.cat([states for _, states in parts])
    mask = torch.cat([samples.mask for samples, _ in parts])
    pairs = torch.cat([beside_tokens(problem.reference, states, samples) for samples, states in parts])

    fitted: dict[str, ValueHeads] = {}
    rows: list[dict[str, float]] = []
    for name, inputs, targets in (("heads", states, rewards), ("tokens", pairs, rewards), ("length", states, lengths)):
        fitted[name], correlation = fit_heads(inputs, mask, targets, layer, seed=config.seed, **_recipe(config))
        rows.append({"step": 0, f"heads/{name}_correlation": correlation})
        print(f"value heads ({name}): correlation with the reward at held-out prefixes {correlation:.2f}")
    save_heads(run.path, fitted, rows)
    run.log_missing(rows)


def layer_of(config: Config, reference: Reference) -> int:
    """The configured layer, or two thirds of the way up."""
    return config.text.heads.layer or max(1, round(2 / 3 * len(reference.blocks)))


def _recipe(config: Config) -> dict:
    heads = config.text.heads
    names = ("hidden", "heads", "steps", "batch_size", "learning_rate", "weight_decay")
    return {name: getattr(heads, name) for name in names}
