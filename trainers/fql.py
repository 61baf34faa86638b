r"""FQL, Flow Q-Learning (Park, Li, Levine 2025, arXiv 2502.02538): a one-step policy near the flow that climbs Q.

.. math::
    L_Q   &= \big( Q(s,a) - r - \gamma \bar Q(s', g(s', z')) \big)^2 \\
    L_v   &= \| v(s, x_t, t) - (a - x_0) \|^2 \\
    L_g   &= \alpha \| g(s,z) - \mathrm{ODE}_v(s,z) \|^2 - Q(s, g(s,z)), \quad z \sim N(0, I)

The distillation term bounds W_2 between policy and reference from above; alpha is its weight (``train.actor.alpha``),
chosen at training time, where a transport budget is chosen per call. The policy replaces the reference as the source
of particles: every transport rule can move it further. With goals, the policy is trained on those that the cloned flow
sees, and the critic on its own.

Deviations: chunks and n-step returns as in :mod:`vgf.trainers.offline`; in the TD target heads are reduced by
``train.aggregate``; the actor climbs their mean, as in the paper.
"""

from __future__ import annotations

import torch

from vgf.config import Config, TrainConfig
from vgf.losses import masked_mean
from vgf.nets import ActorCritic
from vgf.nets.sources import OneStep
from vgf.problem import Problem
from vgf.rundir import RunDirectory
from vgf.trainers import loop
from vgf.trainers.cloning import CLONING
from vgf.trainers.critics import bellman, frozen_value
from vgf.trainers.extra_losses import extra_terms
from vgf.trainers.terms import Draw, Losses, Term
from vgf.transport.landscape import aggregate_heads

__all__ = ["fql_losses", "integrate", "objective", "train"]


def fql_losses(nets: ActorCritic, draw: Draw, config: TrainConfig) -> Losses:
    """Critic and one-step policy; the flow's own loss is a term of its own."""
    policy = nets.policy
    assert isinstance(policy, OneStep)
    s, after = draw.batch.actor_observations, draw.batch.next_observations
    z, next_z = draw.spare["fql"].chunk(2, dim=-1)  # [B, D] each

    with torch.no_grad():
        next_action = policy.action(after, next_z).clamp(-1, 1)
        next_value = aggregate_heads(nets.target_critic(after, next_action), config.aggregate)
        cloned = integrate(nets, s, z, config.flow_steps)

    action = policy.action(s, z)
    distillation = masked_mean((action - cloned).square(), draw.batch.valid_actions)
    q = frozen_value(nets, s, action.clamp(-1, 1), "mean")
    scale = 1 / q.abs().mean().detach() if config.actor.normalize_q else 1.0
    return bellman(nets, draw, next_value, draw.batch.valid) | {
        "actor/loss": config.actor.alpha * distillation - scale * q.mean(),
        "actor/distance": distillation.detach(),
    }


def integrate(nets: ActorCritic, s: torch.Tensor, z: torch.Tensor, steps: int) -> torch.Tensor:
    """The cloned flow's action for noise z: [B, D], clipped to the box."""
    x = z
    for k in range(steps):
        x = x + nets.flow.velocity(s, x, z.new_full((len(z), 1), k / steps)) / steps
    return x.clamp(-1, 1)


def objective(config: Config) -> dict[str, Term]:
    """What is minimised, term by term."""
    return {
        "cloning": CLONING[config.net.reference],
        "fql": Term(fql_losses, spare=lambda sizes, config: 2 * sizes.particle),
        **extra_terms(config),
    }


def train(config: Config, problem: Problem, run: RunDirectory, device: torch.device) -> int:
    """Train flow, critic and one-step policy; see :func:`vgf.trainers.loop.train`."""
    return loop.train(config, problem, run, device, objective(config))
