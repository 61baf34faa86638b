"""What every reader of users' data returns: whole episodes of transitions, in one layout.

::

                    |<-- episode, cut -->|<-- terminated -->|
    observations     s0   s1   s2   s3    s0   s1   s2
    next_obs.        s1   s2   s3   s4    s1   s2   (any)
    terminated        0    0    0    0     0    0    1        nothing is bootstrapped beyond
    ends              0    0    0    1     0    0    1        last transition of its episode
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["Recording"]


@dataclass(frozen=True, eq=False)
class Recording:
    """Recorded transitions, M rows of whole episodes one after another.

    Attributes:
        observations: [M, S] float32.
        actions: [M, A] float32, in the units they were recorded in.
        rewards: [M] float32.
        next_observations: [M, S] float32; arbitrary where ``terminated``, but as finite as elsewhere.
        terminated: [M] bool, a true end: the value beyond it is zero. Inside an episode only where the file has
            ``masks``, as in OGBench, whose goals do not end an episode.
        ends: [M] bool, last transition of its episode, terminated or cut; always true in the last row.
        origin: what was read, one line for the report.
        remarks: what the reader settled by itself, one line each.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    next_observations: np.ndarray
    terminated: np.ndarray
    ends: np.ndarray
    origin: str
    remarks: tuple[str, ...] = ()

    @classmethod
    def of_rows(cls, rows: Sequence[tuple[Any, ...]], origin: str) -> Recording:
        """Make one from its rows, one or more; a row holds what the six arrays do, in their order."""
        kinds = (np.float32, np.float32, np.float32, np.float32, bool, bool)
        states, actions, rewards, following, terminated, ends = (
            np.array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)
        )
        return cls(states, actions, rewards, following, terminated, ends, origin)

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def starts(self) -> np.ndarray:
        """First row of each episode, [E] int64."""
        return np.concatenate([[0], np.flatnonzero(self.ends)[:-1] + 1])

    @property
    def lengths(self) -> np.ndarray:
        """Transitions of each episode, [E] int64, each at least 1."""
        return np.diff(np.flatnonzero(self.ends), prepend=-1)

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted sum of rewards of each episode, [E] float64."""
        return np.add.reduceat(self.rewards.astype(np.float64), self.starts)

    def place(self, row: int) -> str:
        """Where a transition is, in words: its row and the step of its episode, all counted from 0."""
        episode = int(np.searchsorted(self.starts, row, side="right")) - 1
        return f"row {row} (episode {episode}, step {row - self.starts[episode]})"

    def episodes(self, chosen: Sequence[int] | np.ndarray) -> Recording:
        """The given episodes alone, in the order of the data whatever the order of ``chosen``."""
        keep = np.isin(np.arange(len(self.lengths)), chosen).repeat(self.lengths)
        names = ("observations", "actions", "rewards", "next_observations", "terminated", "ends")
        return replace(self, **{name: getattr(self, name)[keep] for name in names})

    def regular(self) -> dict[str, np.ndarray]:
        """The arrays that stores take, all float32: see :func:`vgf.data.chunks.chunk_batch`.

        ``masks`` is 0 where terminated and 1 elsewhere; ``terminals`` is 1 on each episode's last transition.
        """
        return {
            "observations": self.observations,
            "actions": self.actions,
            "rewards": self.rewards,
            "masks": 1 - self.terminated.astype(np.float32),
            "terminals": self.ends.astype(np.float32),
            "next_observations": self.next_observations,
        }
