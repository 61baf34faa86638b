"""Random numbers of particles: they depend on (seed, prompt, particle) alone, not on the batch they are drawn in.

Every method that decodes the same prompts draws the same Gumbel noise, at about a tenth of a decoding's time. So that
of the prompts in hand is kept with the reference, as far as it is no larger than half a gigabyte.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vgf.language.reference import Prompts, Reference

__all__ = ["Directions", "GumbelNoise", "noise_of"]

_KEPT_NUMBERS = 2**27
_OF_DIRECTIONS = 0x5DEECE66D  # no stream of directions is one of the noise


class GumbelNoise:
    """Gumbel noise of B*N particles, one vocabulary at a time, first position to last.

    Args:
        seed: with the index of the prompt and of the particle, what the noise depends on.
        particles: indices of the N particles.
        vocabulary: V.
        buffers: [B*N, V] tensors that may be overwritten.
        keep: keep what is drawn, as far as it is small enough, so that a position can be asked for again.
    """

    def __init__(
        self,
        seed: int,
        prompts: Prompts,
        particles: range,
        vocabulary: int,
        buffers: list[Tensor] | None = None,
        keep: bool = True,
    ) -> None:
        self.device = prompts.ids.device
        self._generators = _generators(_keys(seed, prompts, particles), self.device)
        self.shape = (len(self._generators), vocabulary)
        self._free, self._most = buffers or [], _KEPT_NUMBERS if keep else 0
        self._kept: list[Tensor] = []
        self._drawn = 0

    @property
    def whole(self) -> bool:
        """Whether all that has been drawn is kept."""
        return self._drawn == len(self._kept)

    def buffers(self) -> list[Tensor]:
        """The tensors in use, for another noise to overwrite."""
        return self._free + self._kept

    def at(self, t: int) -> Tensor:
        """Noise of position t, [B*N, V], not to be changed; positions that were not drawn yet come in order.

        What is not kept is overwritten by the next call.
        """
        if t < len(self._kept):
            return self._kept[t]
        if t != self._drawn:
            raise ValueError(f"position {self._drawn} of the noise comes before {t}")
        numbers = self._free.pop() if self._free else torch.empty(self.shape, device=self.device)
        for row, generator in zip(numbers, self._generators, strict=True):
            row.uniform_(generator=generator)
        numbers.log_().neg_().log_().neg_()
        if self.whole and (t + 1) * numbers.numel() <= self._most:
            self._kept.append(numbers)
        else:
            self._free.append(numbers)
        self._drawn += 1
        return numbers


class Directions:
    """Standard normal numbers of B*N particles: what a control moves along in the place of gradients.

    Args:
        seed, prompts: as of :class:`GumbelNoise`.
        particles: N.
    """

    def __init__(self, seed: int, prompts: Prompts, particles: int, device: torch.device) -> None:
        keys = _keys(seed, prompts, range(particles))
        self._generators = _generators([key ^ _OF_DIRECTIONS for key in keys], device)
        self._device = device

    def draw(self, *shape: int) -> Tensor:
        """The next numbers of every particle: [B*N, *shape]."""
        return torch.stack([torch.randn(shape, generator=one, device=self._device) for one in self._generators])


def _keys(seed: int, prompts: Prompts, particles: range) -> list[int]:
    pairs = prompts.noise_keys(seed)
    return [((key * 1_000_003 + index) * 1_000_003 + n) % 2**63 for key, index in pairs for n in particles]


def _generators(keys: list[int], device: torch.device) -> list[torch.Generator]:
    return [torch.Generator(device).manual_seed(key) for key in keys]


def noise_of(reference: Reference, seed: int, prompts: Prompts, particles: range) -> GumbelNoise:
    """The noise of these particles, as it was drawn before where it is kept.

    Only the first particles of a prompt are kept: further ones are candidates that are decoded once.
    """
    vocabulary = reference.model.get_output_embeddings().weight.shape[0]
    if particles.start > 0:
        return GumbelNoise(seed, prompts, particles, vocabulary, keep=False)
    key = (tuple(prompts.noise_keys(seed)), particles.stop, vocabulary)
    kept_key, kept = reference.noise
    if kept is not None and kept_key == key and kept.whole:
        return kept
    fits = kept is not None and kept.shape == (len(prompts.texts) * len(particles), vocabulary)
    noise = GumbelNoise(seed, prompts, particles, vocabulary, kept.buffers() if kept is not None and fits else None)
    reference.noise = (key, noise)
    return noise
