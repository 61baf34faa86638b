"""Reading particles token by token, from the first token that differs from an earlier reading on.

Decoding is left to right and its noise is fixed, so a particle that is decoded again under another tilt reads the
same tokens until its choice differs for the first time. Up to there the earlier reading is the answer: its logits are
compared again under the new tilt, and nothing goes through the model. From there on the particle is read by the model,
on the keys and values of what it has in common with the earlier reading.

The logits that are compared are, bit for bit, those that chose the earlier tokens, so a tilt of nothing changes no
token in any number format; of equal scores the first token wins, then as before. Particles that have changed are read
in a smaller batch than a decoding from the beginning would read; in bfloat16 a logit may be rounded otherwise in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vgf.language.reference import Prompts, Reference

__all__ = ["Reader", "Trace"]

_KEPT_NUMBERS = 2**28  # logits; longer texts are read from the beginning each time


@dataclass(frozen=True)
class Trace:
    """What a decoding of B*N particles has read.

    Attributes:
        tokens: [B*N, T].
        logits: [B*N, V] of every position, as the model gave them; no tilt.
        layers: keys and values of every layer, [B*N, heads, positions, size].
    """

    tokens: Tensor
    logits: tuple[Tensor, ...]
    layers: tuple[tuple[Tensor, Tensor], ...]


class Reader:
    """Gives the logits of every position of B*N particles, one after the other.

    The prompt without its last token is read once a prompt; from there on a step reads one token of every particle, so
    that a moved residual stream (:meth:`Reference.at_layer`) is that of exactly one position a step.

    Args:
        new_tokens: most positions there will be.
        trace: of an earlier decoding of the same particles; None: everything is read.
        keep: note what is read, for :meth:`trace`.
    """

    def __init__(
        self, reference: Reference, prompts: Prompts, particles: int, new_tokens: int, trace: Trace | None, keep: bool
    ) -> None:
        self.reference, self.earlier = reference, trace
        self.width = prompts.ids.shape[1]
        rows = len(prompts.texts) * particles
        self.seen = torch.ones(rows, self.width + new_tokens, dtype=torch.long, device=reference.device)
        self.seen[:, : self.width] = prompts.mask.repeat_interleave(particles, 0)
        self.lengths = self.seen[:, : self.width].sum(1, keepdim=True)  # [B*N, 1]
        vocabulary = reference.model.get_output_embeddings().weight.shape[0]
        from vgf.language.cache import roomy_cache  # imports transformers

        self.cache = roomy_cache(reference.model.config, self.width + new_tokens)
        if trace is None:
            _prefill(self.cache, reference, prompts, particles)
        self.reading = torch.arange(0 if trace else rows, device=reference.device)  # rows of the cache
        self.keep = keep and rows * new_tokens * vocabulary <= _KEPT_NUMBERS and _is_whole(self.cache)
        self._logits: list[Tensor] = []

    def read(self, t: int, last: Tensor) -> Tensor:
        """Logits of position t [B*N, V], not to be changed; ``last`` [B*N, 1]: the tokens before it."""
        logits = self._known(t, len(last))
        if len(self.reading):
            rows = self.reading
            read = self.reference.model(
                input_ids=last[rows],
                attention_mask=self.seen[rows, : self.width + t],
                position_ids=self.lengths[rows] - 1 + t,
                past_key_values=self.cache,
                use_cache=True,
            ).logits[:, -1]
            if self.earlier is None:
                logits = read
            else:
                logits = read.new_zeros(len(last), read.shape[1]) if logits is None else logits.clone()
                logits[rows] = read
        assert logits is not None
        if self.keep:
            self._logits.append(logits)
        return logits

    def _known(self, t: int, rows: int) -> Tensor | None:
        """Logits of the earlier reading; none where it had come to an end."""
        if self.earlier is None or t >= len(self.earlier.logits):
            return None
        return self.earlier.logits[t]

    def chosen(self, t: int, tokens: Tensor, going: Tensor) -> None:
        """Go on reading the particles whose token at t [B*N] is another one than earlier, where they go on."""
        if self.earlier is None:
            return
        changed = going & (tokens != self.earlier.tokens[:, t])
        changed[self.reading] = False
        joining = changed.nonzero()[:, 0]
        if not len(joining):
            return
        for i, (keys, values) in enumerate(self.earlier.layers):
            parts = [part[joining, :, : self.width + t] for part in (keys, values)]
            if len(self.reading):
                layer = self.cache.layers[i]
                layer.keys, layer.values = (
                    torch.cat(pair) for pair in zip((layer.keys, layer.values), parts, strict=True)
                )
            else:
                self.cache.update(*parts, i)
        self.reading = torch.cat([self.reading, joining])

    def trace(self, tokens: Tensor) -> Trace | None:
        """What was read, for a later decoding; None where it is not kept. ``tokens``: [B*N, T]."""
        if not self.keep:
            return None
        if self.earlier is None:
            layers = tuple((layer.keys, layer.values) for layer in self.cache.layers)
        elif not len(self.reading):
            layers = self.earlier.layers
        else:
            layers = tuple(
                (self._over(old[0], layer.keys), self._over(old[1], layer.values))
                for old, layer in zip(self.earlier.layers, self.cache.layers, strict=True)
            )
        return Trace(tokens, tuple(self._logits), layers)

    def _over(self, old: Tensor, new: Tensor) -> Tensor:
        """Keys or values of all rows: what was read now over what was read earlier."""
        length = max(old.shape[2], new.shape[2])
        both = old.new_zeros(*old.shape[:2], length, old.shape[3])
        both[:, :, : old.shape[2]] = old
        both[self.reading, :, : new.shape[2]] = new
        return both


def _is_whole(cache: Any) -> bool:
    """Whether every layer keeps all positions; those of a sliding window or a recurrence cannot be cut back."""
    from vgf.language.cache import RoomyLayer

    return all(isinstance(layer, RoomyLayer) for layer in cache.layers)


def _prefill(cache: Any, reference: Reference, prompts: Prompts, particles: int) -> None:
    """Put keys and values of every prompt but for its last token into the cache, one row a particle."""
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
