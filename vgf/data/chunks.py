"""Action-chunked, n-step batches from a flat array of transitions.

Row i of the data is (s_i, a_i, r_i, s_{i+1}); episodes lie one after another, ``terminals`` is 1 on
each episode's last transition. A chunk starts at row i and runs over ``length`` rows; past the end
of its episode everything but the actions freezes at the last transition::

    row          i    i+1   i+2 | i+3   i+4          | = end of the episode
    rewards      r0   r0+g r1  ..  ..frozen..        discounted sums
    masks, terminals, next_observations  ..frozen..
    valid        1    1     1   | 0     0
    actions      a0   a1    a2  | rows of the next episode, as in the authors' code: never use them unmasked
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["chunk_batch", "last_row_of_episode", "running_sums"]


def last_row_of_episode(terminals: np.ndarray) -> np.ndarray:
    """For every row the index of its episode's last row: [M] -> [M] int64. The last row of all ends one too."""
    ends = np.union1d(np.flatnonzero(terminals), [len(terminals) - 1])
    return ends[np.searchsorted(ends, np.arange(len(terminals)))]


def chunk_batch(data: Mapping[str, np.ndarray], idx: np.ndarray, length: int, discount: float) -> dict[str, np.ndarray]:
    """Gather chunks of ``length`` transitions that start at rows ``idx``.

    Args:
        data: observations [M, S], actions [M, A], rewards, masks, terminals [M], next_observations [M, S].
        idx: starting rows [B], integers in [0, M).
        length: rows in a chunk, >= 1.
        discount: gamma, applied to the rewards inside the chunk.

    Returns:
        observations [B, S], actions [B, length, A]; rewards (discounted sums up to each row), masks,
        terminals, valid [B, length] and next_observations [B, length, S], frozen at episode ends.
        ``[:, -1]`` of these is the n-step transition with n = length. Sums do not stop at a mask of 0 inside the
        episode: so the authors' code has it, see :class:`vgf.data.store.TransitionStore`.
    """
    idx = np.asarray(idx)
    last = last_row_of_episode(data["terminals"])[idx]
    rows = idx[:, None] + np.arange(length)  # [B, length]
    inside = np.minimum(rows, last[:, None])
    return {
        "observations": data["observations"][idx],
        "actions": data["actions"][np.minimum(rows, len(data["actions"]) - 1)],
        **running_sums(data, idx, last, length, discount),
        "terminals": np.maximum.accumulate(data["terminals"][inside], axis=1),
        "next_observations": data["next_observations"][inside],
    }


def running_sums(
    data: Mapping[str, np.ndarray], idx: np.ndarray, last: np.ndarray, length: int, discount: float
) -> dict[str, np.ndarray]:
    """The rewards, masks and valid of :func:`chunk_batch`, for callers that know where episodes end.

    Args:
        data: of which rewards and masks [M] are read.
        idx: starting rows [B].
        last: the last row of the episode of each [B].
        length, discount: as there.
    """
    rows = idx[:, None] + np.arange(length)  # [B, length]
    inside = np.minimum(rows, last[:, None])
    valid = (rows == inside).astype(np.float32)
    discounts = np.float32(discount) ** np.arange(length, dtype=np.float32)
    return {
        "rewards": np.cumsum(discounts * valid * data["rewards"][inside], axis=1),
        "masks": np.minimum.accumulate(data["masks"][inside], axis=1),
        "valid": valid,
    }
