"""The pieces that an update's losses fall into, and their gradients, computed side by side.

A term trains networks of its own: critic, V(s), flow and judge share no trained parameter, and what one reads of
another's networks (targets, V(s')) is not written to before all are done. So each is a piece of work with a backward
pass of its own. Gradients are added up in the order of the pieces afterwards, whichever was done first: an update is
the same bit for bit on any number of threads, also where terms train a network together.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vgf.config import TrainConfig
from vgf.nets import ActorCritic
from vgf.side_by_side import side_by_side
from vgf.trainers.judge import judge_pieces
from vgf.trainers.nonfinite import summed
from vgf.trainers.terms import Draw, Losses, Piece, Term

__all__ = ["Readers", "add_gradients", "losses_of", "pieces_of"]


def pieces_of(
    objective: Mapping[str, Term], config: TrainConfig, draw: Draw, held_out: Draw | None = None
) -> list[Piece]:
    """Losses of each term on a draw, and of the judge on a draw from held-out episodes."""

    def piece(term: Term) -> Piece:
        return lambda nets: term.losses(nets, draw, config)

    terms = [piece(term) for term in objective.values()]
    return terms + (judge_pieces(held_out, config) if held_out is not None else [])


def losses_of(
    nets: ActorCritic, objective: Mapping[str, Term], config: TrainConfig, draw: Draw, held_out: Draw | None = None
) -> Losses:
    """The losses of all pieces, one after the other."""
    losses: Losses = {}
    for piece in pieces_of(objective, config, draw, held_out):
        losses |= piece(nets)
    return losses


class Readers:
    """Networks for several threads: the same numbers in memory, which each reads through tensors of its own.

    To read a parameter is to take its lock, and PyTorch takes Python's as well where it notes in a graph that the
    parameter is to have a gradient. Another thread that has Python's and reads the same tensor would wait for ever.

    Args:
        networks: those of the first reader; their parameters have to stay where they are in memory.
        parameters: those of the networks that get gradients, by name.
    """

    def __init__(self, networks: nn.Module, parameters: Mapping[str, Tensor]) -> None:
        self.parameters = list(parameters.values())
        self._names = list(parameters)
        self._readers: list[tuple[Any, list[Tensor]]] = [(networks, self.parameters)]

    def first(self, count: int) -> list[tuple[Any, list[Tensor]]]:
        """That many readers' networks, and parameters in the order of these."""
        while len(self._readers) < count:
            networks, _ = self._readers[0]
            own = copy.deepcopy(
                networks, {id(p): nn.Parameter(p.detach(), p.requires_grad) for p in networks.parameters()}
            )
            named = dict(own.named_parameters())
            self._readers.append((own, [named[name] for name in self._names]))
        return self._readers[:count]


def add_gradients(
    pieces: Sequence[Piece],
    readers: Readers,
    precision: Callable[[], AbstractContextManager[Any]],
    share: float = 1.0,
) -> Losses:
    """Add ``share`` of the gradient of all pieces' losses to the parameters' ``grad``; returns the losses, detached.

    Args:
        precision: makes the autocast in which losses are computed, once for each piece.
    """

    def differentiated(piece: Piece, networks: Any, trained: list[Tensor]) -> tuple[Losses, Sequence[Tensor | None]]:
        with precision():
            losses = piece(networks)
        total = summed(losses) * share
        nothing = [None] * len(trained)  # of a piece whose networks are all frozen
        gradients = torch.autograd.grad(total, trained, allow_unused=True) if total.requires_grad else nothing
        return {name: loss.detach() for name, loss in losses.items()}, gradients

    jobs = zip(pieces, readers.first(len(pieces)), strict=True)
    found: Losses = {}
    for losses, gradients in side_by_side([partial(differentiated, piece, *reader) for piece, reader in jobs]):
        found |= losses
        for parameter, gradient in zip(readers.parameters, gradients, strict=True):
            if gradient is not None:
                gradient = gradient.contiguous()  # as parameters are: Adam walks through both in memory order
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    return found
