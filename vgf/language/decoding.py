r"""Decoding with kept noise: the noise is the particle, the reference carries it to tokens.

A sample of a language model is the argmax of its log probabilities plus Gumbel noise,

.. math:: y_t = \arg\max_v \; \log p(v \mid x, y_{<t}) / T + G_{t,v},

so the same noise decoded again gives the same tokens, and a bent path (a tilt of the logits, a moved residual stream)
has a twin: its noise, carried by the reference alone. The noise of a particle depends on (seed, prompt, particle)
only, not on the batch it is decoded in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vgf.errors import UserError
from vgf.language.noise import noise_of
from vgf.language.reference import Prompts, Reference
from vgf.language.trace import Reader, Trace

__all__ = ["Change", "Samples", "Sampling", "Tilt", "cut", "decode", "filtered", "unwritten"]

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
        stop: strings at whose first occurrence a text ends. The tokens that complete it belong to the completion; its
            text does not show it, nor what follows it (:func:`cut`).

    Raises:
        UserError: a field out of range.
    """

    new_tokens: int = 20
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.new_tokens < 1:
            raise UserError(f"text.new_tokens={self.new_tokens} must be 1 or more")
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"text.temperature={self.temperature} must be 0 or more")
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"text.top_k={self.top_k} must be 1 or more, or null")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"text.top_p={self.top_p} must be above 0 and at most 1, or null")
        if not all(self.stop):
            raise UserError("text.stop has an empty string, which every text holds; leave it out")

    @property
    def is_whole(self) -> bool:
        """Whether any token can be drawn, so that a KL divergence between laws sampled like this is finite."""
        return self.temperature > 0 and self.top_k is None and self.top_p is None


@dataclass(frozen=True)
class Samples:
    """N completions of each of B prompts.

    Attributes:
        prompts: what they complete.
        tokens: [B, N, T]; the pad token after the end.
        mask: [B, N, T] bool, True up to and including the end token.
        log_probs: [B, N, T], of each token under the law it was drawn from; zero where masked.
        trace: what was read on the way, where it was kept; never of a selection.
    """

    prompts: Prompts
    tokens: Tensor
    mask: Tensor
    log_probs: Tensor
    trace: Trace | None = None

    @property
    def particles(self) -> int:
        """N."""
        return self.tokens.shape[1]

    def __getitem__(self, chosen: Tensor) -> Samples:
        """Particles by index: chosen [B, M] long -> M completions of each prompt."""
        index = chosen.unsqueeze(-1).expand(-1, -1, self.tokens.shape[2])
        return self._with([part.gather(1, index) for part in self._parts()])

    def first(self, count: int) -> Samples:
        """The first ``count`` completions of each prompt; all, where there are fewer."""
        return self._with([part[:, :count] for part in self._parts()])

    def beside(self, other: Samples) -> Samples:
        """Both sets of completions of the same prompts."""
        pairs = zip(self._parts(), other._parts(), strict=True)
        return self._with([torch.cat(pair, 1) for pair in pairs])

    def where(self, choose: Tensor, other: Samples) -> Samples:
        """These completions where ``choose`` [B, N] is True, the other ones elsewhere."""
        pairs = zip(self._parts(), other._parts(), strict=True)
        return self._with([torch.where(choose.unsqueeze(-1), mine, its) for mine, its in pairs])

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.tokens, self.mask, self.log_probs

    def _with(self, parts: Sequence[Tensor]) -> Samples:
        tokens, mask, log_probs = parts
        return Samples(self.prompts, tokens, mask, log_probs)


def unwritten(prompts: Prompts, particles: int, new_tokens: int) -> Samples:
    """Completions without a token, N of each prompt: where only their number counts."""
    tokens = torch.zeros(len(prompts.texts), particles, new_tokens, dtype=torch.long, device=prompts.ids.device)
    return Samples(prompts, tokens, torch.zeros_like(tokens, dtype=torch.bool), torch.zeros_like(tokens).float())


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
    trace: Trace | None = None,
    keep: bool = False,
) -> Samples:
    """Carry the noise of B*N particles to tokens, left to right.

    Args:
        particles: N, completions a prompt.
        seed: with the prompt's index and the particle's, fixes the noise.
        tilt: changes the logits before the noise is added.
        layer, change: see :meth:`Reference.at_layer`; applied at every position from the prompt's last one on.
        skip: number of the first particle: 8 gives the ones after the first eight.
        trace: of an earlier decoding of the same particles, read as far as they stay the same; not with ``change``.
        keep: let the samples carry a trace of their own; logits of all positions stay in memory with it.

    Returns:
        B x N completions.
    """
    batch, rows = len(prompts.texts), len(prompts.texts) * particles
    noise = noise_of(reference, seed, prompts, range(skip, skip + particles))
    reader = Reader(reference, prompts, particles, sampling.new_tokens, trace, keep)
    tokens = torch.full((rows, sampling.new_tokens), reference.tokenizer.pad_token_id, device=reference.device)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    log_probs = torch.zeros(tokens.shape, device=reference.device)
    wide, spare = (torch.empty(noise.shape, device=reference.device) for _ in range(2))  # float32, used at every step
    last, going = prompts.ids[:, -1:].repeat_interleave(particles, 0), mask.new_ones(rows)
    with reference.at_layer(layer, change) if layer and change else contextlib.nullcontext():
        for t in range(sampling.new_tokens):
            scores = wide.copy_(reader.read(t, last))  # float32 from here on, with a tilt or without
            scores = filtered(scores if tilt is None else tilt(t, scores), sampling)
            noisy = torch.add(noise.at(t), scores, out=spare) if sampling.temperature > 0 else scores
            chosen = noisy.argmax(-1)
            own = torch.log_softmax(scores, -1, out=spare).gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
            log_probs[:, t] = torch.where(going, own, 0.0)
            tokens[:, t] = torch.where(going, chosen, tokens[:, t])
            mask[:, t] = going
            reference.tell(tokens[:, t], log_probs[:, t], going)
            going = going & ~torch.isin(chosen, reference.end_tokens)
            if sampling.stop:
                going = going & ~_stopped(reference, tokens, mask, sampling.stop)
            if not going.any():
                break
            reader.chosen(t, tokens[:, t], going)
            last = tokens[:, t : t + 1]
    shape = (batch, particles, sampling.new_tokens)
    return Samples(prompts, tokens.view(shape), mask.view(shape), log_probs.view(shape), reader.trace(tokens))


def _stopped(reference: Reference, tokens: Tensor, mask: Tensor, stop: Sequence[str]) -> Tensor:
    """Which rows [K, T] hold a stop string by now, [K] bool."""
    found = [cut(text, stop) != text for text in reference.texts(tokens, mask)]
    return torch.tensor(found, device=tokens.device)


def cut(text: str, stop: Sequence[str]) -> str:
    """A text up to the first stop string in it."""
    return text[: min((place for place in map(text.find, stop) if place >= 0), default=len(text))]


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
