r"""Behaviour cloning of the reference, by the name of the source that is cloned.

``flow``      :math:`\| v(s, x_t, t) - (a - x_0) \|^2, \; x_t = (1 - t) x_0 + t a`  (flow matching)
``gaussian``  :math:`-\log N(a; \mu(s), \sigma(s)^2)` up to a constant

Entries of a chunk beyond its episode's end have no weight.
"""

from __future__ import annotations

from torch import Tensor

from vgf.config import TrainConfig
from vgf.losses import flow_matching_pair, masked_mean
from vgf.nets import ActorCritic
from vgf.nets.sources import Gaussian
from vgf.trainers.terms import Draw, Losses, Term
from vgf.transport.landscape import Velocity

__all__ = ["CLONING", "flow_matching"]


def flow_matching(velocity: Velocity, draw: Draw) -> Tensor:
    """Square error of a velocity on the draw's straight paths, elementwise: [B, D]."""
    x_t, u = flow_matching_pair(draw.batch.actions, draw.noise, draw.t)
    return (velocity(draw.batch.actor_observations, x_t, draw.t) - u).square()


def _flow(nets: ActorCritic, draw: Draw, config: TrainConfig) -> Losses:
    return {"flow/loss": masked_mean(flow_matching(nets.flow.velocity, draw), draw.batch.valid_actions)}


def _gaussian(nets: ActorCritic, draw: Draw, config: TrainConfig) -> Losses:
    assert isinstance(nets.flow, Gaussian)
    mean, log_std = nets.flow.moments(draw.batch.actor_observations)
    miss = (draw.batch.actions - mean) / log_std.exp()
    return {"flow/loss": masked_mean(0.5 * miss.square() + log_std, draw.batch.valid_actions)}


CLONING: dict[str, Term] = {"flow": Term(_flow), "gaussian": Term(_gaussian)}
