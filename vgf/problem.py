"""What a task hands to a trainer: training and held-out data, and how batches are dealt from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vgf.scale import ScoreScale

if TYPE_CHECKING:  # stores need torch; processes that step a task's environments do not
    from vgf.data.store import Store

__all__ = ["ACTION_MARGIN", "AS_PAID", "Problem", "RewardMap"]

ACTION_MARGIN = 1e-5  # keeps actions that are trained on inside the open box, as all the authors' code does


@dataclass(frozen=True)
class RewardMap:
    """What a task does to the rewards of its data, r -> scale * r + shift; rewards of play go through it as well."""

    scale: float = 1.0
    shift: float = 0.0

    def __call__(self, rewards: np.ndarray) -> np.ndarray:
        """Rewards as they are trained on, float32 of the same shape."""
        return (rewards * self.scale + self.shift).astype(np.float32)


AS_PAID = RewardMap()  # leaves them as they are


@dataclass(frozen=True)
class Problem:
    """One problem to solve.

    Attributes:
        name: what it is called in reports, e.g. the environment's id.
        train: regular transitions for training; keys as in :func:`vgf.data.chunks.chunk_batch`.
        validation: transitions of held-out episodes, or None.
        origin: where the data came from, one line for the report.
        store: makes the store that deals batches, called as :class:`vgf.data.store.TransitionStore` is; None: that one.
        make_environment: makes the environment of the problem, for trainers that play.
        states: (data, rows [M]) -> what the networks see there, [M, S]; None: the observations.
        scale: what returns are normalised by in the report, or None.
        rewards: what was done to the rewards of the data; trainers that play do it to those of the environment.
    """

    name: str
    train: Mapping[str, np.ndarray]
    validation: Mapping[str, np.ndarray] | None
    origin: str
    store: Callable[..., Store] | None = None
    make_environment: Callable[[], Any] | None = None
    states: Callable[[Mapping[str, np.ndarray], np.ndarray], np.ndarray] | None = None
    scale: ScoreScale | None = None
    rewards: RewardMap = AS_PAID

    @property
    def action_size(self) -> int:
        """Entries of an action."""
        return int(self.train["actions"].shape[1])

    def held_out_states(self, count: int, seed: int) -> np.ndarray:
        """States of held-out episodes (of training where there are none), drawn without replacement: [M, S]."""
        data = self.validation or self.train
        rows = len(data["observations"])
        chosen = np.sort(np.random.default_rng(seed).choice(rows, min(count, rows), replace=False))
        states = data["observations"][chosen] if self.states is None else self.states(data, chosen)
        return np.asarray(states, np.float32)
