"""Adam, its parameters divided among the threads of :mod:`vgf.side_by_side`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.optim.adam import adam

from vgf.side_by_side import evenly, side_by_side, side_threads

__all__ = ["SideBySideAdam"]


class SideBySideAdam(torch.optim.Adam):
    """``torch.optim.Adam(..., fused=True)`` with one group of parameters; what it does to one ignores the others.

    State and learning rate are those of PyTorch's class. Left out is what its ``step`` does around the step itself
    while it holds Python's lock.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, capturable: bool = False) -> None:
        super().__init__(parameters, lr=lr, fused=True, capturable=capturable)

    @torch.no_grad()
    def step(  # type: ignore[override]
        self,
        gradients: Sequence[Tensor | None],
        then: Callable[[Sequence[Tensor]], None] = lambda parameters: None,
    ) -> None:
        """One step.

        Args:
            gradients: in the order of the parameters, in any precision; None: that parameter stays, and so does its
                state.
            then: called with shares of all parameters, those without a gradient among them, as soon as a share has made
                its step: by several threads, while others still make theirs.
        """
        (group,) = self.param_groups
        given = dict(zip(group["params"], gradients, strict=True))
        for parameter, gradient in given.items():
            if gradient is not None and not self.state.get(parameter):
                self.state[parameter] = _at_rest(parameter)

        def advance(share: list[Tensor]) -> None:
            moved = {parameter: gradient for parameter in share if (gradient := given[parameter]) is not None}
            states = [self.state[parameter] for parameter in moved]
            adam(
                list(moved),
                [gradient.to(parameter.dtype) for parameter, gradient in moved.items()],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],  # amsgrad's
                [state["step"] for state in states],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                **{name: group[name] for name in _SETTINGS},
            )
            then(share)

        side_by_side([partial(advance, share) for share in evenly(given, side_threads())])


_SETTINGS = ("lr", "eps", "weight_decay", "amsgrad", "maximize", "fused", "capturable")


def _at_rest(parameter: Tensor) -> dict[str, Tensor]:
    """The state of a parameter that has made no step, as PyTorch's fused Adam has it."""
    moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
    return {"step": torch.zeros((), device=parameter.device)} | moments
