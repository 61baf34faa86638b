"""Stops a trainer of TRL before an update that is not finite.

transformers leaves losses that are not finite out of its log (``logging_nan_inf_filter``) and steps all the same; what
it has spoiled would be stored as a finished model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from vgf.errors import UserError
from vgf.language.hub import extra

__all__ = ["finite_updates"]


def finite_updates(what: str, key: str) -> Any:
    """A callback that raises a UserError for a gradient, or at the end a parameter, that is not finite.

    Args:
        what: what is trained, for the line.
        key: the learning rate's key.
    """

    class FiniteUpdates(extra("transformers").TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
            if not _finite(p.grad for p in model.parameters() if p.grad is not None):
                raise UserError(f"{what}: the gradient is not finite at update {state.global_step}; lower {key}")

        def on_train_end(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
            if not _finite(p.detach() for p in model.parameters() if p.requires_grad):
                raise UserError(f"{what}: parameters are not finite after {state.global_step} updates; lower {key}")

    return FiniteUpdates()


def _finite(tensors: Iterable[Tensor]) -> bool:
    sums = [tensor.float().sum() for tensor in tensors]  # of a sum of finite numbers only the largest floats make inf
    return not sums or bool(torch.stack(sums).isfinite().all())
