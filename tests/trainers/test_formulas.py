"""Losses of baselines and extras against their formulas, written out once more: a wrong sign or mask fails here."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from small import problem, reached, small_config
from torch.autograd import grad

from vgf.trainers.cloning import CLONING
from vgf.trainers.extra_losses import EXTRA_LOSSES
from vgf.trainers.fql import fql_losses
from vgf.trainers.loop import Trainer
from vgf.trainers.pieces import losses_of
from vgf.trainers.qam import adjoint_path, control_scale, qam_losses
from vgf.trainers.rebrac import rebrac_losses
from vgf.trainers.terms import Draw
from vgf.transport.landscape import aggregate_heads

CPU = torch.device("cpu")
CONFIGS = Path(__file__).parents[2] / "configs" / "trainer"
close = {"rel": 1e-4}


@torch.enable_grad()
def trainer_of(name: str, **changes) -> tuple[Trainer, Draw]:
    """A trainer after a few updates, and a draw with chunks that cross episode ends."""
    plain = OmegaConf.structured(small_config(train__precision="float32", train__batch_size=32))
    file = OmegaConf.create((CONFIGS / f"{name}.yaml").read_text())
    config = OmegaConf.to_object(OmegaConf.merge(plain, file))
    for path, value in changes.items():
        *groups, last = path.split("__")
        target = config
        for group in groups:
            target = getattr(target, group)
        setattr(target, last, value)
    objective = importlib.import_module(f"vgf.trainers.{name}").objective(config)
    trainer = Trainer(config, problem(), CPU, objective)
    for _ in range(4):
        trainer.advance()
    draw = trainer.draw(trainer.data, trainer.streams["batches"], trainer.streams)
    assert 0 < draw.batch.valid.sum() < 32
    return trainer, draw


def trained(name: str, **changes):
    """Networks, draw and configuration."""
    trainer, draw = trainer_of(name, **changes)
    return trainer.networks, draw, trainer.config


OWN = {"critic/loss": "q", "value/loss": "v", "flow/loss": "flow", "actor/loss": "policy"}


@pytest.mark.parametrize("name", ["offline", "fql", "rebrac", "qam"])
def test_every_loss_trains_its_own_network_and_no_other(name):
    extras = list(EXTRA_LOSSES) if name == "offline" else []
    trainer, draw = trainer_of(name, net__extras=extras)
    losses = losses_of(trainer.networks, trainer.objective, trainer.config, draw)
    own = OWN | {f"{extra}/loss": f"extras.{extra}" for extra in extras}
    for loss in (key for key in losses if key.endswith("/loss")):
        assert reached(trainer.networks, losses[loss]) == {own[loss]}, loss


def critic_loss(nets, batch, next_value) -> float:
    q = nets.critic(batch.observations, batch.actions)
    y = batch.returns + batch.discounts * next_value
    return float((((q - y) ** 2).sum(0) * batch.valid).mean())


@torch.no_grad()
def test_cloning():
    nets, draw, config = trained("offline")
    b = draw.batch
    x_t = (1 - draw.t) * draw.noise + draw.t * b.actions
    miss = nets.velocity(b.observations, x_t, draw.t) - (b.actions - draw.noise)
    loss = CLONING["flow"].losses(nets, draw, config)["flow/loss"]
    assert float(loss) == pytest.approx(float((miss**2 * b.valid_actions).mean()), **close)

    nets, draw, config = trained("offline", net__reference="gaussian")
    b = draw.batch
    mean, log_std = nets.flow.moments(b.observations)
    surprise = -torch.distributions.Normal(mean, log_std.exp()).log_prob(b.actions) - 0.5 * math.log(2 * math.pi)
    loss = CLONING["gaussian"].losses(nets, draw, config)["flow/loss"]
    assert float(loss) == pytest.approx(float((surprise * b.valid_actions).mean()), **close)


@torch.no_grad()
def test_fql():
    nets, draw, config = trained("fql", train__actor__alpha=7.0)
    b = draw.batch
    z, next_z = draw.spare["fql"].chunk(2, dim=-1)
    losses = fql_losses(nets, draw, config)
    after = nets.policy.action(b.next_observations, next_z).clamp(-1, 1)
    next_value = nets.target_critic(b.next_observations, after).mean(0)  # FQL averages the heads
    assert float(losses["critic/loss"]) == pytest.approx(critic_loss(nets, b, next_value), **close)
    x = z
    for k in range(10):
        x = x + nets.flow.velocity(b.observations, x, torch.full((32, 1), k / 10)) / 10
    action = nets.policy.action(b.observations, z)
    distance = (((action - x.clamp(-1, 1)) ** 2) * b.valid_actions).mean()
    q = nets.critic(b.observations, action.clamp(-1, 1)).mean(0).mean()
    assert float(losses["actor/loss"]) == pytest.approx(float(7.0 * distance - q), **close)


@torch.no_grad()
def test_rebrac():
    nets, draw, config = trained("rebrac", train__actor__alpha=0.3, train__actor__critic_alpha=2.0)
    b = draw.batch
    losses = rebrac_losses(nets, draw, config)
    noise = (0.2 * draw.spare["rebrac"]).clamp(-0.5, 0.5)
    after = (nets.policy.target_action(b.next_observations) + noise).clamp(-1, 1)
    strayed = ((after - b.next_actions) ** 2).sum(1) * b.next_valid
    assert strayed.max() > 0
    next_value = nets.target_critic(b.next_observations, after).amin(0) - 2.0 * strayed
    assert float(losses["critic/loss"]) == pytest.approx(critic_loss(nets, b, next_value), **close)
    action = nets.policy.action(b.observations)
    cloned = (((action - b.actions) ** 2) * b.valid_actions).sum(1).mean()
    q = nets.critic(b.observations, action).amin(0)
    expected = 0.3 * cloned - q.mean() / q.abs().mean()
    assert float(losses["actor/loss"]) == pytest.approx(float(expected), **close)


@pytest.mark.parametrize(("name", "loss_of"), [("rebrac", rebrac_losses), ("fql", fql_losses)])
def test_policies_climb_values_whose_scale_is_held_fixed(name, loss_of):
    """Values over their mean size; that size is no way to climb."""
    nets, draw, config = trained(name, train__actor__alpha=0.0, train__actor__normalize_q=True)
    s = draw.batch.observations
    noise = draw.spare["fql"].chunk(2, dim=-1)[:1] if name == "fql" else ()
    action = nets.policy.action(s, *noise).clamp(-1, 1)
    q = aggregate_heads(nets.critic(s, action), config.aggregate)
    online = [p for p in nets.policy.parameters() if p.requires_grad]
    climbed = grad(-q.mean() / q.detach().abs().mean(), online)
    torch.testing.assert_close(grad(loss_of(nets, draw, config)["actor/loss"], online), climbed)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "loss_of", "changes"),
    [
        ("rebrac", rebrac_losses, {}),
        ("fql", fql_losses, {}),
        ("qam", qam_losses, {}),
        ("offline", CLONING["flow"].losses, {}),
        ("offline", CLONING["gaussian"].losses, {"net__reference": "gaussian"}),
        ("offline", EXTRA_LOSSES["optimal"].losses, {"net__extras": ["optimal"]}),
        ("offline", EXTRA_LOSSES["flow_map"].losses, {"net__extras": ["flow_map"]}),
    ],
    ids=["rebrac", "fql", "qam", "flow", "gaussian", "optimal", "flow_map"],
)
def test_policies_learn_under_the_goals_that_a_cloned_source_sees(name, loss_of, changes):
    """With goals the policy has its own; without, both are the same observations and the other tests' formulas hold."""
    nets, draw, config = trained(name, **changes)
    assert draw.batch.actor_observations is draw.batch.observations
    shown = draw.batch.observations.flip(0)
    seen = replace(draw, batch=replace(draw.batch, actor_observations=shown))
    both = replace(seen, batch=replace(seen.batch, observations=shown))
    plain, own, all_shown = (loss_of(nets, one, config) for one in (draw, seen, both))
    for key in own:
        if key.startswith("critic/"):
            assert torch.equal(own[key], plain[key])
        else:
            assert torch.equal(own[key], all_shown[key])
            assert not torch.equal(own[key], plain[key])


