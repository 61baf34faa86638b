"""The judge: an IQL critic of its own, trained on the held-out episodes. It values moved particles and never moves one.

Its networks, data, random stream and losses are apart from those of the critic that moves, so where the mover is
wrong about an action the judge is wrong in another way: a value that only the mover sees is exploitation. It is updated
one time in three: it has a tenth of the data, and an update of its own costs nearly as much as the rest.
"""

from __future__ import annotations

from vgf.config import TrainConfig
from vgf.nets import ActorCritic
from vgf.trainers.critics import in_sample
from vgf.trainers.terms import Draw, Losses

__all__ = ["judge_losses"]


def judge_losses(nets: ActorCritic, held_out: Draw, config: TrainConfig) -> Losses:
    """IQL losses of the judge on a draw from held-out episodes."""
    assert nets.judge is not None
    return {f"judge/{name}": loss for name, loss in in_sample(nets.judge, held_out, config).items()}
