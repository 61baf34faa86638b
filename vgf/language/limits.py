"""Limits on single texts: a particle that a move has carried too far from its twin is its twin."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vgf.errors import UserError
from vgf.language.decoding import Samples
from vgf.language.reference import Reference

__all__ = ["Limits", "share_changed"]


@dataclass(frozen=True)
class Limits:
    """How far a text may be from its twin.

    Attributes:
        changed: share of tokens that may differ, in [0, 1]; None: all.
        nll_rise: by how much the NLL under the reference may rise, nats a token, >= 0; None: any amount. It costs one
            more reading of the moved texts.

    Raises:
        UserError: a limit out of range.
    """

    changed: float | None = None
    nll_rise: float | None = None

    def __post_init__(self) -> None:
        if self.changed is not None and not 0 <= self.changed <= 1:
            raise UserError(f"text.limits.changed={self.changed} must be between 0 and 1, or null")
        if self.nll_rise is not None and not self.nll_rise >= 0:
            raise UserError(f"text.limits.nll_rise={self.nll_rise} must be 0 or more, or null")

    def kept(self, reference: Reference, moved: Samples, twins: Samples) -> Tensor:
        """Which moved particles are within the limits, [B, N] bool."""
        kept = torch.ones(moved.tokens.shape[:2], dtype=torch.bool, device=moved.tokens.device)
        if self.changed is not None:
            kept &= share_changed(moved, twins) <= self.changed
        if self.nll_rise is not None:
            kept &= _nll(reference, moved) - _nll(reference, twins) <= self.nll_rise
        return kept


def share_changed(moved: Samples, twins: Samples) -> Tensor:
    """Share of tokens that differ from the twin's, [B, N]."""
    either = moved.mask | twins.mask
    return ((moved.tokens != twins.tokens) & either).sum(-1) / either.sum(-1)


def _nll(reference: Reference, samples: Samples) -> Tensor:
    """Nats a token under the reference, [B, N]."""
    log_probs = reference.log_probs(samples.prompts, samples.tokens, samples.mask)
    return -log_probs.sum(-1) / samples.mask.sum(-1)