def test_qam():
    nets, draw, config = trained("qam", train__actor__inverse_temperature=0.7)
    s = draw.batch.observations
    noise = draw.spare["qam"].view(32, 10, -1).transpose(0, 1)

    def climb(x):
        x = x.clamp(-1, 1).detach().requires_grad_()
        return 0.7 * grad(nets.target_critic(s, x).mean(0).sum(), x)[0]  # not train.aggregate

    total = 0.0
    for k, (x, adjoint) in enumerate(adjoint_path(nets.policy.velocity, nets.flow.velocity, climb, s, noise)[:-1]):
        t, sigma = torch.full((32, 1), k / 10), (2 * control_scale(k, 10)) ** 0.5
        apart = nets.policy.velocity(s, x, t) - nets.flow.velocity(s, x, t)
        total += float((2 / sigma * apart + sigma * adjoint).square().mean().detach())
    loss = qam_losses(nets, draw, config)["actor/loss"]
    assert float(loss.detach()) == pytest.approx(total / 9, **close)


def extras(name: str):
    return trained("offline", net__extras=[name])


@torch.no_grad()
def test_gradient_and_noisy():
    nets, draw, config = extras("gradient")
    b = draw.batch
    h, goal = 1e-2, torch.zeros_like(b.actions)
    for d in range(goal.shape[1]):
        shift = torch.zeros(goal.shape[1])
        shift[d] = h
        up, down = (nets.critic(b.observations, b.actions + sign * shift).mean(0) for sign in (1, -1))
        goal[:, d] = (up - down) / (2 * h)
    error = (nets.extras["gradient"](b.observations, b.actions) - goal) ** 2
    loss = EXTRA_LOSSES["gradient"].losses(nets, draw, config)["gradient/loss"]
    assert float(loss) == pytest.approx(float((error * b.valid_actions).mean()), rel=0.02)

    nets, draw, config = extras("noisy")
    b = draw.batch
    x_t = (1 - draw.t) * draw.noise + draw.t * b.actions
    error = (nets.extras["noisy"](b.observations, x_t, draw.t) - nets.target_critic(b.observations, b.actions)) ** 2
    loss = EXTRA_LOSSES["noisy"].losses(nets, draw, config)["noisy/loss"]
    assert float(loss) == pytest.approx(float((error.sum(0) * b.valid).mean()), **close)


