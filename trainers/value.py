"""Value heads for text: reference samples of training prompts, their rewards, and heads that predict them.

    y_i ~ reference(. | x),  r_i = R(x, y_i)
    V(h_t)      <- r        h_t: state of one layer before token t          (moved by method=hidden)
    Q(h_t, y_t) <- r        beside the embedding of the token that follows  (method=tilt, method=expected)

Heads of a length-only reward are fitted to the same samples: the control that shows what chasing length would give.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from vgf.config import Config
from vgf.language.heads import ValueHeads, beside_tokens, fit_heads, sample_with_states
from vgf.language.loading import heads_path, heads_rows, save_heads, text_policy
from vgf.language.policy import Values
from vgf.language.problem import Remake, TextProblem
from vgf.language.processes import share_out, useful_processes
from vgf.language.ranks import first_first
from vgf.language.reference import Reference
from vgf.language.scorers import scorer
from vgf.progress import progress_bar
from vgf.rundir import RunDirectory

__all__ = ["fit", "train"]

Part = dict[str, Tensor]  # of one batch of prompts, under the names below

_SAMPLED = ("states", "tokens", "mask", "rewards", "lengths")
_SEED_OFFSET = 7_919  # training noise is not that of an evaluation with the same seed


def train(config: Config, problem: TextProblem, run: RunDirectory, device: torch.device) -> None:
    """Fit the heads and save them into the run's ``checkpoints``; nothing to do where they are.

    An interrupted call begins again: all noise depends on the seed alone, so the heads are the same.
    """
    processes = useful_processes(config, device, _batches(config, problem)) if problem.remake else 1
    with first_first():
        fit(config, problem, run, processes)


def fit(config: Config, problem: TextProblem, run: RunDirectory, processes: int = 1) -> None:
    """:func:`train`, in one process that does not wait for others.

    Args:
        processes: that sample; more than one only for a problem that can be made anew in them.
    """
    if heads_path(run.path).is_file():
        run.log_missing(heads_rows(run.path))
        print(f"{run.path} holds value heads: using them")
        return
    reference, layer = problem.reference, layer_of(config, problem.reference)
    found = _sampled(config, problem, processes)
    states, tokens, mask, rewards, lengths = (
        torch.cat([found[place][name] for place in sorted(found)]).to(reference.device) for name in _SAMPLED
    )
    pairs = beside_tokens(reference, states, tokens)

    fitted: dict[str, ValueHeads] = {}
    rows: list[dict[str, float]] = []
    for name, inputs, targets in (("heads", states, rewards), ("tokens", pairs, rewards), ("length", states, lengths)):
        if name == "length" and not targets.std() > 0:
            print("value heads (length): left out, every reference sample has as many words")
            continue
        fitted[name], correlation = fit_heads(inputs, mask, targets, layer, seed=config.seed, **_recipe(config))
        rows.append({"step": 0, f"heads/{name}_correlation": correlation})
        print(f"value heads ({name}): correlation with the reward at held-out prefixes {correlation:.2f}")
    save_heads(run.path, fitted, rows)
    run.log_missing(rows)


def _sampled(config: Config, problem: TextProblem, processes: int) -> dict[int, Part]:
    """Reference samples of every batch of training prompts, their states and rewards."""
    jobs, what = _batches(config, problem), "sampling for value heads"
    if processes == 1:
        results = _samples(config, problem, range(jobs))
    else:
        results = share_out(what, _samples_apart, (config, problem.remake), jobs, processes)
    found: dict[int, Part] = {}
    with progress_bar(what, len(problem.train_prompts), "prompt") as bar:
        for place, part in results:
            found[place] = {name: torch.as_tensor(value) for name, value in part.items()}
            bar.update(len(part["rewards"]))
    return found


def _samples_apart(config: Config, remake: Remake, places: Iterable[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """What one process does: :func:`_samples`, on a problem of its own."""
    for place, part in _samples(config, remake(config, torch.device("cpu")), places):
        yield place, {name: value.numpy() for name, value in part.items()}  # tensors would go through shared memory


def _samples(config: Config, problem: TextProblem, places: Iterable[int]) -> Iterator[tuple[int, Part]]:
    reference, reward, layer = problem.reference, problem.reward, layer_of(config, problem.reference)
    policy = text_policy(config, reference, Values(reward))
    batches, seed = policy.batches(problem.train_prompts), config.seed + _SEED_OFFSET
    for place in places:
        samples, states = sample_with_states(
            reference, batches[place], config.transport.particles, policy.sampling, seed, layer
        )
        rewards, lengths = policy.score(samples, reward), policy.score(samples, scorer("length"))
        yield place, dict(zip(_SAMPLED, (states, samples.tokens, samples.mask, rewards, lengths), strict=True))


def _batches(config: Config, problem: TextProblem) -> int:
    return -(-len(problem.train_prompts) // config.text.batch)


def layer_of(config: Config, reference: Reference) -> int:
    """The configured layer, or two thirds of the way up."""
    return config.text.heads.layer or max(1, round(2 / 3 * len(reference.blocks)))


def _recipe(config: Config) -> dict:
    heads = config.text.heads
    names = ("hidden", "heads", "steps", "batch_size", "learning_rate", "weight_decay")
    return {name: getattr(heads, name) for name in names}
