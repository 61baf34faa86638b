r"""ReBRAC (Tarasov et al. 2023, arXiv 2305.09836): TD3 with behaviour penalties in actor and critic.

.. math::
    a' &= \mathrm{clip}(\bar\mu(s') + \mathrm{clip}(\epsilon, \pm 0.5)), \quad \epsilon \sim N(0, 0.2^2) \\
    L_Q &= \big( Q(s,a) - r - \gamma [ \bar Q(s', a') - \beta_2 \| a' - a'_D \|^2 ] \big)^2 \\
    L_\mu &= \beta_1 \| \mu(s) - a \|^2 - \lambda Q(s, \mu(s)), \quad \lambda = 1 / \mathrm{mean}|Q|

a'_D is the data's next action. beta_1 is ``train.actor.alpha``, beta_2 ``train.actor.critic_alpha``. The actor is a
source that ignores its noise, so budget 0 is the actor and every transport rule can move it further.

With goals, the actor is trained on those that a cloned source sees, and the critic on its own.

Deviations: the actor is updated with every critic update (TD3 and ReBRAC: with every second). Where the data end
before s', there is no a'_D and no penalty.
"""

from __future__ import annotations

import torch

from vgf.config import Config, TrainConfig
from vgf.losses import masked_mean
from vgf.nets import ActorCritic
from vgf.nets.sources import Deterministic
from vgf.problem import Problem
from vgf.rundir import RunDirectory
from vgf.trainers import loop
from vgf.trainers.critics import bellman, frozen_value
from vgf.trainers.extra_losses import extra_terms
from vgf.trainers.terms import Draw, Losses, Term
from vgf.transport.landscape import aggregate_heads

__all__ = ["objective", "rebrac_losses", "train"]

_NOISE, _NOISE_CLIP = 0.2, 0.5


def rebrac_losses(nets: ActorCritic, draw: Draw, config: TrainConfig) -> Losses:
    """Critic and actor."""
    policy, batch = nets.policy, draw.batch
    assert isinstance(policy, Deterministic)
    s, after = batch.actor_observations, batch.next_observations

    with torch.no_grad():
        noise = (_NOISE * draw.spare["rebrac"]).clamp(-_NOISE_CLIP, _NOISE_CLIP)
        next_action = (policy.target_action(after) + noise).clamp(-1, 1)
        next_value = aggregate_heads(nets.target_critic(after, next_action), config.aggregate)
        strayed = (next_action - batch.next_actions).square().sum(-1) * batch.next_valid
        next_value = next_value - config.actor.critic_alpha * strayed

    action = policy.action(s)
    cloned = ((action - batch.actions).square() * batch.valid_actions).sum(-1).mean()
    q = frozen_value(nets, s, action, config.aggregate)
    return bellman(nets, draw, next_value, batch.valid) | {
        "actor/loss": config.actor.alpha * cloned - q.mean() / q.abs().mean().detach(),
        "actor/distance": masked_mean((action.detach() - batch.actions).square(), batch.valid_actions),
    }


def objective(config: Config) -> dict[str, Term]:
    """What is minimised, term by term."""
    return {"rebrac": Term(rebrac_losses, spare=lambda sizes, config: sizes.particle), **extra_terms(config)}


def train(config: Config, problem: Problem, run: RunDirectory, device: torch.device) -> int:
    """Train critic and actor; see :func:`vgf.trainers.loop.train`."""
    return loop.train(config, problem, run, device, objective(config))
