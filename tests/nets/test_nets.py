"""Networks: an ensemble is its members."""

from __future__ import annotations

import math

import pytest
import torch

from vgf.nets import MLP, ActorCritic, NetSizes
from vgf.nets.extras import EXTRAS
from vgf.nets.mlp import time_embedding
from vgf.nets.sources import SOURCES


def shaken(module):
    """Every parameter random, so that LayerNorm's ones and zeros cannot hide a mistake."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    return module


@pytest.mark.parametrize("layer_norm", [True, False])
def test_an_ensemble_is_its_members(layer_norm):
    ensemble = shaken(MLP(4, 3, [8, 6], heads=5, layer_norm=layer_norm))
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))
    together = ensemble(x)
    assert together.shape == (5, 7, 3)
    for e in range(5):
        member = MLP(4, 3, [8, 6], layer_norm=layer_norm)
        member.load_state_dict({k: v[e : e + 1] for k, v in ensemble.state_dict().items()})
        torch.testing.assert_close(together[e], member(x)[0], rtol=1e-5, atol=1e-5)


def test_members_start_apart_and_within_glorots_limit():
    weight = MLP(30, 10, [20], heads=2).dense[0].weight
    assert not torch.equal(weight[0], weight[1])
    assert weight.abs().max() <= math.sqrt(6 / 50)
    assert weight.std().item() == pytest.approx(math.sqrt(2 / 50), rel=0.1)


def test_output_stays_in_float32_under_autocast():
    net = MLP(4, 3, [8])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert net(torch.randn(2, 4)).dtype == torch.float32


def test_time_embedding():
    t = torch.tensor([[0.0], [0.3]], dtype=torch.float64)
    embedding = time_embedding(t, features=6)
    assert embedding[0].tolist() == [0, 0, 0, 1, 1, 1]
    angles = [0.3e4, 0.3e4 * 1e-2, 0.3e4 * 1e-4]
    assert embedding[1].tolist() == pytest.approx([*map(math.sin, angles), *map(math.cos, angles)])


def test_shapes_with_chunks_and_extras():
    sizes = NetSizes(observation=5, action=2, chunk=3, hidden=8, layers=2, heads=4, extras=tuple(EXTRAS))
    nets = ActorCritic(sizes)
    s, x, t = torch.randn(7, 5), torch.randn(7, 6), torch.rand(7, 1)
    assert sizes.particle == 6
    assert nets.velocity(s, x, t).shape == (7, 6)
    assert nets.critic(s, x).shape == nets.target_critic(s, x).shape == (4, 7)
    assert nets.value(s).shape == (7,)
    assert nets.extras["gradient"](s, x).shape == (7, 6)
    assert nets.extras["noisy"](s, x, t).shape == (4, 7)
    assert nets.extras["flow_map"](s, x, t, x).shape == (7, 6)
    assert nets.extras["optimal"](s, x, t).shape == (7, 6)


@pytest.mark.parametrize("name", list(SOURCES))
def test_every_source_carries_noise_to_actions(name):
    nets = shaken(ActorCritic(NetSizes(3, 2, hidden=8, layers=2, policy=name, activation="relu", policy_norm=False)))
    s, x, t = torch.randn(5, 3), torch.randn(5, 2), torch.rand(5, 1)
    assert nets.velocity(s, x, t).shape == (5, 2)
    assert nets.source is nets.policy
    assert ActorCritic(NetSizes(3, 2, hidden=8, layers=2)).source.steps is None


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("heads", [1, 3])
def test_a_perceptron_given_its_first_inputs_is_the_same_function_of_the_rest(heads, layer_norm):
    net = shaken(MLP(5, 2, [8, 6], heads=heads, layer_norm=layer_norm)).double()
    s, x = torch.randn(4, 3, dtype=torch.float64), torch.randn(12, 2, dtype=torch.float64, requires_grad=True)
    whole, rest = net(torch.cat([s.repeat_interleave(3, 0), x], -1)), net.given(s, 3)(x)
    torch.testing.assert_close(rest, whole, rtol=1e-10, atol=1e-10)
    slopes = [
        torch.autograd.grad(out.square().sum(), [x, *net.parameters()], retain_graph=True) for out in (whole, rest)
    ]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", list(SOURCES))
def test_critics_and_velocities_given_their_observations_are_what_they_were(name):
    nets = shaken(ActorCritic(NetSizes(3, 2, hidden=8, layers=2, policy=name, activation="relu"))).double()
    s, x, t = (torch.rand(rows, size, dtype=torch.float64) for rows, size in ((4, 3), (12, 2), (12, 1)))
    each = s.repeat_interleave(3, 0)
    torch.testing.assert_close(nets.velocity.given(s, 3)(x, t), nets.velocity(each, x, t), rtol=1e-9, atol=1e-9)
    for critic in (nets.critic, nets.target_critic):
        torch.testing.assert_close(critic.given(s, 3)(x), critic(each, x), rtol=1e-9, atol=1e-9)


def test_given_observations_under_autocast_are_near_float32():
    net = MLP(4, 3, [32, 32], heads=2)
    s, x = torch.randn(5, 2), torch.randn(5, 2)
    exact = net(torch.cat([s, x], -1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = net.given(s)(x)
    assert near.dtype == torch.float32
    torch.testing.assert_close(near, exact, rtol=0.05, atol=0.05)


def test_a_gaussians_velocity_ends_in_its_sample_whatever_the_steps():
    nets = shaken(ActorCritic(NetSizes(3, 2, hidden=8, layers=1, reference="gaussian"))).double()
    s, noise = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    mean, log_std = nets.flow.moments(s)
    assert log_std.std() > 0.1
    for steps in (1, 3, 10):
        x = noise
        for k in range(steps):
            x = x + nets.velocity(s, x, torch.full((6, 1), k / steps, dtype=torch.float64)) / steps
        torch.testing.assert_close(x, mean + log_std.exp() * noise)


def test_one_step_sources_take_one_step():
    s, noise = torch.randn(6, 3), torch.randn(6, 2)
    zero = torch.zeros(6, 1)
    one_step = shaken(ActorCritic(NetSizes(3, 2, hidden=8, layers=1, policy="one_step")))
    torch.testing.assert_close(noise + one_step.velocity(s, noise, zero), one_step.policy.action(s, noise))
    fixed = shaken(ActorCritic(NetSizes(3, 2, hidden=8, layers=1, policy="deterministic")))
    torch.testing.assert_close(noise + fixed.velocity(s, noise, zero), fixed.policy.action(s))
    assert one_step.source.steps == fixed.source.steps == 1
