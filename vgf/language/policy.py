"""A reference language model and its value, moved by any rule at any budget, per call.

``TextPolicy.generate(prompts, budget=Budget(...), seed=0)`` is to text what ``Policy.act`` is to control: nothing is
retrained to turn the budget up or down.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vgf.config import MethodConfig
from vgf.errors import UserError
from vgf.language.decoding import Samples, Sampling, cut, decode, unwritten
from vgf.language.heads import ValueHeads
from vgf.language.limits import Limits
from vgf.language.reference import Prompts, Reference
from vgf.language.rewards import RewardModel
from vgf.language.rules import TextRule, get_text_rule
from vgf.language.scorers import Scorer, require_gradient
from vgf.methods import configured_budget, meant
from vgf.transport import Budget
from vgf.transport.gradient import outside_inference

__all__ = ["Generation", "TextPolicy", "Values"]

Reward = RewardModel | Scorer


@dataclass(frozen=True)
class Values:
    """What rules look at, and what selects.

    Attributes:
        reward: scores finished texts (the proxy).
        heads: read the residual stream; None where none were fitted.
        tokens: read a state and the next token; None where none were fitted.
    """

    reward: Reward
    heads: ValueHeads | None = None
    tokens: ValueHeads | None = None


@dataclass(frozen=True)
class Generation:
    """Particles of B prompts, moved and unmoved.

    Attributes:
        moved: N completions a prompt.
        twins: the same noise, carried by the reference alone; the moved ones themselves at budget 0.
        rewards: of the moved ones, [B, N].
        twin_rewards: [B, N].
        seconds: wall clock of the batch: decoding, moving and scoring what is selected from.
        law: whether the moved ones' log probabilities are those of a law that does not look at their noise, so that
            their difference from the reference's estimates a KL divergence.
        paired: whether the moved ones are the twins' noise, moved; if not they are further samples beside them.
    """

    moved: Samples
    twins: Samples
    rewards: Tensor
    twin_rewards: Tensor
    seconds: float
    law: bool = True
    paired: bool = True

    def best(self, count: int = 1) -> tuple[Samples, Tensor]:
        """The completions of highest reward, moved or not, as [B, count, T], and their places among the 2N, [B, count].

        A twin that its particle did not move away from comes after all others: the same text is not taken twice.
        """
        same = (self.moved.tokens == self.twins.tokens).all(-1)  # [B, N]
        rewards = torch.cat([self.rewards, self.twin_rewards.masked_fill(same, -torch.inf)], 1)
        chosen = rewards.argsort(dim=1, descending=True, stable=True)[:, :count]
        return self.moved.beside(self.twins)[chosen], chosen


class TextPolicy:
    """Generates text with the particles of a reference, moved along value gradients.

    Args:
        reference: source of particles.
        values: what moves them and selects.
        method: what a call that names no method uses.
        sampling: how tokens are drawn.
        chat: prompts go through the chat template.
        batch: prompts decoded side by side.
        limits: on single texts.
        apart: score prompt by prompt, so that no padding comes in and a score does not depend on its neighbours.
    """

    def __init__(
        self,
        reference: Reference,
        values: Values,
        method: MethodConfig,
        sampling: Sampling,
        *,
        chat: bool = False,
        batch: int = 12,
        limits: Limits | None = None,
        apart: bool = False,
    ) -> None:
        self.limits, self.apart = limits or Limits(), apart
        self.reference, self.values, self.method, self.sampling = reference, values, method, sampling
        self.chat, self.batch = chat, batch

    @outside_inference
    def generate(
        self,
        prompts: Sequence[str],
        budget: Budget | None = None,
        seed: int = 0,
        method: str | MethodConfig | None = None,
    ) -> list[str]:
        """Complete each prompt with the particle of highest reward, moved ones and unmoved ones alike.

        Args:
            prompts: B texts, not empty.
            budget: how far particles may move; fields left None, and None itself, mean the configured budget.
                ``Budget(steps=0)`` is best-of-N of the reference.
            seed: of the particles' noise; the same seed, prompts and budget give the same text.
            method: a name such as ``hidden``, with the settings of its file, or a configuration; None, and the
                name of the policy's own: that, as it is configured.

        Returns:
            B completions, without their prompts.

        Raises:
            UserError: unusable prompts, an unknown method, one whose value this policy does not have.
        """
        chosen = meant(method, self.method)
        texts = []
        for batch in self.batches(prompts):
            best, _ = self.move(batch, budget, seed, chosen).best()
            texts += self.texts(best)
        return texts

    @outside_inference
    def batches(self, prompts: Sequence[str]) -> list[Prompts]:
        """Prompts in the reference's tokens, as many side by side as are decoded at once."""
        room = self.sampling.new_tokens
        return [
            self.reference.prompts(prompts[i : i + self.batch], chat=self.chat, new_tokens=room, first=i)
            for i in range(0, max(len(prompts), 1), self.batch)
        ]

    @outside_inference
    def move(
        self,
        prompts: Prompts,
        budget: Budget | None,
        seed: int,
        method: MethodConfig,
        *,
        values: Values | None = None,
        unmoved: Generation | None = None,
    ) -> Generation:
        """Carry N particles of each prompt to tokens, with and without the move, and score them.

        Args:
            values: in the place of the policy's own.
            unmoved: the same call at budget 0, where it has been made: its twins, scores and seconds are taken over.
        """
        began, how = time.perf_counter(), method.transport
        rule, values, budget = get_text_rule(how.rule), values or self.values, self._filled(budget, method)
        if unmoved is None:
            again = rule.value == ("reward",)  # such rules decode their twins again, from the first changed token on
            twins = decode(self.reference, prompts, how.particles, self.sampling, seed, keep=again)
            rewards = self.score(twins, values.reward)
            unmoved = Generation(twins, twins, rewards, rewards, time.perf_counter() - began)
            began = time.perf_counter()
        twins, twin_rewards = unmoved.twins, unmoved.twin_rewards
        if budget.is_zero:
            return unmoved
        moved = self._moved(twins, budget, seed, method, values)
        rewards = self.score(moved, values.reward)
        chosen = how.keep_best or self.limits != Limits()  # particle by particle, by what came of their noise
        if how.keep_best:
            moved = moved.where(rewards >= twin_rewards, twins)
            rewards = torch.maximum(rewards, twin_rewards)
        seconds = unmoved.seconds + time.perf_counter() - began
        return Generation(moved, twins, rewards, twin_rewards, seconds, law=rule.law and not chosen)

    @outside_inference
    def sample(self, prompts: Prompts, budget: Budget | None, seed: int, method: MethodConfig) -> Samples:
        """Moved particles alone, N of each prompt, neither scored nor selected from: no reward is asked.

        Rules that decode left to right do so once; the others decode the unmoved particles first.
        """
        budget, particles = self._filled(budget, method), method.transport.particles
        if budget.is_zero:
            return self.samples(prompts, particles, seed)
        if self.streams(budget, method):
            twins = unwritten(prompts, particles, self.sampling.new_tokens)
        else:
            twins = self.samples(prompts, particles, seed)
        return self._moved(twins, budget, seed, method, self.values)

    def streams(self, budget: Budget | None, method: MethodConfig) -> bool:
        """Whether :meth:`sample` decodes every token once and keeps it, so that its text is known as it grows."""
        left_to_right = get_text_rule(method.transport.rule).left_to_right and self.limits == Limits()
        return left_to_right or self._filled(budget, method).is_zero

    def _filled(self, budget: Budget | None, method: MethodConfig) -> Budget:
        rule = method.transport.rule
        budget = (budget or Budget()).filled(configured_budget(method))
        if budget.radius is not None and not get_text_rule(rule).radius:
            raise UserError(f"budget.radius={budget.radius:g}: rule {rule!r} has no radius; limit its size")
        return budget

    def _moved(self, twins: Samples, budget: Budget, seed: int, method: MethodConfig, values: Values) -> Samples:
        """The moved particles of ``twins``, within the policy's limits."""
        rule = get_text_rule(method.transport.rule)
        options = {key: value for key, value in self._options(method).items() if key in rule.options}
        value = self._value(rule, method, values)
        moved = rule.move(self.reference, value, twins, self.sampling, seed, budget, **options)
        if self.limits == Limits():
            return moved
        return moved.where(self.limits.kept(self.reference, moved, twins), twins)

    def _options(self, method: MethodConfig) -> dict[str, Any]:
        how = method.transport
        named = {"aggregate": how.aggregate, "alpha": how.alpha, "gate": how.gate}
        return named | ({"step": how.step} if how.step else {}) | dict(how.options)

    def _value(self, rule: TextRule, method: MethodConfig, values: Values) -> Any:
        """What a rule looks at: one of the values, or a tuple of several."""
        found = []
        for name in rule.value:
            value = getattr(values, name)
            if value is None:
                raise UserError(f"method={method.method} needs value heads, and none have been fitted")
            if name == "reward":
                require_gradient(value)
            found.append(value)
        return found[0] if len(found) == 1 else tuple(found)

    @outside_inference
    def samples(self, prompts: Prompts, particles: int, seed: int) -> Samples:
        """Samples of the reference alone."""
        return decode(self.reference, prompts, particles, self.sampling, seed)

    def texts(self, samples: Samples) -> list[str]:
        """The completions of samples, prompt by prompt, particle by particle."""
        whole = self.reference.texts(samples.tokens.flatten(0, 1), samples.mask.flatten(0, 1))
        return [cut(text, self.sampling.stop) for text in whole]

    def score(self, samples: Samples, reward: Reward) -> Tensor:
        """Rewards [B, N] of completions."""
        count = samples.tokens.shape[1]
        prompts, texts = [prompt for prompt in samples.prompts.texts for _ in range(count)], self.texts(samples)
        at_once = count if self.apart else len(texts)
        groups = [slice(start, start + at_once) for start in range(0, len(texts), at_once)]
        scores = [score for group in groups for score in reward(prompts[group], texts[group])]
        return torch.tensor(scores, device=samples.tokens.device).view(samples.tokens.shape[:2])
