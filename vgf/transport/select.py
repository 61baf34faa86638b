"""Selectors: which of the N moved particles becomes the action."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vgf.errors import UserError, did_you_mean

__all__ = ["SELECTORS", "select"]


def _first(values: Tensor) -> Tensor:
    """No selection: particles are exchangeable, take the first."""
    return torch.zeros_like(values[:, 0], dtype=torch.long)


def _max(values: Tensor) -> Tensor:
    """The particle the critic values most (best-of-N)."""
    return values.argmax(-1)


SELECTORS: dict[str, Callable[[Tensor], Tensor]] = {"first": _first, "max": _max}


def select(how: str, values: Tensor) -> Tensor:
    """Choose one particle a context: values [B, N] -> index [B].

    Raises:
        UserError: when ``how`` is not a key of SELECTORS.
    """
    if how not in SELECTORS:
        raise UserError(f"select={how!r} is unknown; use one of {', '.join(SELECTORS)}.{did_you_mean(how, SELECTORS)}")
    return SELECTORS[how](values)
