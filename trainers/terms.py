"""What losses are made of: the random draw of one update, and named terms that are summed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from vgf.config import TrainConfig
from vgf.data.store import Batch
from vgf.nets import ActorCritic, NetSizes

__all__ = ["Draw", "Losses", "Term"]


@dataclass(frozen=True)
class Draw:
    """What one update is computed from. All randomness of an update is in here.

    Attributes:
        batch: chunked transitions.
        noise: x_0, the flow's starting points [B, D].
        t: flow times [B, 1].
        spare: further standard normal numbers, by the name of the term they belong to: [B, W].
    """

    batch: Batch
    noise: Tensor
    t: Tensor
    spare: dict[str, Tensor] = field(default_factory=dict)


# Names ending in "/loss" are summed and minimised, others are only logged.
Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Term:
    """One part of the objective, a pure function of networks and draw.

    Attributes:
        losses: (networks, draw, configuration) -> named losses.
        spare: (sizes, configuration) -> W, how many spare normal numbers a row the term takes.
    """

    losses: Callable[[ActorCritic, Draw, TrainConfig], Losses]
    spare: Callable[[NetSizes, TrainConfig], int] = lambda sizes, config: 0
