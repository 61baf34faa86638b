"""Replay: transitions that are gathered while training goes on, beside those it began with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor

from vgf.data.store import Batch, TransitionStore

__all__ = ["ReplayBuffer", "TwoStores"]

_COLUMNS = (
    "observations", "next_observations", "actions", "returns", "discounts", "valid", "bootstrap_row", "episode_end",
)  # fmt: skip


class ReplayBuffer(TransitionStore):
    """A store that grows by whole episodes, into memory set aside beforehand.

    Args:
        like: a store of the same task; sizes, chunk, device and n-step settings are its own.
        capacity: transitions in all, >= 1.
    """

    fixed = False

    def __init__(self, like: TransitionStore, capacity: int) -> None:
        self.rows = 0
        self.capacity = capacity
        self.settings = like.settings
        self.chunk, self.device, self.observation_size = like.chunk, like.device, like.observation_size
        for name in _COLUMNS:
            column: Tensor = getattr(like, name)
            setattr(self, name, column.new_zeros(capacity, *column.shape[1:]))

    def append(self, episode: Mapping[str, np.ndarray]) -> None:
        """Add one finished episode, keys as :class:`TransitionStore` takes them.

        One that is shorter than a chunk holds no chunk and is left out, as is what exceeds the capacity.
        """
        length = min(len(episode["actions"]), self.capacity - self.rows)
        if length < self.chunk:
            return
        cut = {key: column[:length] for key, column in episode.items()}
        piece = TransitionStore(cut, device=self.device, **self.settings)
        for name in _COLUMNS:
            rows = getattr(piece, name)
            shift = self.rows if name in ("bootstrap_row", "episode_end") else 0
            getattr(self, name)[self.rows : self.rows + length] = rows + shift
        self.rows += length

    def state(self) -> dict[str, Tensor]:
        """What has been gathered, by column."""
        return {name: getattr(self, name)[: self.rows] for name in _COLUMNS}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state` returned."""
        self.rows = len(state["actions"])
        for name in _COLUMNS:
            getattr(self, name)[: self.rows] = state[name].to(self.device)


class TwoStores:
    """Batches from two stores: uniformly over the transitions of both, or half from each.

    Args:
        first, second: the stores; as long as the second is empty, batches are the first's.
        balanced: half from each (RLPD, arXiv 2302.02948) instead of uniformly.
    """

    fixed = False

    def __init__(self, first: TransitionStore, second: TransitionStore, balanced: bool) -> None:
        self.first, self.second, self.balanced = first, second, balanced
        self.device, self.observation_size = first.device, first.observation_size

    def seek(self, step: int) -> None:
        """Both stores hold all their rows at every update."""

    def sample(self, size: int, generator: torch.Generator) -> Batch:
        """Draw ``size`` starting rows with replacement; those of the second store come last."""
        if not self.second.rows:
            return self.first.sample(size, generator)
        if self.balanced:
            half = size // 2
            return self._joined(self.first.sample(size - half, generator), self.second.sample(half, generator))
        rows = self.first.rows + self.second.rows
        idx = torch.randint(rows, (size,), generator=generator, device=self.device)
        gathered = idx >= self.first.rows
        return self._joined(self.first.batch(idx[~gathered]), self.second.batch(idx[gathered] - self.first.rows))

    def _joined(self, a: Batch, b: Batch) -> Batch:
        b = replace(b, rows=b.rows + self.first.rows)
        return Batch(**{f.name: torch.cat([getattr(a, f.name), getattr(b, f.name)]) for f in fields(Batch)})
