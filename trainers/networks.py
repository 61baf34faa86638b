"""Which networks a run has, from its configuration and its data."""

from __future__ import annotations

from vgf.config import Config
from vgf.nets import NetSizes
from vgf.problem import Problem

__all__ = ["network_sizes"]


def network_sizes(config: Config, problem: Problem, observation_size: int) -> NetSizes:
    """Sizes of a run's networks; there is a judge where there are held-out episodes to train it on."""
    net = config.net
    return NetSizes(
        observation=observation_size,
        action=problem.action_size,
        chunk=config.train.chunk,
        hidden=net.hidden,
        layers=net.layers,
        heads=net.heads,
        extras=tuple(net.extras),
        reference=net.reference,
        policy=net.policy,
        judge=net.judge and problem.validation is not None,
        activation=net.activation,
        policy_norm=net.policy_norm,
    )
