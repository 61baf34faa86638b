"""A store of transitions in memory (on any device) that deals out training batches.

What does not change from batch to batch (n-step returns, bootstrap rows, masks) is computed once
when the store is made, by :func:`vgf.data.chunks.running_sums`, so a batch is a few gathers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vgf.data.chunks import last_row_of_episode, running_sums
from vgf.errors import UserError

__all__ = ["Batch", "Store", "TransitionStore"]

_ROWS_AT_ONCE = 65536


@dataclass(frozen=True)
class Batch:
    """One training batch of chunked n-step transitions.

    Attributes:
        rows: of the data, where the chunks start, [B] int64; those of a replay buffer are counted on from the data's.
        observations: s, [B, S].
        actor_observations: what the cloned source sees, [B, S]; another goal than the critic's where there are goals.
        actions: the chunk a_{0:H} flattened, [B, H * A].
        valid_actions: 1 for entries of the chunk inside the episode, [B, H * A].
        returns: discounted sum of rewards up to the bootstrap state, [B].
        discounts: gamma to the number of steps up to the bootstrap state, times its mask, [B].
        valid: 1 when the whole chunk lies inside the episode, [B].
        next_observations: the bootstrap state, [B, S].
        next_actions: the chunk that the data play there, [B, H * A]; see next_valid.
        next_valid: 1 when that chunk lies inside the same episode, [B].
    """

    rows: Tensor
    observations: Tensor
    actor_observations: Tensor
    actions: Tensor
    valid_actions: Tensor
    returns: Tensor
    discounts: Tensor
    valid: Tensor
    next_observations: Tensor
    next_actions: Tensor
    next_valid: Tensor


class Store(Protocol):
    """What the training loop needs of a store.

    Attributes:
        device: where batches are made.
        observation_size: S of the batches.
        fixed: all rows stay where they are in memory, and a draw needs nothing from the host.
    """

    device: torch.device
    observation_size: int
    fixed: bool

    def sample(self, size: int, generator: torch.Generator) -> Batch:
        """Draw ``size`` chunks uniformly, with replacement. All randomness comes from the generator."""
        ...

    def seek(self, step: int) -> None:
        """Be told the number of the update before each draw; only stores that do not hold all rows at once care."""
        ...


class TransitionStore:
    """Transitions on a device.

    Args:
        data: arrays of regular transitions, see :func:`vgf.data.chunks.chunk_batch`.
        chunk: H, actions in a particle.
        n_step: rewards summed before bootstrapping, >= chunk. Past an episode's end the sum stops
            at its last transition and the bootstrap is discounted by the steps really taken.
            Nothing is bootstrapped where one of the n masks is 0, a true end of the task. Data may go on
            after it (OGBench's do after success). With n_step = chunk the rewards of the whole chunk
            are summed even so, as in the authors' code. With n_step > chunk, which it does not
            have, the sum stops with the first transition whose mask is 0.
        discount: gamma in [0, 1].
        device: where the arrays live.

    Raises:
        UserError: when no episode is as long as a chunk, or ``n_step`` is below ``chunk``.
    """

    fixed = True

    def __init__(
        self,
        data: Mapping[str, np.ndarray],
        *,
        chunk: int,
        n_step: int,
        discount: float,
        device: str | torch.device = "cpu",
    ) -> None:
        if n_step < chunk:
            raise UserError(
                f"train.n_step={n_step} is shorter than train.chunk={chunk}; give at least the chunk's length"
            )
        self.settings: dict[str, Any] = {"chunk": chunk, "n_step": n_step, "discount": discount}
        ends = last_row_of_episode(data["terminals"])
        longest = int(np.bincount(ends).max())
        if chunk > longest:
            raise UserError(f"train.chunk={chunk} is longer than every episode of the data (longest: {longest} steps)")
        beyond_chunk, n_step = n_step > chunk, min(n_step, longest)  # sums stop where episodes end
        self.rows = len(data["actions"])
        self.chunk = chunk
        self.device = torch.device(device)
        self.observation_size = int(data["observations"].shape[1])
        self.observations = self._put(data["observations"])
        self.next_observations = self._put(data["next_observations"])
        self.actions = self._put(data["actions"])

        columns: dict[str, list[np.ndarray]] = {k: [] for k in ("returns", "discounts", "steps", "valid")}
        for begin in range(0, self.rows, _ROWS_AT_ONCE):
            idx = np.arange(begin, min(begin + _ROWS_AT_ONCE, self.rows))
            out = running_sums(data, idx, ends[idx], n_step, discount)
            steps = out["valid"].sum(1)
            stop = _first_true_end(out["masks"]) if beyond_chunk else -1
            columns["returns"].append(out["rewards"][np.arange(len(idx)), stop])
            columns["discounts"].append(discount**steps * out["masks"][:, -1])
            columns["steps"].append(steps)
            columns["valid"].append(out["valid"][:, :chunk])
        stacked = {k: np.concatenate(v) for k, v in columns.items()}
        self.returns = self._put(stacked["returns"])
        self.discounts = self._put(stacked["discounts"])
        self.valid = self._put(stacked["valid"])  # [M, H]
        self.episode_end = self._put(ends, torch.int64)
        self.bootstrap_row = self._put(stacked["steps"], torch.int64) - 1 + torch.arange(self.rows, device=self.device)

    def _put(self, array: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device, dtype)

    def __len__(self) -> int:
        return self.rows

    def seek(self, step: int) -> None:
        """All rows are here at every update."""

    def sample(self, size: int, generator: torch.Generator) -> Batch:
        """Draw ``size`` starting rows uniformly, with replacement."""
        return self.batch(torch.randint(self.rows, (size,), generator=generator, device=self.device))

    def batch(self, idx: Tensor) -> Batch:
        """Gather the chunks that start at rows ``idx`` [B]."""
        valid = self.valid[idx]  # [B, H]
        bootstrap = self.bootstrap_row[idx]
        following = bootstrap + 1
        observations = self.observations[idx]
        return Batch(
            rows=idx,
            observations=observations,
            actor_observations=observations,
            actions=self._chunks(idx),
            valid_actions=valid.repeat_interleave(self.actions.shape[1], dim=1),
            returns=self.returns[idx],
            discounts=self.discounts[idx],
            valid=valid[:, -1],
            next_observations=self.next_observations[bootstrap],
            next_actions=self._chunks(following.clamp_max(self.rows - 1)),
            next_valid=(following + self.chunk - 1 <= self.episode_end[idx]).to(valid.dtype),
        )

    def _chunks(self, first: Tensor) -> Tensor:
        """Flattened action chunks that start at rows ``first``: [B] -> [B, H * A]."""
        if self.chunk == 1:
            return self.actions[first]
        rows = (first[:, None] + torch.arange(self.chunk, device=self.device)).clamp_max(self.rows - 1)
        return self.actions[rows].flatten(1)


def _first_true_end(masks: np.ndarray) -> np.ndarray:
    """Where rows of masks [B, n] are first 0; n - 1 for rows that nowhere are: [B] int64."""
    ended = masks == 0
    return np.where(ended.any(axis=1), ended.argmax(axis=1), masks.shape[1] - 1)
