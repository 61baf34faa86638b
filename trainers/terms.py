"""What losses are made of: the random draw of one update, and named terms that are summed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from vgf.config import TrainConfig
from vgf.data.store import Batch
from vgf.nets import ActorCritic, NetSizes

__all__ = ["Draw", "Losses", "Piece", "Term"]


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

    def __getitem__(self, rows: slice | Tensor) -> Draw:
        """The draw of some rows of the batch."""
        batch = Batch(**{name: column[rows] for name, column in vars(self.batch).items()})
        spare = {name: column[rows] for name, column in self.spare.items()}
        return Draw(batch, self.noise[rows], self.t[rows], spare)

    def split(self, count: int) -> list[Draw]:
        """``count`` draws of as many rows each."""
        size = len(self.noise) // count
        return [self] if count == 1 else [self[i * size : (i + 1) * size] for i in range(count)]

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name, one row a row of the batch; :meth:`of` takes it back."""
        batch = {f"batch.{name}": column for name, column in vars(self.batch).items()}
        return batch | {"noise": self.noise, "t": self.t} | {f"spare.{k}": v for k, v in self.spare.items()}

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> Draw:
        """The draw that gave these :meth:`tensors`."""
        parts: dict[str, dict[str, Tensor]] = {"batch": {}, "spare": {}}
        for name, tensor in tensors.items():
            group, _, key = name.partition(".")
            if key:
                parts[group][key] = tensor
        return Draw(Batch(**parts["batch"]), tensors["noise"], tensors["t"], parts["spare"])


# Names ending in "/loss" are summed and minimised, others are only logged.
Losses = dict[str, Tensor]

Piece = Callable[[Any], Losses]  # some of an update's losses, of the networks that it is called with


@dataclass(frozen=True)
class Term:
    """One part of the objective, a pure function of networks and draw.

    Attributes:
        losses: (networks, draw, configuration) -> named losses.
        spare: (sizes, configuration) -> W, how many spare normal numbers a row the term takes.
    """

    losses: Callable[[ActorCritic, Draw, TrainConfig], Losses]
    spare: Callable[[NetSizes, TrainConfig], int] = lambda sizes, config: 0
