"""Networks: multi-layer perceptrons, one or an ensemble of them at the cost of one matmul a layer.

``mlp``     the building block            ``actor_critic``  all networks of a run
``sources`` carry noise to actions        ``extras``        what single transport rules need besides
"""

from vgf.nets.actor_critic import ActorCritic, Critics, NetSizes
from vgf.nets.mlp import MLP

__all__ = ["MLP", "ActorCritic", "Critics", "NetSizes"]
