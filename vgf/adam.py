"""Adam, its parameters divided among the threads of :mod:`vgf.side_by_side`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from vgf.side_by_side import evenly, side_by_side, side_threads

__all__ = ["SideBySideAdam"]


class SideBySideAdam(torch.optim.Adam):
    """``torch.optim.Adam(..., fused=True)`` with one group of parameters; what it does to one ignores the others.

    State and learning rate are those of this optimiser, whichever thread makes the step.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, capturable: bool = False) -> None:
        super().__init__(parameters, lr=lr, fused=True, capturable=capturable)
        self._parts: list[torch.optim.Adam] = []

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step on the gradients there are."""
        (group,) = self.param_groups
        if side_threads() == 1 or closure is not None:
            super().step(closure)
            return
        if len(self._parts) != side_threads():
            self._parts = [torch.optim.Adam(part, fused=True) for part in evenly(group["params"], side_threads())]
        for part in self._parts:
            part.state = self.state
            part.param_groups[0] |= {key: value for key, value in group.items() if key != "params"}
        side_by_side([part.step for part in self._parts])
