r"""The flow in the residual stream: at every token, particles climb the value heads before the next token is drawn.

    for every position t:
        h  <- state of one layer,  x = (h - mean) / std                  # [B, N, width], the prompt's N particles
        x  <- transport(rule, x, critic = value heads, budget)           # grad_step or vgf, as in control
        h' <- x * std + mean; the later layers and their keys and values carry it on
        y_t <- argmax log p(v | h') + G_tv                               # the particle's own noise

The move is the ``vgf.transport`` of control, rule by rule; its coordinates are standardised states, and ``size`` with
the step ``rms`` is the distance a step moves them, in units of the reference's own spread.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vgf.language.decoding import Change, Samples, Sampling, decode
from vgf.language.heads import ValueHeads
from vgf.language.noise import Directions
from vgf.language.reference import Reference
from vgf.transport import Budget, transport
from vgf.transport.landscape import Critic

__all__ = ["flow", "hidden"]


def hidden(
    reference: Reference,
    heads: ValueHeads,
    twins: Samples,
    sampling: Sampling,
    seed: int,
    budget: Budget,
    *,
    rule: str = "grad_step",
    step: str = "rms",
    aggregate: str = "mean",
    alpha: float = 1.0,
    gate: float | None = None,
    random: bool = False,
) -> Samples:
    """Decode with the flow at every token.

    Args:
        twins: the reference's samples at this seed; the N of a prompt are coupled by the rules that couple (vgf).
        budget: steps a token, and size of a step.
        rule, step, aggregate, alpha, gate: see :func:`vgf.transport.transport`.
        random: the control: the same steps along random directions.
    """
    how: dict[str, Any] = {"rule": rule, "step": step, "aggregate": aggregate, "alpha": alpha, "gate": gate}
    change = flow(heads, twins, seed, budget, random=random, **how)
    return decode(reference, twins.prompts, twins.particles, sampling, seed, layer=heads.layer, change=change)


def flow(heads: ValueHeads, twins: Samples, seed: int, budget: Budget, *, random: bool = False, **how: Any) -> Change:
    """What :func:`hidden` does to the state of every position of one decoding; arguments are its own."""
    batch, particles = twins.tokens.shape[:2]
    directions = Directions(seed, twins.prompts, particles, heads.mean.device) if random else None
    context = torch.zeros(batch, 1, device=heads.mean.device)

    def change(state: Tensor) -> Tensor:  # [B*N, 1, width]
        x = heads.standardised(state[:, -1]).view(batch, particles, -1)
        critic = _straight(directions.draw(x.shape[-1])) if directions else lambda context, x: heads(x)
        moved = transport(
            context=context, start=x, budget=budget, critic=critic, low=float("-inf"), high=float("inf"), **how
        )
        return heads.restored(moved.particles).view_as(state).to(state.dtype)

    return change


def _straight(direction: Tensor) -> Critic:
    """A value that rises along one direction per particle [B*N, width]."""
    return lambda context, x: (x * direction).sum(-1).unsqueeze(0)