@torch.no_grad()
def test_optimal_clones_the_better_actions_only():
    nets, draw, config = extras("optimal")
    b = draw.batch
    better = nets.target_critic(b.observations, b.actions).amin(0) > nets.value(b.observations)
    assert better.any()
    assert not better.all()
    x_t = (1 - draw.t) * draw.noise + draw.t * b.actions
    error = (nets.extras["optimal"](b.observations, x_t, draw.t) - (b.actions - draw.noise)) ** 2
    expected = (error * better[:, None] * b.valid_actions).mean()
    loss = EXTRA_LOSSES["optimal"].losses(nets, draw, config)["optimal/loss"]
    assert float(loss) == pytest.approx(float(expected), **close)


def test_flow_map_learns_from_two_steps_that_are_held_fixed_and_survives_extreme_draws():
    nets, draw, config = extras("flow_map")
    b, w = draw.batch, nets.extras["flow_map"].average
    spare = draw.spare["flow_map"]
    eps, u5 = spare[:, :-5], torch.special.ndtr(spare[:, -5:])
    outer = torch.where(u5[:, 1:2] > 0.1, u5[:, 0:1], 0.0).clamp_max(0.99)
    s, u = 0.99 * torch.minimum(u5[:, 2:3], u5[:, 3:4]), torch.maximum(u5[:, 2:3], u5[:, 3:4])
    gamma = u5[:, 4:5]
    x_t = (1 - outer) * draw.noise + outer * b.actions
    inner = (1 - s) * eps + s * b.actions
    m = s + gamma * (u - s)
    c = b.observations
    first = w(c, x_t, outer, inner, s, m)
    second = w(c, x_t, outer, inner + (m - s) * first, m, u)
    composed = (gamma * first + (1 - gamma) * second).detach()
    consistency = (w(c, x_t, outer, inner, s, u) - composed) ** 2
    rho = ((s / (1 - s)) ** 2 + (outer / (1 - outer)) ** 2).sqrt()
    t_star = rho / (1 + rho)
    merged = t_star / rho**2 * (outer / (1 - outer) ** 2 * x_t + s / (1 - s) ** 2 * inner)
    clean = merged + (1 - t_star) * nets.velocity(c, merged, t_star)
    diagonal = (w(c, x_t, outer, inner, s, s) - (clean - inner) / (1 - s)) ** 2
    expected = ((diagonal + 0.5 * consistency) * b.valid_actions).mean()
    loss = EXTRA_LOSSES["flow_map"].losses(nets, draw, config)["flow_map/loss"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)
    online = [p for p in nets.extras["flow_map"].parameters() if p.requires_grad]
    torch.testing.assert_close(grad(loss, online), grad(expected, online), rtol=1e-3, atol=1e-5)

    for extreme in (9.0, -9.0):  # Phi(9) is 1 and Phi(-9) is 0 in float32
        draw.spare["flow_map"][:, -5:] = extreme
        assert EXTRA_LOSSES["flow_map"].losses(nets, draw, config)["flow_map/loss"].isfinite()
