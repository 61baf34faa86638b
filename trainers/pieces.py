"""The pieces that an update's losses fall into, and their gradients, computed side by side.

A term trains networks of its own: critic, V(s), flow and judge share no trained parameter, and what one reads of
another's networks (targets, V(s')) is not written to before all are done. So each is a piece of work with a backward
pass of its own. Gradients are added up in the order of the pieces afterwards, whichever was done first: an update is
the same bit for bit on any number of threads, also where terms train a network together.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor, nn

from vgf.config import TrainConfig
from vgf.nets import ActorCritic
from vgf.nets.mlp import hidden_weights
from vgf.side_by_side import evenly, side_by_side, side_threads
from vgf.trainers.judge import judge_pieces
from vgf.trainers.nonfinite import summed
from vgf.trainers.terms import Draw, Losses, Piece, Term

__all__ = ["Gradients", "Readers", "accumulated", "gradients_of", "losses_of", "pieces_of"]

Gradients = list[Tensor | None]


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
        networks: those that are trained and evaluated; their parameters have to stay where they are in memory.
        parameters: those of the networks that get gradients, by name.
        rounded: read the weights of hidden layers in bfloat16, as :meth:`round` has left them, instead of rounding them
            wherever autocast multiplies them. So each is rounded once an update, and its gradient is in bfloat16, also
            that of a network which one piece uses twice. What LayerNorm's scale was taken into is rounded again.
    """

    def __init__(self, networks: nn.Module, parameters: Mapping[str, Tensor], rounded: bool = False) -> None:
        self.parameters = list(parameters.values())
        self._names = list(parameters)
        self._networks = networks
        weights = {id(weight) for weight in hidden_weights(networks)} if rounded else set()
        self._weights = {name: p for name, p in networks.named_parameters() if id(p) in weights}
        self._rounded: dict[int, Tensor] = {}  # made when first read: not every trainer makes updates of its own
        self._readers: list[tuple[Any, list[Tensor]]] = [] if rounded else [(networks, self.parameters)]

    def round(self, unread: tuple[str, ...] = ()) -> None:
        """Take over the weights as they are now. Without ``rounded`` there is nothing to do.

        Args:
            unread: how the names of networks begin that nobody reads before the next call.
        """
        if self._rounded:
            read = [weight for name, weight in self._weights.items() if not name.startswith(unread)]
            side_by_side([partial(self._round, share) for share in evenly(read, side_threads())])

    @torch.no_grad()
    def _round(self, weights: list[Tensor]) -> None:
        torch._foreach_copy_([self._rounded[id(weight)] for weight in weights], weights)

    def first(self, count: int) -> list[tuple[Any, list[Tensor]]]:
        """That many readers' networks, and parameters in the order of these."""
        if not self._rounded:
            self._rounded = {id(weight): weight.detach().bfloat16() for weight in self._weights.values()}
        while len(self._readers) < count:
            read = {id(p): self._rounded.get(id(p), p.detach()) for p in self._networks.parameters()}
            own = copy.deepcopy(
                self._networks, {id(p): nn.Parameter(read[id(p)], p.requires_grad) for p in self._networks.parameters()}
            )
            named = dict(own.named_parameters())
            self._readers.append((own, [named[name] for name in self._names]))
        return self._readers[:count]


def gradients_of(
    pieces: Sequence[Piece],
    readers: Readers,
    precision: Callable[[], AbstractContextManager[Any]],
    share: float = 1.0,
) -> tuple[Losses, Gradients]:
    """Losses of all pieces, detached, and ``share`` of the gradient of their sum.

    Args:
        readers: of the weights as they were last rounded.
        precision: makes the autocast in which losses are computed, once for each piece.

    Returns:
        Losses, and gradients in the order of the readers' parameters; None: no piece depends on that one.
    """

    def differentiated(piece: Piece, networks: Any, trained: list[Tensor]) -> tuple[Losses, Gradients]:
        with precision():
            losses = piece(networks)
        total = summed(losses) * share
        nothing = [None] * len(trained)  # of a piece whose networks are all frozen
        found = torch.autograd.grad(total, trained, allow_unused=True) if total.requires_grad else nothing
        # Contiguous as parameters are: Adam walks through both in memory order.
        gradients = [gradient if gradient is None else gradient.contiguous() for gradient in found]
        return {name: loss.detach() for name, loss in losses.items()}, gradients

    jobs = zip(pieces, readers.first(len(pieces)), strict=True)
    parts = side_by_side([partial(differentiated, piece, *reader) for piece, reader in jobs])
    losses = {name: loss for found, _ in parts for name, loss in found.items()}
    return losses, reduce(_added, (gradients for _, gradients in parts))


def accumulated(parts: Iterable[tuple[Losses, Gradients]]) -> tuple[Losses, Gradients]:
    """Mean losses of micro-batches, and the sum of their gradients."""
    first, gradients = next(parts := iter(parts))
    losses = [first]
    for found, more in parts:
        losses.append(found)
        gradients = _added(gradients, more)
    if len(losses) == 1:
        return first, gradients
    return {name: torch.stack([found[name] for found in losses]).mean(0) for name in first}, gradients


def _added(some: Gradients, others: Gradients) -> Gradients:
    """Sums in float32, also of two that are in bfloat16, of different pieces or micro-batches."""
    pairs = zip(some, others, strict=True)
    return [b if a is None else a if b is None else a.float() + b for a, b in pairs]
