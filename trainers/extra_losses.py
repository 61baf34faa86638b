r"""Losses of the networks that only some rules need, trained beside the reference flow and the critic.

Each trains no network but its own.

gradient (A-VGF), on data actions only:
    :math:`\| f(s,a) - \nabla_a \tfrac1E \sum_e Q_e(s,a) \|^2`

noisy (RobustQ):
    :math:`\sum_e (Q_{r,e}(s, x_t, t) - \bar Q_e(s,a))^2, \; x_t = (1-t) x_0 + t a`

optimal (CFGRL, advantage threshold 0):
    :math:`1\{\bar Q(s,a) > V(s)\} \, \| v_o(s, x_t, t) - (a - x_0) \|^2`

flow_map (QPILOTS-M): u* the posterior velocity (GLASS, ``transport/posterior.py``), s < u inner times,
    :math:`\| w(s,s,I_s) - u^* \|^2 + \tfrac12 \| w(s,u,I_s) - [\gamma w(s,m,I_s) + (1-\gamma) w(m,u,I_m)] \|^2`
    with m = s + gamma (u - s), I_m = I_s + (m - s) w(s,m,I_s), no gradient through the bracket.

Deviations and choices: CFGRL's one network with a condition flag is two networks here, the reference being the
unconditional one. QPILOTS does not say which consistency loss it takes; this is the one without a
Jacobian-vector product (PSD). lambda_diag = 1, lambda_cons = 0.5 are the paper's. The outer time is uniform with a
tenth at zero, inner times s < u are sorted uniforms; outer time and s stay below 0.99, where the target's divisions by
1 - t and 1 - s are still harmless. The flow map's target follows at ``train.target_rate``. These networks keep GELU and
LayerNorm whatever ``net.activation`` and ``net.policy_norm`` say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from vgf.config import Config, TrainConfig
from vgf.losses import flow_matching_pair, masked_mean
from vgf.nets import ActorCritic
from vgf.nets.extras import FlowMap
from vgf.trainers.cloning import flow_matching
from vgf.trainers.terms import Draw, Losses, Term
from vgf.transport.gradient import gradient_at
from vgf.transport.landscape import aggregate_heads
from vgf.transport.posterior import glass_velocity

__all__ = ["EXTRA_LOSSES", "action_gradient", "extra_terms"]

_CONSISTENCY = 0.5
_ZERO_OUTER_TIME = 0.1
_LAST_TIME = 0.99


def action_gradient(q: Callable[[Tensor, Tensor], Tensor], s: Tensor, a: Tensor) -> Tensor:
    """Gradient of a sum of critic values with respect to the actions: [B, D]."""
    return gradient_at(lambda a: q(s, a).sum(), a)


def _gradient(nets: ActorCritic, draw: Draw, config: TrainConfig) -> Losses:
    s, a = draw.batch.observations, draw.batch.actions
    target = action_gradient(lambda s, a: nets.critic(s, a).mean(0), s, a)  # [B, D]
    error = (nets.extras["gradient"](s, a) - target).square()
    return {"gradient/loss": masked_mean(error, draw.batch.valid_actions)}


def _noisy(nets: ActorCritic, draw: Draw, config: TrainConfig) -> Losses:
    s, a = draw.batch.observations, draw.batch.actions
    x_t, _ = flow_matching_pair(a, draw.noise, draw.t)
    with torch.no_grad():
        q = nets.target_critic(s, a)  # [E, B]
    error = (nets.extras["noisy"](s, x_t, draw.t) - q).square().sum(0)
    return {"noisy/loss": masked_mean(error, draw.batch.valid)}


def _optimal(nets: ActorCritic, draw: Draw, config: TrainConfig) -> Losses:
    s, a = draw.batch.actor_observations, draw.batch.actions
    with torch.no_grad():
        advantage = aggregate_heads(nets.target_critic(s, a), config.aggregate) - nets.value(s)
        better = (advantage > 0).to(a.dtype).unsqueeze(-1)  # [B, 1]
    error = flow_matching(nets.extras["optimal"], draw)
    return {"optimal/loss": masked_mean(error, better * draw.batch.valid_actions)}


def _flow_map(nets: ActorCritic, draw: Draw, config: TrainConfig) -> Losses:
    c, a, w = draw.batch.actor_observations, draw.batch.actions, cast(FlowMap, nets.extras["flow_map"]).average
    spare = draw.spare["flow_map"]
    eps, uniform = spare[:, :-5], torch.special.ndtr(spare[:, -5:])  # [B, D], [B, 5]
    outer, coin, s, u, gamma = uniform.split(1, dim=1)
    outer = (outer * (coin > _ZERO_OUTER_TIME)).clamp_max(_LAST_TIME)  # rounding can make a draw exactly 1
    s, u = _LAST_TIME * torch.minimum(s, u), torch.maximum(s, u)
    x_t, _ = flow_matching_pair(a, draw.noise, outer)
    inner, _ = flow_matching_pair(a, eps, s)

    with torch.no_grad():
        exact = glass_velocity(nets.velocity, c, x_t, outer, inner, s)
        m = s + gamma * (u - s)
        first = w(c, x_t, outer, inner, s, m)
        composed = gamma * first + (1 - gamma) * w(c, x_t, outer, inner + (m - s) * first, m, u)
    diagonal = (w(c, x_t, outer, inner, s, s) - exact).square()
    consistency = (w(c, x_t, outer, inner, s, u) - composed).square()
    return {"flow_map/loss": masked_mean(diagonal + _CONSISTENCY * consistency, draw.batch.valid_actions)}


def extra_terms(config: Config) -> dict[str, Term]:
    """The losses of the extras that are configured, by name."""
    return {name: EXTRA_LOSSES[name] for name in config.net.extras}


EXTRA_LOSSES: dict[str, Term] = {
    "gradient": Term(_gradient),
    "noisy": Term(_noisy),
    "optimal": Term(_optimal),
    "flow_map": Term(_flow_map, spare=lambda sizes, config: sizes.particle + 5),
}
