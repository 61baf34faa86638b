"""The judge: an IQL critic of its own, trained on the held-out episodes. It values moved particles and never moves one.

Its networks, data, random stream and losses are apart from those of the critic that moves, so where the mover is
wrong about an action the judge is wrong in another way: a value that only the mover sees is exploitation. It is updated
one time in three: it has a tenth of the data, and an update of its own costs nearly as much as the rest. Its target
follows at every update of the run all the same, so between two of the judge's it takes three steps towards it.
"""

from __future__ import annotations

from functools import partial

from vgf.config import TrainConfig
from vgf.nets import ActorCritic
from vgf.trainers.critics import IN_SAMPLE
from vgf.trainers.terms import Draw, Losses, Piece

__all__ = ["judge_pieces"]


def judge_pieces(held_out: Draw, config: TrainConfig) -> list[Piece]:
    """IQL losses of the judge on a draw from held-out episodes."""

    def losses(name: str, nets: ActorCritic) -> Losses:
        assert nets.judge is not None
        found = IN_SAMPLE[name](nets.judge, held_out, config)
        return {f"judge/{key}": loss for key, loss in found.items()}

    return [partial(losses, name) for name in IN_SAMPLE]
