r"""Decoding with kept noise: the noise is the particle, the reference carries it to tokens.

A sample of a language model is the argmax of its log probabilities plus Gumbel noise,

.. math:: y_t = \arg\max_v \; \log p(v \mid x, y_{<t}) / T + G_{t,v},

so the same noise decoded again gives the same tokens, and a bent path (a tilt of the logits, a moved residual stream)
has a twin: its noise, carried by the reference alone. The noise of a particle depends on (seed, prompt, particle)
only, not on the batch it is decoded in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vgf.errors import UserError
from vgf.language.reference import Prompts, Reference

__all__ = ["Change", "GumbelNoise", "Samples", "Sampling", "Tilt", "decode", "filtered", "unwritten"]

Change = Callable[[Tensor], Tensor]  # residual stream of one position [B*N, 1, width] -> the same shape
Tilt = Callable[[int, Tensor], Tensor]  # (t, logits [B*N, V]) -> the same shape


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        new_tokens: at most so many, >= 1.
        temperature: > 0; 0 takes the most likely token and leaves the noise out.
        top_k: only the k most likely tokens, >= 1; None: all.
        top_p: only the fewest tokens that hold this probability, in (0, 1]; None: all.

    Raises:
        UserError: a field out of range.
    """

    new_tokens: int = 20
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if self.new_tokens < 1:
            raise UserError(f"text.new_tokens={self.new_tokens} must be 1 or more")
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"text.temperature={self.temperature} must be 0 or more")
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"text.top_k={self.top_k} must be 1 or more, or null")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"text.top_p={self.top_p} must be above 0 and at most 1, or null")


@dataclass(frozen=True)
class Samples:
    """N completions of each of B prompts.

    Attributes:
        prompts: what they complete.
        tokens: [B, N, T]; the pad token after the end.
        mask: [B, N, T] bool, True up to and including the end token.
        log_probs: [B, N, T], of each token under the law it was drawn from; zero where masked.
    """

    prompts: Prompts
    tokens: Tensor
    mask: Tensor
    log_probs: Tensor

    @property
    def particles(self) -> int:
        """N."""
        return self.tokens.shape[1]

    def __getitem__(self, chosen: Tensor) -> Samples:
        """Particles by index: chosen [B, M] long -> M completions of each prompt."""
        index = chosen.unsqueeze(-1).expand(-1, -1, self.tokens.shape[2])
        return Samples(self.prompts, *(part.gather(1, index) for part in self._parts()))

    def beside(self, other: Samples) -> Samples:
        """Both sets of completions of the same prompts."""
        pairs = zip(self._parts(), other._parts(), strict=True)
        return Samples(self.prompts, *(torch.cat(pair, 1) for pair in pairs))

    def where(self, choose: Tensor, other: Samples) -> Samples:
        """These completions where ``choose`` [B, N] is True, the other ones elsewhere."""
        pairs = zip(self._parts(), other._parts(), strict=True)
        return Samples(self.prompts, *(torch.where(choose.unsqueeze(-1), mine, its) for mine, its in pairs))

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.tokens, self.mask, self.log_probs


def unwritten(prompts: Prompts, particles: int, new_tokens: int) -> Samples:
    """Completions without a token, N of each prompt: where only their number counts."""
    tokens = torch.zeros(len(prompts.texts), particles, new_tokens, dtype=torch.long, device=prompts.ids.device)
    return Samples(
        prompts, tokens, torch.zeros_like(tokens, dtype=torch.bool), torch.zeros(tokens.shape).to(tokens.device)
    )


class GumbelNoise:
    """Gumbel noise of B*N particles, one vocabulary at a time."""

    def __init__(self, seed: int, prompts: Prompts, particles: range, vocabulary: int) -> None:
        pairs = prompts.noise_keys(seed)
        keys = [((key * 1_000_003 + index) * 1_000_003 + n) % 2**63 for key, index in pairs for n in particles]
        device = prompts.ids.device
        self._generators = [torch.Generator(device).manual_seed(key) for key in keys]
        self._buffer = torch.empty(len(keys), vocabulary, device=device)

    def next(self) -> Tensor:
        """Noise of the next position, [B*N, V]; the buffer is overwritten by the next call."""
        for row, generator in zip(self._buffer, self._generators, strict=True):
            row.uniform_(generator=generator)
        return self._buffer.log_().neg_().log_().neg_()


