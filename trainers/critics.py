r"""Critic losses, by the name ``train.critic`` gives them. The target is y = R_n + gamma^n m V', what differs is V'.

``iql``    V' = V(s'), V by expectile regression on the data's actions (IQL; QGF):
           :math:`L_V = L_2^\tau(\bar Q(s,a) - V(s))`
``sql``    V' = V(s'), V by the sparse regression of SQL (VGF's code, ``sql-q``; its ``iql-q`` is ``iql``)
``sarsa``  V' = Q-bar(s', a'), a' the data's next action (QPILOTS on LIBERO)
``td``     V' = the mean of Q-bar(s', X_i) over particles X_i that value gradients have moved. VGF: SVGD by the
           online critic, N particles, the target critic values them. QPILOTS: one particle, steered by the
           target critic, mean - rho * std over ten heads. ``rule=best_of_n`` does not move: TD on the source.

Q-bar are the target heads reduced by ``train.aggregate``; every head regresses on the same y, in all four.
Sources: arXiv 2110.06169 (IQL), 2303.15810 (SQL), VGF 2604.14265 and its code, QPILOTS 2606.14801.

A chunk that crosses its episode's end has no weight in the critic's loss; V(s) is fitted on it all the same, as in
QGF's code. Deviations: VGF keeps the transport of a TD target free of gradients, and so do we; its ``sql-q`` trains a
second value head for the online phase, which is left out. QPILOTS steers with target networks throughout; here the
flow has no target, only the critic does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vgf.config import TrainConfig
from vgf.losses import expectile_loss, masked_mean, sql_loss, td_target
from vgf.nets import ActorCritic, Critics, NetSizes
from vgf.nets.extras import networks_for
from vgf.side_by_side import side_by_side
from vgf.trainers.terms import Draw, Losses, Term
from vgf.transport import Budget, get_rule, transport
from vgf.transport.gradient import is_inside_vmap
from vgf.transport.landscape import aggregate_heads

__all__ = ["CRITICS", "IN_SAMPLE", "bellman", "frozen_value", "transported_value"]

_ROWS = 1280  # particles times heads at a time in a TD target: at 512 units they stay in a core's cache


def bellman(nets: Critics, draw: Draw, next_value: Tensor, weight: Tensor) -> Losses:
    """Square loss of every head against R + discount * V': next_value, weight [B]."""
    batch = draw.batch
    y = td_target(batch.returns, batch.discounts, next_value)  # [B]
    q = nets.critic(batch.observations, batch.actions)  # [E, B]
    return {
        "critic/loss": masked_mean((q - y).square().sum(0), weight),
        "critic/q_mean": q.detach().mean(),
    }


def frozen_value(nets: Critics, s: Tensor, a: Tensor, aggregate: str) -> Tensor:
    """Aggregated online heads of Q(s, a), whose gradient reaches the actions and no critic: [B].

    The heads' parameters are exchanged meanwhile for detached ones of the same values; other threads read the heads
    through networks of their own.
    """
    fixed = {name: parameter.detach() for name, parameter in nets.q.named_parameters()}
    heads = functional_call(nets.q, fixed, (torch.cat([s, a], dim=-1),)).squeeze(-1)  # [E, B]
    return aggregate_heads(heads, aggregate)


def _on_value(nets: Critics, draw: Draw, config: TrainConfig) -> Losses:
    """TD on V(s')."""
    with torch.no_grad():
        next_value = nets.value(draw.batch.next_observations)  # [B]
    return bellman(nets, draw, next_value, draw.batch.valid)


def _value(nets: Critics, draw: Draw, config: TrainConfig, *, sparse: bool = False) -> Losses:
    """IQL (expectile) or SQL (sparse) value regression: neither ever asks about an action outside the data."""
    s, a = draw.batch.observations, draw.batch.actions
    with torch.no_grad():
        q_target = aggregate_heads(nets.target_critic(s, a), config.aggregate)  # [B]
    diff = q_target - nets.value(s)
    loss = sql_loss(diff, config.sql_alpha) if sparse else expectile_loss(diff, config.expectile)
    return {"value/loss": loss.mean()}


def _sarsa(nets: ActorCritic, draw: Draw, config: TrainConfig) -> Losses:
    batch = draw.batch
    with torch.no_grad():
        heads = nets.target_critic(batch.next_observations, batch.next_actions)
        next_value = aggregate_heads(heads, config.aggregate)
    # Where the data end before the next chunk does, there is no next action; a true terminal needs none.
    known = torch.where(batch.discounts == 0, torch.ones_like(batch.valid), batch.next_valid)
    return bellman(nets, draw, next_value * known, batch.valid * known)


def transported_value(nets: ActorCritic, s: Tensor, noise: Tensor, config: TrainConfig) -> Tensor:
    """Mean target value of moved particles: s [B, S], noise [B, N, D] -> [B]."""
    how = config.td
    target = nets.target_critic.prepared()
    critic = nets.critic.prepared() if how.moved_by == "online" else target
    velocity = nets.velocity.prepared()

    def of_rows(s: Tensor, noise: Tensor) -> Tensor:
        particles = transport(
            how.rule,
            s,
            noise,
            budget=Budget(how.steps, how.size),
            critic=critic,
            velocity=velocity,
            flow_steps=nets.source.steps or config.flow_steps,
            aggregate=how.aggregate,
            alpha=how.alpha,
            start_is_noise=True,
            twins=False,
            values=False,
            **networks_for(get_rule(how.rule).options, nets.extras),
        ).particles  # [B, N, D]
        heads = target.given(s, noise.shape[1])(particles.flatten(0, 1))  # [E, B*N]
        return aggregate_heads(heads, config.aggregate).view(noise.shape[:2]).mean(1)

    return _by_rows(of_rows, nets, s, noise)


def _by_rows(function: Callable[[Tensor, Tensor], Tensor], nets: Critics, s: Tensor, noise: Tensor) -> Tensor:
    """``function`` of a few contexts at a time, side by side: no context depends on the others.

    What is computed for a few stays in a core's cache. Their number does not depend on the threads, and so neither
    does the rounding of the matrix products.
    """
    if torch.compiler.is_compiling() or is_inside_vmap() or s.is_cuda:
        return function(s, noise)
    few = max(1, _ROWS // (nets.q.heads * noise.shape[1]))
    shares = zip(s.split(few), noise.split(few), strict=True)
    with _constant(nets):  # threads may share parameters that have no gradient (pieces.Readers)
        return torch.cat(side_by_side([partial(function, *share) for share in shares]))


@contextmanager
def _constant(nets: nn.Module) -> Iterator[None]:
    """No graph that is made meanwhile leads to the networks' parameters."""
    trained = [parameter for parameter in nets.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _td(nets: ActorCritic, draw: Draw, config: TrainConfig) -> Losses:
    noise = draw.spare["critic"].view(len(draw.noise), config.td.particles, -1)  # [B, N, D]
    with torch.no_grad():
        next_value = transported_value(nets, draw.batch.next_observations, noise, config)
    return bellman(nets, draw, next_value, draw.batch.valid)


def _particles(sizes: NetSizes, config: TrainConfig) -> int:
    return config.td.particles * sizes.particle


IN_SAMPLE = {"critic": _on_value, "value": _value}  # IQL's losses, of anything that has critics and a value

CRITICS: dict[str, dict[str, Term]] = {
    "iql": {"critic": Term(_on_value), "value": Term(_value)},
    "sql": {"critic": Term(_on_value), "value": Term(partial(_value, sparse=True))},
    "sarsa": {"critic": Term(_sarsa)},
    "td": {"critic": Term(_td, spare=_particles)},
}
