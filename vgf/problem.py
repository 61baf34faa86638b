"""What a task hands to a trainer: training and held-out data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """One problem to solve.

    Attributes:
        name: what it is called in reports, e.g. the environment's id.
        train: regular transitions for training; keys as in :func:`vgf.data.chunk_batch`.
        validation: transitions of held-out episodes, or None.
        origin: where the data came from, one line for the report.
    """

    name: str
    train: Mapping[str, np.ndarray]
    validation: Mapping[str, np.ndarray] | None
    origin: str

    @property
    def observation_size(self) -> int:
        """Entries of an observation."""
        return int(self.train["observations"].shape[1])

    @property
    def action_size(self) -> int:
        """Entries of an action."""
        return int(self.train["actions"].shape[1])
