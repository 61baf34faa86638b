"""Selectors: which of the N moved particles becomes the action, as weights over the particles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vgf.errors import UserError, did_you_mean

__all__ = ["SELECTORS", "Candidates", "Selector", "get_selector", "select"]


@dataclass(frozen=True)
class Candidates:
    """What a selector may look at.

    Attributes:
        values: aggregated critic values of the particles, [B, N].
        gumbel: Gumbel noise [B, N] of selectors that draw.
        state_value: V(s) [B], the baseline of ``expectile``.
        temperature: of ``softmax``, > 0, in units of value.
        expectile: of ``expectile``, in (0, 1).
    """

    values: Tensor
    gumbel: Tensor | None = None
    state_value: Tensor | None = None
    temperature: float = 1.0
    expectile: float = 0.9


@dataclass(frozen=True)
class Selector:
    """One way to choose.

    Attributes:
        weigh: candidates -> weights [B, N] that sum to one; the action is the weighted particle.
        draws: needs ``gumbel``.
        needs_state_value: needs ``state_value``.
        keep_best: the unmoved twins are candidates as well.
    """

    weigh: Callable[[Candidates], Tensor]
    draws: bool = False
    needs_state_value: bool = False
    keep_best: bool = False


def _one_hot(index: Tensor, like: Tensor) -> Tensor:
    return F.one_hot(index, like.shape[1]).to(like.dtype)


def _ranked(values: Tensor) -> Tensor:
    """Values with NaN last; argmax would take it first."""
    return values.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)


def _none(c: Candidates) -> Tensor:
    """No selection: particles are exchangeable, take the first."""
    return _one_hot(torch.zeros_like(c.values[:, 0], dtype=torch.long), c.values)


def _max(c: Candidates) -> Tensor:
    """The particle the critic values most (best-of-N); one without a value never beats one that has one."""
    return _one_hot(_ranked(c.values).argmax(-1), c.values)


def _mean(c: Candidates) -> Tensor:
    """The mean of all particles: sensible where they have gathered around one mode."""
    return torch.full_like(c.values, 1 / c.values.shape[1])


def _softmax(c: Candidates) -> Tensor:
    """A draw with probabilities softmax(values / temperature) (Gumbel-max)."""
    assert c.gumbel is not None
    return _one_hot((_ranked(c.values) / c.temperature + c.gumbel).argmax(-1), c.values)


def _expectile(c: Candidates) -> Tensor:
    """IDQL's implicit policy (arXiv 2304.10573): a draw with weights |expectile - 1{Q < V}|."""
    assert c.gumbel is not None
    assert c.state_value is not None
    better = c.values >= c.state_value.unsqueeze(-1)
    weight = torch.where(better, c.expectile, 1 - c.expectile)
    return _one_hot((weight.log() + c.gumbel).argmax(-1), c.values)


SELECTORS: dict[str, Selector] = {
    "none": Selector(_none),
    "max": Selector(_max),
    "mean": Selector(_mean),
    "softmax": Selector(_softmax, draws=True),
    "expectile": Selector(_expectile, draws=True, needs_state_value=True),
    # The best of moved and unmoved is the best of the better one of each pair.
    "keep_best": Selector(_max, keep_best=True),
}


def get_selector(name: str) -> Selector:
    """Return a selector by name; UserError with the nearest names when there is none."""
    if name not in SELECTORS:
        raise UserError(
            f"select={name!r} is unknown; use one of {', '.join(SELECTORS)}.{did_you_mean(name, SELECTORS)}"
        )
    return SELECTORS[name]


def select(weights: Tensor, x: Tensor) -> Tensor:
    """The weighted particle of each context: weights [B, N], x [B, N, D] -> [B, D]; exact for one-hot weights.

    A particle without weight does not count, even where it is not a number.
    """
    w = weights.unsqueeze(-1)
    return torch.where(w > 0, w * x, torch.zeros_like(x)).sum(1)
