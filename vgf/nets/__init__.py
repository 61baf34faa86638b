"""Networks: multi-layer perceptrons, one or an ensemble of them at the cost of one matmul a layer."""

from vgf.nets.actor_critic import ActorCritic, NetSizes
from vgf.nets.mlp import MLP

__all__ = ["MLP", "ActorCritic", "NetSizes"]
