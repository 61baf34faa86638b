"""Runs a trainer of TRL: vgf's progress bar in the place of its printed dictionaries, a stop before what is not finite.

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
from vgf.progress import progress_bar

__all__ = ["SETTINGS", "train_watched"]

SETTINGS = {"report_to": "none", "logging_steps": 10, "disable_tqdm": True, "save_strategy": "no"}  # of TRL's arguments
_SHOWN = ("loss", "accuracy", "reward", "kl")  # of what TRL logs


def train_watched(trainer: Any, what: str, key: str) -> Any:
    """Train, and return what the trainer returns.

    Args:
        trainer: of TRL, made with ``SETTINGS``.
        what: what is trained, for the bar and for errors.
        key: the learning rate's key.

    Raises:
        UserError: a gradient, or at the end a parameter, that is not finite; or no update was made, because the prompts
            do not fill a batch.
    """
    transformers = extra("transformers")
    trainer.remove_callback(transformers.PrinterCallback)
    for callback in (_finite_updates(what, key), _bar(what)):
        trainer.add_callback(callback)
    done = trainer.train()
    if not trainer.state.global_step:
        raise UserError(
            f"{what}: no update was made; its data do not fill a batch, so give more of them or a smaller one"
        )
    return done


def _finite_updates(what: str, key: str) -> Any:
    class FiniteUpdates(extra("transformers").TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
            if not _finite(p.grad for p in model.parameters() if p.grad is not None):
                raise UserError(f"{what}: the gradient is not finite at update {state.global_step}; lower {key}")

        def on_train_end(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
            if not _finite(p.detach() for p in model.parameters() if p.requires_grad):
                raise UserError(f"{what}: parameters are not finite after {state.global_step} updates; lower {key}")

    return FiniteUpdates()


def _bar(description: str) -> Any:
    class Bar(extra("transformers").TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar = progress_bar(description, state.max_steps, "update", disable=not state.is_world_process_zero)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar.update(state.global_step - self.bar.n)

        def on_log(self, args: Any, state: Any, control: Any, *, logs: dict[str, Any], **_: Any) -> None:
            if shown := {name: logs[name] for name in _SHOWN if name in logs}:
                self.bar.set_postfix(shown)

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar.close()

    return Bar()


def _finite(tensors: Iterable[Tensor]) -> bool:
    sums = [tensor.float().sum() for tensor in tensors]  # of a sum of finite numbers only the largest floats make inf
    return not sums or bool(torch.stack(sums).isfinite().all())
