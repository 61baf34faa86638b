"""Every critic against plain loops, and settings of one that are another."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from small import problem, reached, small_config

from vgf import Budget, transport
from vgf.losses import sql_loss
from vgf.nets.extras import networks_for
from vgf.trainers import critics
from vgf.trainers.critics import CRITICS, frozen_value, transported_value
from vgf.trainers.loop import Trainer
from vgf.trainers.offline import objective
from vgf.trainers.pieces import Readers, gradients_of, losses_of, pieces_of
from vgf.transport import get_rule
from vgf.transport.landscape import aggregate_heads

CPU = torch.device("cpu")


def fixture(**changes):
    """Networks after a few updates, a draw, and the configuration."""
    config = small_config(**{"train__precision": "float32", "net__heads": 3, **changes})
    trainer = Trainer(config, problem(), CPU, objective(config))
    for _ in range(3):
        trainer.advance()
    draw = trainer.draw(trainer.data, trainer.streams["batches"], trainer.streams)
    return trainer.networks, draw, config.train


def expected_loss(nets, draw, next_value, weight):
    b, total = draw.batch, 0.0
    q = nets.critic(b.observations, b.actions)
    for i in range(len(weight)):
        y = b.returns[i] + b.discounts[i] * next_value[i]
        total += float((weight[i] * (q[:, i] - y).square().sum()).detach())
    return total / len(weight)


@pytest.mark.parametrize("name", list(CRITICS))
def test_losses_are_finite_and_reach_only_what_they_train(name):
    nets, draw, config = fixture(train__critic=name)
    losses = {k: v for k, v in losses_of(nets, CRITICS[name], config, draw).items() if k.endswith("/loss")}
    assert all(loss.isfinite() for loss in losses.values())
    value = {"value/loss": {"v"}} if name in ("iql", "sql") else {}
    assert {k: reached(nets, loss) for k, loss in losses.items()} == {"critic/loss": {"q"}} | value


@pytest.mark.parametrize("name", ["iql", "sql"])
@pytest.mark.parametrize("aggregate", ["min", "mean", "mean-0.5*std"])
def test_in_sample_critics(name, aggregate):
    nets, draw, config = fixture(train__critic=name, train__aggregate=aggregate, train__sql_alpha=0.7)
    b = draw.batch
    losses = losses_of(nets, CRITICS[name], config, draw)
    with torch.no_grad():
        assert float(losses["critic/loss"].detach()) == pytest.approx(
            expected_loss(nets, draw, nets.value(b.next_observations), b.valid), rel=1e-4
        )
        diff = aggregate_heads(nets.target_critic(b.observations, b.actions), aggregate) - nets.value(b.observations)
        expected = sql_loss(diff, 0.7) if name == "sql" else (config.expectile - (diff <= 0).float()).abs() * diff**2
    assert float(losses["value/loss"].detach()) == pytest.approx(float(expected.mean().detach()), rel=1e-4)


def test_sarsa_bootstraps_with_the_action_the_data_played_next():
    nets, draw, config = fixture(train__critic="sarsa", train__batch_size=64)
    b, data = draw.batch, problem().train
    with torch.no_grad():
        next_value = nets.target_critic(b.next_observations, b.next_actions).amin(0)
    known = b.next_valid.clone()
    known[b.discounts == 0] = 1
    assert 0 < known.sum() < len(known)
    assert (b.next_valid[known == 0] == 0).all()
    loss = CRITICS["sarsa"]["critic"].losses(nets, draw, config)["critic/loss"]
    assert float(loss.detach()) == pytest.approx(expected_loss(nets, draw, next_value, b.valid * known), rel=1e-4)
    # The next action of a row is the chunk two rows on (chunk 2), inside the same episode of seven.
    for i in range(64):
        row = int(np.flatnonzero((data["observations"] == b.observations[i].numpy()).all(1))[0])
        inside = row % 7 + 3 <= 6 and row + 3 < 60
        assert bool(b.next_valid[i]) == inside
        if inside:
            np.testing.assert_array_equal(b.next_actions[i].numpy(), data["actions"][row + 2 : row + 4].ravel())


@pytest.mark.parametrize(("moved_by", "value_aggregate"), [("online", "min"), ("target", "mean-0.5*std")])
@pytest.mark.parametrize("rule", ["vgf", "qpilots_u", "qpilots_m", "best_of_n"])
def test_td_values_moved_particles_by_the_target_critic(rule, moved_by, value_aggregate):
    td = {"rule": rule, "particles": 4, "steps": 2, "size": 0.1, "moved_by": moved_by, "alpha": 0.3}
    changes = {f"train__td__{k}": v for k, v in td.items()} | {"net__extras": ["flow_map"]}
    nets, draw, config = fixture(train__critic="td", train__aggregate=value_aggregate, **changes)
    s = draw.batch.next_observations
    noise = draw.spare["critic"].view(8, 4, -1)
    mover = nets.critic if moved_by == "online" else nets.target_critic
    moved = transport(
        rule, s, noise, budget=Budget(2, 0.1), critic=mover, velocity=nets.velocity, aggregate="mean", alpha=0.3,
        start_is_noise=True, **networks_for(get_rule(rule).options, nets.extras),
    ).particles  # fmt: skip
    with torch.no_grad():
        each = [aggregate_heads(nets.target_critic(s, moved[:, i]), value_aggregate) for i in range(4)]
    expected = torch.stack(each).mean(0)
    torch.testing.assert_close(transported_value(nets, s, noise, config), expected, rtol=1e-4, atol=1e-5)
    loss = CRITICS["td"]["critic"].losses(nets, draw, config)["critic/loss"]
    assert float(loss.detach()) == pytest.approx(expected_loss(nets, draw, expected, draw.batch.valid), rel=1e-4)


def test_a_td_target_in_shares_is_that_of_all_rows_at_once(monkeypatch):
    nets, draw, config = fixture(train__critic="td", train__td__particles=4)
    noise = draw.spare["critic"].view(8, 4, -1)
    with torch.no_grad():
        whole = transported_value(nets, draw.batch.next_observations, noise, config)
        for rows in (2, 8, 24):  # particles times two heads; a context keeps its own together
            monkeypatch.setattr(critics, "_ROWS", rows)
            shares = transported_value(nets, draw.batch.next_observations, noise, config)
            torch.testing.assert_close(shares, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("heads", "particles", "contexts"), [(2, 4, 3), (10, 1, 2), (10, 4, 1)])
def test_a_share_of_a_td_target_holds_so_many_particles_times_heads(monkeypatch, heads, particles, contexts):
    nets, draw, config = fixture(train__critic="td", train__td__particles=particles, net__heads=heads)
    seen = []
    monkeypatch.setattr(critics, "_ROWS", 24)

    def watched(rule, s, *rest, **options):
        seen.append(len(s))
        return transport(rule, s, *rest, **options)

    monkeypatch.setattr(critics, "transport", watched)
    with torch.no_grad():
        transported_value(nets, draw.batch.next_observations, draw.spare["critic"].view(8, particles, -1), config)
    assert max(seen) == contexts
    assert sum(seen) == 8


def test_a_loss_whose_networks_are_frozen_has_no_gradient():
    nets, draw, config = fixture()
    for parameter in nets.v.parameters():
        parameter.requires_grad_(False)
    pieces = pieces_of(CRITICS["iql"], config, draw)
    trained = {name: p for name, p in nets.named_parameters() if p.requires_grad}
    found, gradients = gradients_of(pieces, Readers(nets, trained), nullcontext, 0.5)
    assert set(found) == {"critic/loss", "critic/q_mean", "value/loss"}
    nets.zero_grad()
    losses_of(nets, {"critic": CRITICS["iql"]["critic"]}, config, draw)["critic/loss"].backward()
    ours = dict(zip(trained, gradients, strict=True))
    for name, parameter in nets.q.named_parameters():
        torch.testing.assert_close(ours[f"q.{name}"], 0.5 * parameter.grad)
    assert all(ours[f"flow.{name}"] is None for name, _ in nets.flow.named_parameters())


def test_td_without_moves_is_td_on_the_source_for_every_rule():
    targets = []
    for rule in ("vgf", "qgf", "best_of_n"):
        nets, draw, config = fixture(train__critic="td", train__td__rule="best_of_n", train__td__particles=3)
        config.td.rule, config.td.size, config.td.steps = rule, 0.0, 0
        noise = draw.spare["critic"].view(8, 3, -1)
        targets.append(transported_value(nets, draw.batch.next_observations, noise, config))
    assert torch.equal(targets[0], targets[1])
    assert torch.equal(targets[0], targets[2])


def test_frozen_value_moves_actions_and_no_critic():
    nets, draw, _ = fixture()
    nets.zero_grad()
    a = draw.batch.actions.clone().requires_grad_()
    q = frozen_value(nets, draw.batch.observations, a, "mean")
    q.sum().backward()
    assert all(p.grad is None for p in nets.q.parameters())
    with torch.no_grad():
        torch.testing.assert_close(q.detach(), nets.critic(draw.batch.observations, draw.batch.actions).mean(0))
    b = draw.batch.actions.clone().requires_grad_()
    nets.critic(draw.batch.observations, b).mean(0).sum().backward()
    torch.testing.assert_close(a.grad, b.grad)
