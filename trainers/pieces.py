"""The pieces that an update's losses fall into, and their gradients, computed side by side.

A term trains networks of its own: critic, V(s), flow and judge share no trained parameter, and what one reads of
another's networks (targets, V(s')) is not written to before all are done. So each is a piece of work with a backward
pass of its own. Gradients are added up in the order of the pieces afterwards, whichever was done first: an update is
the same bit for bit on any number of threads, also where terms train a network together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from vgf.config import TrainConfig
from vgf.nets import ActorCritic
from vgf.side_by_side import side_by_side
from vgf.trainers.judge import judge_pieces
from vgf.trainers.nonfinite import summed
from vgf.trainers.terms import Draw, Losses, Piece, Term

__all__ = ["add_gradients", "losses_of", "pieces_of"]


def pieces_of(
    nets: ActorCritic, objective: Mapping[str, Term], config: TrainConfig, draw: Draw, held_out: Draw | None = None
) -> list[Piece]:
    """Losses of each term on a draw, and of the judge on a draw from held-out episodes."""
    terms: list[Piece] = [partial(term.losses, nets, draw, config) for term in objective.values()]
    return terms + (judge_pieces(nets, held_out, config) if held_out is not None else [])


def losses_of(
    nets: ActorCritic, objective: Mapping[str, Term], config: TrainConfig, draw: Draw, held_out: Draw | None = None
) -> Losses:
    """The losses of all pieces, one after the other."""
    losses: Losses = {}
    for piece in pieces_of(nets, objective, config, draw, held_out):
        losses |= piece()
    return losses


def add_gradients(
    pieces: Sequence[Piece],
    parameters: Iterable[Tensor],
    precision: Callable[[], AbstractContextManager[Any]],
    share: float = 1.0,
) -> Losses:
    """Add ``share`` of the gradient of all pieces' losses to the parameters' ``grad``; returns the losses, detached.

    Args:
        precision: makes the autocast in which losses are computed, once for each piece.
    """
    trained = list(parameters)
    ends = _Ends.of(trained)

    def differentiated(piece: Piece) -> tuple[Losses, Sequence[Tensor | None]]:
        with precision():
            losses = piece()
        total = summed(losses) * share
        nothing = [None] * len(trained)  # of a piece whose networks are all frozen
        gradients = torch.autograd.grad(total, ends, allow_unused=True) if total.requires_grad else nothing
        return {name: loss.detach() for name, loss in losses.items()}, gradients

    found: Losses = {}
    for losses, gradients in side_by_side([partial(differentiated, piece) for piece in pieces]):
        found |= losses
        for parameter, gradient in zip(trained, gradients, strict=True):
            if gradient is not None:
                gradient = gradient.contiguous()  # as parameters are: Adam walks through both in memory order
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    return found


class _Ends(torch.autograd.Function):
    """Where graphs end in parameters, made before any thread needs them.

    PyTorch makes one when a graph first reads the parameter, under a lock of the parameter and then with Python's: a
    thread that has Python's and reads the same parameter would wait for ever. Node by node, as ``get_gradient_edge``
    makes them, they take four times as long.
    """

    @classmethod
    def of(cls, parameters: Sequence[Tensor]) -> list[GradientEdge]:
        """As :func:`torch.autograd.graph.get_gradient_edge`, of each; kept as long as the list is."""
        return [GradientEdge(*end) for end in cls.apply(*parameters).grad_fn.next_functions]

    @staticmethod
    def forward(ctx: Any, *parameters: Tensor) -> Tensor:
        return torch.zeros(())
