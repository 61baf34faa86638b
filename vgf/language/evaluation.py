"""Scores a text policy: every method on the same held-out prompts with the same noise, one row a prompt.

    for every seed, every batch of prompts:
        the reference's samples                       # the twins of all that follows; budget 0 of every method
        for every point: move, select, judge -> rows of eval.csv

The proxy guides and selects; gold and second judge and never guide.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vgf.config import MethodConfig
from vgf.language.decoding import Samples, decode
from vgf.language.limits import share_changed
from vgf.language.policy import Generation, Reward, TextPolicy, Values
from vgf.methods import budget_at

__all__ = ["TEXT_COLUMNS", "TextPoint", "evaluate", "example_rows"]

TEXT_COLUMNS = (
    "step", "method", "budget", "seed", "prompt", "proxy", "gold", "second", "proxy_selected", "gold_selected",
    "second_selected", "beats_chosen",
    "nll", "kl", "length", "distinct2", "tokens_changed", "travelled", "seconds", "candidates",
)  # fmt: skip

Row = dict[str, Any]


@dataclass(frozen=True)
class TextPoint:
    """One thing to evaluate.

    Attributes:
        method: what its rows are called.
        budget: the number its rows carry: value of the knob, a temperature, or a number of candidates.
        seeds: of the noise; the first so many of the run's.
        prompts: the first so many of the held-out ones, counted in whole batches; None: all.
        generate: (policy, unmoved, seed) -> the particles, given the reference's.
    """

    method: str
    budget: float
    seeds: int
    generate: Callable[[TextPolicy, Generation, int], Generation]
    prompts: int | None = None

    def covers(self, place: int, first: int) -> bool:
        """Whether it is evaluated on this seed, by place, and the batch that begins with this prompt."""
        return place < self.seeds and (self.prompts is None or first < self.prompts)


def moving(
    name: str, method: MethodConfig, knob: float, seeds: int, values: Values | None = None, **options: Any
) -> TextPoint:
    """A method at a value of its knob."""
    chosen = replace(method, transport=replace(method.transport, options=dict(method.transport.options) | options))

    def generate(policy: TextPolicy, unmoved: Generation, seed: int) -> Generation:
        start = unmoved
        if values is not None:  # another reward guides and selects: the twins are the same, their scores are not
            rewards = policy.score(unmoved.twins, values.reward)
            start = replace(unmoved, rewards=rewards, twin_rewards=rewards)
        return policy.move(
            unmoved.twins.prompts, budget_at(chosen, knob), seed, chosen, values=values, unmoved=start
        )  # fmt: skip

    return TextPoint(name, knob, seeds, generate)


def sharper(temperature: float, seeds: int) -> TextPoint:
    """The control that only sharpens: the same noise at a lower temperature, no gradient."""

    def generate(policy: TextPolicy, unmoved: Generation, seed: int) -> Generation:
        began, twins = time.perf_counter(), unmoved.twins
        sampling = replace(policy.sampling, temperature=temperature)
        moved = decode(policy.reference, twins.prompts, twins.tokens.shape[1], sampling, seed)
        rewards = policy.score(moved, policy.values.reward)
        seconds = unmoved.seconds + time.perf_counter() - began
        return Generation(moved, twins, rewards, unmoved.twin_rewards, seconds, law=temperature > 0)

    return TextPoint("temperature", temperature, seeds, generate)


def more_candidates(counts: Sequence[int], seeds: int) -> list[TextPoint]:
    """Best of so many reference samples: those that are there, and further ones.

    All further ones of a batch are decoded and scored at once; a count is charged its share of the seconds.
    """
    further: list[Generation] = []  # of the batch in hand

    def drawn(policy: TextPolicy, unmoved: Generation, seed: int) -> Generation:
        twins = unmoved.twins
        if not further or further[0].twins is not twins:
            began, there = time.perf_counter(), twins.particles
            more = decode(policy.reference, twins.prompts, max(counts) - there, policy.sampling, seed, skip=there)
            rewards = policy.score(more, policy.values.reward)
            seconds = time.perf_counter() - began
            further[:] = [Generation(more, twins, rewards, unmoved.twin_rewards, seconds, paired=False)]
        return further[0]

    def up_to(count: int) -> Callable[[TextPolicy, Generation, int], Generation]:
        def generate(policy: TextPolicy, unmoved: Generation, seed: int) -> Generation:
            all_, more = drawn(policy, unmoved, seed), count - unmoved.twins.particles
            seconds = unmoved.seconds + all_.seconds * more / all_.moved.particles
            return replace(all_, moved=all_.moved.first(more), rewards=all_.rewards[:, :more], seconds=seconds)

        return generate

    return [TextPoint("best_of_n", count, seeds, up_to(count)) for count in sorted(counts)]


def evaluate(
    policy: TextPolicy,
    prompts: Sequence[str],
    points: Sequence[TextPoint],
    judges: dict[str, Reward],
    *,
    seeds: Sequence[int],
    particles: int,
    chosen: Sequence[str] | None = None,
    places: Iterable[int] | None = None,
) -> Iterator[tuple[list[Row], list[Row]]]:
    """Evaluate the reference and every point, batch by batch.

    Args:
        prompts: held out.
        judges: ``gold``, and perhaps ``second``.
        seeds: of the noise; a point uses the first ``point.seeds`` of them.
        particles: N of the reference.
        chosen: a good completion of each prompt, which moved ones are compared with by the judge.
        places: of the (seed, batch) to evaluate, counted seed by seed; None: all.

    Yields:
        Rows of eval.csv and of samples.json, of one batch of prompts and one seed.
    """
    still = replace(policy.method, transport=replace(policy.method.transport, particles=particles))
    batches = policy.batches(prompts)
    for job in range(len(seeds) * len(batches)) if places is None else places:
        place, seed, batch = job // len(batches), seeds[job // len(batches)], batches[job % len(batches)]
        unmoved = policy.move(batch, budget_at(still, 0.0), seed, still)
        measured = _Batch(policy, unmoved, judges, seed, chosen)
        rows, examples = measured.rows("reference", 0.0, unmoved, measured.twin_scores, place == 0), []
        for point in points:
            if point.covers(place, batch.first):
                generation = point.generate(policy, unmoved, seed)
                scores = measured.scores(generation)
                rows += measured.rows(point.method, point.budget, generation, scores, place == 0)
                if place == 0:
                    examples += measured.examples(point.method, point.budget, generation, scores)
        yield rows, examples


class _Batch:
    """What all points of one batch of prompts are compared with: the reference's samples and their scores."""

    def __init__(
        self,
        policy: TextPolicy,
        unmoved: Generation,
        judges: dict[str, Reward],
        seed: int,
        chosen: Sequence[str] | None,
    ) -> None:
        self.policy, self.judges, self.seed, self.unmoved = policy, judges, seed, unmoved
        prompts = unmoved.twins.prompts
        self.bar = None  # the judge's score of each prompt's chosen completion, [B, 1]
        if chosen is not None:
            answers = list(chosen[prompts.first : prompts.first + len(prompts.texts)])
            scores = judges["gold"](list(prompts.texts), answers)
            self.bar = torch.tensor(scores, device=unmoved.twin_rewards.device).unsqueeze(1)
        self.twin_scores = self._scores(unmoved.twins, unmoved.twin_rewards)

    def scores(self, generation: Generation) -> dict[str, Tensor]:
        """Rewards [B, N] of the moved particles, by the proxy and by every judge."""
        same = generation.moved is generation.twins
        return self.twin_scores if same else self._scores(generation.moved, self._proxy(generation))

    def _scores(self, samples: Samples, rewards: Tensor) -> dict[str, Tensor]:
        return {"proxy": rewards} | {name: self.policy.score(samples, judge) for name, judge in self.judges.items()}

    def rows(
        self, method: str, budget: float, generation: Generation, scores: dict[str, Tensor], with_law: bool
    ) -> list[Row]:
        """One row a prompt. ``with_law``: the reference reads a quarter of the particles again, for NLL and KL."""
        moved, twins = generation.moved, generation.twins
        same = moved is twins
        pooled = {name: torch.cat([scores[name], self.twin_scores[name]], 1) for name in scores}
        chosen = pooled["proxy"].argmax(1, keepdim=True)
        tokens = moved.mask.sum(-1)
        columns: dict[str, Tensor] = {name: value.mean(1) for name, value in scores.items()}
        columns |= {f"{name}_selected": value.gather(1, chosen)[:, 0] for name, value in pooled.items()}
        columns |= {"length": tokens.float().mean(1), "distinct2": _distinct_bigrams(moved)}
        if with_law and generation.paired:
            few = moved.first(math.ceil(moved.particles / 4))
            log_p, sampling = self._log_p(few, same, 1.0), self.policy.sampling
            columns["nll"] = -log_p.sum((1, 2)) / few.mask.sum((1, 2))
            if generation.law and sampling.is_whole:
                log_p = log_p if sampling.temperature == 1 else self._log_p(few, same, sampling.temperature)
                columns["kl"] = (few.log_probs - log_p).sum(-1).mean(1)
        if self.bar is not None:
            columns["beats_chosen"] = (scores["gold"] > self.bar).float().mean(1)
        if generation.paired:
            columns |= {
                "tokens_changed": share_changed(moved, twins).mean(1),
                "travelled": self._travelled(moved, twins),
            }
        else:  # of the further samples alone: they are the reference's
            for name in ("proxy", "gold", "second", "beats_chosen", "length", "distinct2"):
                columns.pop(name, None)
        count = len(moved.prompts.texts)
        fixed = {"method": method, "budget": budget, "seed": self.seed, "seconds": generation.seconds / count}
        candidates = moved.particles + (0 if same else twins.particles)
        return [
            fixed
            | {"prompt": moved.prompts.first + i, "candidates": candidates}
            | {name: float(values[i]) for name, values in columns.items()}
            for i in range(count)
        ]

    def _log_p(self, samples: Samples, drawn_from_reference: bool, temperature: float) -> Tensor:
        """Log probabilities under the reference [B, N, T]; those that were drawn from this very law know theirs."""
        sampling = self.policy.sampling
        if drawn_from_reference and sampling.is_whole and sampling.temperature == temperature:
            return samples.log_probs
        return self.policy.reference.log_probs(samples.prompts, samples.tokens, samples.mask, temperature)

    def _proxy(self, generation: Generation) -> Tensor:
        """The proxy's scores, also of a generation that another reward has guided."""
        if torch.equal(generation.twin_rewards, self.unmoved.twin_rewards):
            return generation.rewards
        return self.policy.score(generation.moved, self.policy.values.reward)

    def _travelled(self, moved: Samples, twins: Samples) -> Tensor:
        """RMS distance of token embeddings from the twin's, in units of an entry's deviation, [B]."""
        table = self.policy.reference.embeddings
        either = (moved.mask | twins.mask).unsqueeze(-1)
        apart = (table[moved.tokens].float() - table[twins.tokens].float()) * either
        return (apart.square().sum((1, 2, 3)) / (either.sum((1, 2, 3)) * table.shape[1])).sqrt() / table.float().std()

    def examples(self, method: str, budget: float, generation: Generation, scores: dict[str, Tensor]) -> list[Row]:
        """The first particle of each prompt, before and after."""
        moved, twins = generation.moved, generation.twins
        if not generation.paired:
            return []
        rows = []
        for i, prompt in enumerate(moved.prompts.texts):
            new, old = (self._pieces(s.tokens[i, 0], s.mask[i, 0]) for s in (moved, twins))
            rows.append(
                {
                    "method": method,
                    "budget": budget,
                    "seed": self.seed,
                    "prompt": prompt,
                    "before": old,
                    "after": new,
                    "changed": [k >= len(old) or piece != old[k] for k, piece in enumerate(new)],
                    "proxy_before": float(generation.twin_rewards[i, 0]),
                    "proxy_after": float(generation.rewards[i, 0]),
                    "gold_before": float(self.twin_scores["gold"][i, 0]),
                    "gold_after": float(scores["gold"][i, 0]),
                }
            )
        return rows

    def _pieces(self, tokens: Tensor, mask: Tensor) -> list[str]:
        return [self.policy.reference.tokenizer.decode([token]) for token in tokens[mask].tolist()]


def example_rows(examples: Sequence[Row], each: int = 12) -> list[Row]:
    """The first ``each`` examples of every method and budget."""
    kept: dict[tuple[str, float], list[Row]] = {}
    for row in examples:
        kept.setdefault((row["method"], row["budget"]), []).append(row)
    return [row for rows in kept.values() for row in rows[:each]]


def _distinct_bigrams(samples: Samples) -> Tensor:
    """Different pairs of neighbouring tokens among all pairs of a prompt's particles, [B]."""
    shares = []
    for tokens, mask in zip(samples.tokens.tolist(), samples.mask.tolist(), strict=True):
        pairs = [pair for row, keep in zip(tokens, mask, strict=True) for pair in itertools.pairwise(row[: sum(keep)])]
        shares.append(len(set(pairs)) / max(len(pairs), 1))
    return torch.tensor(shares)