@torch.no_grad()
def decode(
    reference: Reference,
    prompts: Prompts,
    particles: int,
    sampling: Sampling,
    seed: int,
    *,
    tilt: Tilt | None = None,
    layer: int | None = None,
    change: Change | None = None,
    skip: int = 0,
) -> Samples:
    """Carry the noise of B*N particles to tokens, left to right.

    The prompt without its last token is read once a prompt; from there on a step reads one token of every particle, so
    that a moved residual stream (:meth:`Reference.at_layer`) is that of exactly one position a step.

    Args:
        particles: N, completions a prompt.
        seed: with the prompt's index and the particle's, fixes the noise.
        tilt: changes the logits before the noise is added.
        layer, change: see :meth:`Reference.at_layer`; applied at every position from the prompt's last one on.
        skip: number of the first particle: 8 gives the ones after the first eight.

    Returns:
        B x N completions.
    """
    model, batch, width = reference.model, len(prompts.texts), prompts.ids.shape[1]
    rows = batch * particles
    noise = GumbelNoise(seed, prompts, range(skip, skip + particles), model.get_output_embeddings().weight.shape[0])
    cache = _prefill(reference, prompts, particles)
    seen = torch.ones(rows, width + sampling.new_tokens, dtype=torch.long, device=reference.device)
    seen[:, :width] = prompts.mask.repeat_interleave(particles, 0)
    lengths = seen[:, :width].sum(1, keepdim=True)  # [rows, 1]
    tokens = torch.full((rows, sampling.new_tokens), reference.tokenizer.pad_token_id, device=reference.device)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    log_probs = torch.zeros(tokens.shape, device=reference.device)
    last, going = prompts.ids[:, -1:].repeat_interleave(particles, 0), mask.new_ones(rows)
    with reference.at_layer(layer, change) if layer and change else contextlib.nullcontext():
        for t in range(sampling.new_tokens):
            logits = model(
                input_ids=last,
                attention_mask=seen[:, : width + t],
                position_ids=lengths - 1 + t,
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
            scores = filtered(logits if tilt is None else tilt(t, logits.float()), sampling)
            noisy = noise.next().add_(scores) if sampling.temperature > 0 else scores
            chosen = noisy.argmax(-1)
            own = scores.gather(-1, chosen.unsqueeze(-1)).squeeze(-1).float() - scores.float().logsumexp(-1)
            log_probs[:, t] = own * going
            tokens[:, t] = torch.where(going, chosen, tokens[:, t])
            mask[:, t] = going
            reference.tell(tokens[:, t], log_probs[:, t], going)
            going = going & ~torch.isin(chosen, reference.end_tokens)
            if not going.any():
                break
            last = tokens[:, t : t + 1]
    shape = (batch, particles, sampling.new_tokens)
    return Samples(prompts, tokens.view(shape), mask.view(shape), log_probs.view(shape))


def _prefill(reference: Reference, prompts: Prompts, particles: int) -> Any:
    """Keys and values of every prompt but for its last token, one row a particle."""
    from transformers import DynamicCache

    cache = DynamicCache(config=reference.model.config)
    if prompts.ids.shape[1] > 1:
        before = prompts.mask[:, :-1]
        reference.model(
            input_ids=prompts.ids[:, :-1],
            attention_mask=before.long(),
            position_ids=(before.cumsum(1) - 1).clamp_min(0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache.batch_repeat_interleave(particles)
    return cache


def filtered(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logits [K, V] at the temperature, -inf for tokens that top-k and top-p leave out."""
    scores = logits if sampling.temperature in (0, 1) else logits / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < scores.shape[-1]:
        lowest = scores.topk(sampling.top_k, -1).values[:, -1:]
        scores = scores.masked_fill(scores < lowest, float("-inf"))
    if sampling.top_p is not None and sampling.top_p < 1:
        ordered, order = scores.log_softmax(-1).sort(-1, descending=True)
        before = ordered.exp().cumsum(-1) - ordered.exp()  # probability of the tokens that come first
        out = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, order, before >= sampling.top_p)
        scores = scores.masked_fill(out, float("-inf"))
    return scores
