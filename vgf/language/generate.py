"""A transformers model whose ``generate`` takes a transport budget.

    moved = Transported(model, tokenizer, heads)
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    ids = moved.generate(**inputs, transport_budget=0.1, max_new_tokens=20)
    tokenizer.batch_decode(ids)

Works with any decoder-only model: its blocks are found, not its class (:class:`vgf.language.reference.Reference`).
Everything else of the model is still there: ``moved.config``, ``moved.device``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vgf.errors import UserError
from vgf.language.decoding import Samples, Sampling
from vgf.language.heads import ValueHeads
from vgf.language.policy import TextPolicy, Values
from vgf.language.reference import Prompts, Reference
from vgf.language.scorers import Scorer
from vgf.methods import budget_at, load_method, meant
from vgf.transport import Budget

__all__ = ["Transported"]

_LEFT_ALONE = ("token_type_ids",)  # what tokenizers give and decoders do not read


class Transported:
    """Wraps a causal language model.

    Args:
        model: of transformers; put into evaluation mode, without gradients for its weights.
        tokenizer: its tokenizer.
        source: what moves it: a policy (its values, method and limits), values, or value heads alone, which move but do
            not select.
        method: a name, for values and heads; None: ``hidden``, or the policy's own.
    """

    def __init__(
        self, model: Any, tokenizer: Any, source: TextPolicy | Values | ValueHeads, *, method: str | None = None
    ) -> None:
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.model, self.tokenizer = model, tokenizer
        own = source.values if isinstance(source, TextPolicy) else source
        self.values = Values(Scorer("no reward", _no_reward), heads=own) if isinstance(own, ValueHeads) else own
        self.selects = not isinstance(own, ValueHeads)
        theirs = source.reference if isinstance(source, TextPolicy) else None
        self.reference: Reference = theirs if theirs and theirs.model is model else Reference(model, tokenizer)
        self.limits = source.limits if isinstance(source, TextPolicy) else None
        self.method = meant(method, source.method if isinstance(source, TextPolicy) else load_method("hidden"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["model"], name)

    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        transport_budget: Budget | float | None = None,
        max_new_tokens: int = 20,
        do_sample: bool = True,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        num_return_sequences: int = 1,
        particles: int | None = None,
        seed: int = 0,
        **others: Any,
    ) -> Tensor:
        """Continue prompts.

        Args:
            input_ids, attention_mask: [B, P], as a tokenizer gives them, padded on either side.
            transport_budget: a budget, or a number for the method's knob; None: as configured; 0: the model's own
                samples, of which a source with a reward still selects.
            max_new_tokens, temperature, top_k, top_p: as in transformers; ``do_sample=False`` is temperature 0.
            num_return_sequences: R; the R completions of highest reward, or with nothing to select by, R particles. The
                same text comes twice only where fewer than R differ.
            particles: decoded a prompt, moved and unmoved each, before the reward selects; None: as configured.
            seed: of the noise; the same arguments give the same tokens.

        Returns:
            Token ids [B * R, P + T]: the prompt as it was given, then new tokens, padded behind the end; T is the
            length of the longest.

        Raises:
            UserError: an argument out of range, one of transformers' that is not known here, a prompt that is empty or
                does not fit the context.
        """
        if unknown := [name for name in others if name not in _LEFT_ALONE]:
            raise UserError(f"generate() has no argument {unknown[0]!r} here; see help(Transported.generate)")
        count = particles or (self.method.transport.particles if self.selects else num_return_sequences)
        if not 1 <= num_return_sequences <= (2 * count if self.selects else count):
            raise UserError(
                f"num_return_sequences={num_return_sequences} is not between 1 and what {count} particles give"
            )
        method = replace(self.method, transport=replace(self.method.transport, particles=count))
        sampling = Sampling(max_new_tokens, temperature if do_sample else 0.0, top_k, top_p)
        policy = TextPolicy(self.reference, self.values, method, sampling, limits=self.limits)
        prompts = self._prompts(input_ids, attention_mask, max_new_tokens)
        budget = transport_budget
        if budget is not None and not isinstance(budget, Budget):
            budget = budget_at(method, budget)
        if self.selects:
            samples, _ = policy.move(prompts, budget, seed, method).best(num_return_sequences)
        else:
            samples = policy.sample(prompts, budget, seed, method).first(num_return_sequences)
        return _joined(input_ids, samples)

    def _prompts(self, input_ids: Tensor, attention_mask: Tensor | None, new_tokens: int) -> Prompts:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        rows = [ids[seen.bool()].tolist() for ids, seen in zip(input_ids, mask, strict=True)]
        if not all(rows):
            raise UserError("a prompt is empty; a language model needs something to go on from")
        texts: Sequence[str] = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return self.reference.tokenised(texts, rows, new_tokens=new_tokens)


def _joined(input_ids: Tensor, samples: Samples) -> Tensor:
    """Prompts [B, P] and their completions [B, R, T] as rows [B * R, P + T], without columns that are all padding."""
    longest = int(samples.mask.sum(-1).max())
    new = samples.tokens[:, :, :longest].flatten(0, 1)
    return torch.cat([input_ids.repeat_interleave(samples.particles, 0), new.to(input_ids.device)], 1)


def _no_reward(*, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    raise UserError("there is no reward to select by; give values or a policy instead of heads")
