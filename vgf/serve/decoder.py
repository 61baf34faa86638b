"""Completions of several requests decoded side by side, each as if it were alone.

A row is one completion to be given: a prompt, and the key of its noise. Rows of a call have prompts of one length, so
that no padding comes in; rewards score each row's particles apart; and where a call would have fewer than four rows of
numbers it is filled up, because smaller matrix products take another path and round differently. What is left is the
rounding of products with more rows or fewer, which on some processors is none: a row's tokens are then the same whoever
is beside it, but where two are as good as tied, and its log probabilities agree to about 1e-6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vgf.config import MethodConfig
from vgf.language.decoding import Samples, Sampling
from vgf.language.policy import TextPolicy
from vgf.serve.batching import Abandoned
from vgf.transport import Budget

__all__ = ["Completion", "Decoder", "Key", "Row", "Token"]

_FEWEST = 4  # rows of a matrix product


@dataclass(frozen=True)
class Key:
    """What rows must share to be decoded side by side.

    Attributes:
        budget: as for :meth:`vgf.language.policy.TextPolicy.generate`.
        particles: of each row.
        sampling: how tokens are drawn.
        length: tokens of a prompt.
    """

    budget: Budget
    particles: int
    sampling: Sampling
    length: int


@dataclass(frozen=True)
class Token:
    """One position of a completion: its number, the token, its log probability."""

    place: int
    token: int
    log_prob: float


@dataclass(frozen=True)
class Row:
    """One completion to be given.

    Attributes:
        text: the prompt, as rewards read it.
        ids: the prompt's tokens.
        key: (seed, index) of its noise.
        told: called with each token as it is decoded, where the text is known as it grows; from another thread.
    """

    text: str
    ids: tuple[int, ...]
    key: tuple[int, int]
    told: Callable[[Token], None] | None = None


@dataclass(frozen=True)
class Completion:
    """What a row became.

    Attributes:
        tokens: with the end token, where there is one.
        log_probs: of each, under the law it was drawn from.
        ended: whether the last one is an end token.
        reward: the proxy's score of the completion; None where nothing was scored.
        moved: whether the selected particle is a moved one.
    """

    tokens: list[int]
    log_probs: list[float]
    ended: bool
    reward: float | None
    moved: bool


class Decoder:
    """Decodes rows with a text policy."""

    def __init__(self, policy: TextPolicy) -> None:
        self.policy = policy

    def method(self, particles: int) -> MethodConfig:
        """The run's method with another number of particles."""
        own = self.policy.method
        return replace(own, transport=replace(own.transport, particles=particles))

    def streams(self, budget: Budget, particles: int) -> bool:
        """Whether a text is known token by token: nothing is selected, and the rule decodes left to right."""
        return self.alone(particles) and self.policy.streams(budget, self.method(particles))

    def alone(self, particles: int) -> bool:
        """Whether the answer is the one moved particle itself; no reward is asked."""
        return particles == 1 and not self.policy.method.transport.keep_best

    def __call__(self, key: Key, rows: Sequence[Row], wanted: Callable[[], bool]) -> list[Completion]:
        """Decode the rows of a key; ``wanted`` ends the work where it turns False.

        Raises:
            Abandoned: nobody wants the answers any more.
            UserError: what the policy refuses.
        """
        own = self.policy
        policy = TextPolicy(own.reference, own.values, own.method, key.sampling, limits=own.limits, apart=True)
        filled = [*rows, *[rows[0]] * (_needed(key) - len(rows))]
        ids = torch.tensor([row.ids for row in filled])
        prompts = replace(
            policy.reference.tokenised([row.text for row in filled], ids.tolist(), new_tokens=key.sampling.new_tokens),
            keys=tuple(row.key for row in filled),
        )
        method, count = self.method(key.particles), len(rows)
        with policy.reference.listening(_Listener(rows, wanted, self.streams(key.budget, key.particles))):
            if self.alone(key.particles):
                samples = policy.sample(prompts, key.budget, 0, method)
                return [self._completion(samples, i, 0, None, not key.budget.is_zero) for i in range(count)]
            generation = policy.move(prompts, key.budget, 0, method)
        best, place = generation.best()
        both = torch.cat([generation.rewards, generation.twin_rewards], 1)  # [B, 2N]
        rewards = both.gather(1, place)[:, 0].tolist()
        moved = [int(chosen) < key.particles and not key.budget.is_zero for chosen in place]
        return [self._completion(best, i, 0, rewards[i], moved[i]) for i in range(count)]

    def _completion(self, samples: Samples, row: int, n: int, reward: float | None, moved: bool) -> Completion:
        kept = samples.mask[row, n]
        tokens = samples.tokens[row, n][kept]
        ended = bool(torch.isin(tokens[-1], self.policy.reference.end_tokens))
        return Completion(tokens.tolist(), samples.log_probs[row, n][kept].tolist(), ended, reward, moved)


class _Listener:
    """Ends a decoding that nobody wants, and hands on tokens where rows are particles and their text is final."""

    def __init__(self, rows: Sequence[Row], wanted: Callable[[], bool], final: bool) -> None:
        self.rows, self.wanted, self.final, self.place = rows, wanted, final, 0

    def __call__(self, tokens: Tensor, log_probs: Tensor, going: Tensor) -> None:
        if not self.wanted():
            raise Abandoned
        if self.final:
            # Not strict: the batch was filled up with copies, of which nobody is told.
            told = zip(self.rows, tokens.tolist(), log_probs.tolist(), going.tolist(), strict=False)
            for row, token, log_prob, goes in told:
                if goes and row.told is not None:
                    row.told(Token(self.place, token, log_prob))
        self.place += 1


def _needed(key: Key) -> int:
    """Prompts of a call, so that every matrix product has enough rows: particles, and positions of the prompt."""
    before = key.length - 1
    return max(math.ceil(_FEWEST / key.particles), math.ceil(_FEWEST / before) if before else 1)
