"""A loaded policy: any method and any budget per call, nothing retrained."""

from __future__ import annotations

import copy
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

from vgf import Budget, UserError, load
from vgf.checkpoint import load_checkpoint
from vgf.config import BudgetConfig
from vgf.evaluation import particle_noise
from vgf.methods import load_method, method_names
from vgf.nets.actor_critic import network_of, trained_networks
from vgf.policy import Policy
from vgf.probe import measure, trusted
from vgf.transport.select import Candidates, get_selector

TRAINED = [m for m in method_names() if m not in ("a_vgf", "robust_q", "qpilots_m", "cfgrl")]


@pytest.fixture(scope="module")
def policy(tiny_run):
    return load(tiny_run)


OBS = np.array([[0.0, 0.0], [4.0, 8.0], [12.0, 3.0]], np.float32)


def test_shapes_and_range(policy):
    assert policy.act(OBS).shape == (3, 2)
    assert policy.act(OBS[0]).shape == (2,)
    assert policy.act_chunk(OBS).shape == (3, policy.networks.sizes.chunk, 2)
    assert np.abs(policy.act_chunk(OBS, Budget(size=1e6))).max() <= 1
    np.testing.assert_array_equal(policy.act(OBS), policy.act_chunk(OBS)[:, 0])


def test_the_seed_is_the_noise(policy):
    np.testing.assert_array_equal(policy.act(OBS, seed=4), policy.act(OBS, seed=4))
    assert (policy.act(OBS, seed=4) != policy.act(OBS, seed=5)).any()


@pytest.mark.parametrize("method", TRAINED)
@pytest.mark.parametrize("budget", [None, Budget(radius=0.02)])
def test_acting_computes_less_and_chooses_what_is_measured(policy, method, budget):
    config = policy.resolve(method)
    noise = np.stack([particle_noise(9, row, 0, policy.noise_shape(config)) for row in range(3)])
    measured = policy.decide(OBS, noise, budget, config)
    np.testing.assert_array_equal(policy.act_chunk(OBS, budget, 9, method), measured.actions)
    states, actions = torch.from_numpy(OBS), torch.from_numpy(measured.actions).flatten(1)
    twins = policy.choose(states, torch.from_numpy(noise), budget, config).twins
    np.testing.assert_array_equal(measured.values, policy.value(states, actions, config).numpy())
    np.testing.assert_array_equal(measured.judged, policy.judge(states, actions).numpy())
    np.testing.assert_allclose(measured.travelled, (actions - twins).square().mean(1).sqrt().numpy(), rtol=1e-5)


def test_naming_the_own_method_changes_nothing(policy, tiny_run):
    own = replace(policy.method, budget=BudgetConfig(size=0.5))
    name = own.method
    changed = Policy(policy.networks, own, policy.flow_steps)
    np.testing.assert_array_equal(changed.act(OBS, method=name), changed.act(OBS))
    assert (changed.act(OBS) != changed.act(OBS, method=load_method(name))).any()
    assert load(tiny_run, method=name).method == policy.method


@pytest.mark.parametrize("method", TRAINED)
@pytest.mark.parametrize("budget", [Budget(steps=0), Budget(size=0.0)])
def test_budget_zero_is_the_reference(policy, method, budget):
    config = load_method(method)
    noise = torch.from_numpy(np.stack([particle_noise(9, row, 0, policy.noise_shape(config)) for row in range(3)]))
    count, s = config.transport.particles, torch.from_numpy(OBS)
    noise, spare = noise[:, :count], noise[:, count:]
    x = noise.flatten(0, 1)
    with torch.no_grad():
        velocity = policy.networks.velocity.given(s, count)
        for k in range(policy.flow_steps):
            t = torch.full((len(x), 1), k / policy.flow_steps)
            x = x + velocity(x, t) / policy.flow_steps
        x = x.clamp(-1, 1).view(noise.shape)
        heads = policy.networks.target_critic if config.transport.critic == "target" else policy.networks.critic
        values = heads.given(s, count)(x.flatten(0, 1))
        values = (values.amin(0) if config.transport.aggregate == "min" else values.mean(0)).view(3, count)
    uniform = torch.special.ndtr(spare.flatten(1)[:, :count])
    gumbel = -torch.log(-torch.log(uniform)) if spare.numel() else None
    selector = get_selector(config.transport.select)
    weights = selector.weigh(Candidates(values, gumbel, policy.networks.value(s).detach()))
    chosen = x[torch.arange(3), weights.argmax(-1)].view(3, -1, 2)
    np.testing.assert_array_equal(policy.act_chunk(OBS, budget, seed=9, method=method), chosen.numpy())


def test_a_policy_that_is_not_frozen_follows_its_networks(policy):
    networks = copy.deepcopy(policy.networks)
    follows = Policy(networks, policy.method, policy.flow_steps, frozen=False)
    before = follows.act(OBS)
    np.testing.assert_array_equal(before, policy.act(OBS))
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.mul_(1.1)
    now = Policy(copy.deepcopy(networks), policy.method, policy.flow_steps).act(OBS)
    np.testing.assert_array_equal(follows.act(OBS), now)
    assert (now != before).any()


def test_budget_and_method_are_arguments_of_the_call(policy):
    reference = policy.act(OBS, Budget(size=0.0))
    assert (policy.act(OBS, Budget(size=0.3)) != reference).any()
    assert (policy.act(OBS, Budget(steps=3), method="vgf") != policy.act(OBS)).any()
    np.testing.assert_array_equal(policy.act(OBS, Budget(size=0.0)), reference)
    near = policy.act_chunk(OBS, Budget(size=5.0, radius=0.01)) - policy.act_chunk(OBS, Budget(size=0.0))
    assert np.sqrt((near**2).mean(axis=(1, 2))).max() <= 0.01 + 1e-6


def test_open_budget_fields_are_the_configured_ones(policy):
    np.testing.assert_array_equal(
        policy.act(OBS, Budget()), policy.act(OBS, Budget(size=0.1))
    )  # budget.size of the run


@pytest.mark.parametrize("obs", [np.zeros(3), np.zeros((2, 5)), np.zeros((1, 1, 2)), np.array([[np.nan, 0.0]])])
def test_observations_that_do_not_fit(policy, obs):
    with pytest.raises(UserError, match="obs"):
        policy.act(obs)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"seed": 0.5}, "seed=0.5 must be a whole number"),
        ({"seed": -1}, "seed=-1 must be"),
        ({"budget": 0.1}, r"budget=0.1 is no Budget; write Budget\(size="),
        ({"method": 3}, "method=3 is neither a name"),
    ],
)
def test_arguments_of_the_wrong_kind(policy, asked, said):
    with pytest.raises(UserError, match=said):
        policy.act(OBS, **asked)


def test_inference_mode_changes_nothing(policy):
    for method in ("qgf", "vgf", "grad_step"):
        expected = policy.act(OBS, Budget(steps=3, size=0.3), method=method)
        with torch.inference_mode():
            np.testing.assert_array_equal(policy.act(OBS, Budget(steps=3, size=0.3), method=method), expected)
    assert (policy.act(OBS, Budget(size=0.3)) != policy.act(OBS, Budget(size=0))).any()


def test_a_method_whose_network_was_not_trained(policy):
    with pytest.raises(UserError, match=r"net.extras=\[flow_map\]"):
        policy.act(OBS, method="qpilots_m")


def test_a_judge_that_was_never_trained_is_none(tiny_run):
    """Neither asked nor reported; a checkpoint that does not say what was trained has all that it holds."""
    manifest = load_checkpoint(tiny_run).manifest
    networks = load(tiny_run).networks
    assert networks.judge is not None
    names = [network_of(name) for name in networks.state_dict()]
    assert set(trained_networks({**manifest, "trained": None}, networks.state_dict())) == set(names)
    judged = []
    for trained in (None, manifest["trained"], [name for name in names if name != "judge"]):
        policy = Policy(networks, load_method("qgf"), 5, trained=trained)
        noise = np.zeros((3, *policy.noise_shape(policy.method)), np.float32)
        judged.append(policy.decide(OBS, noise, None, policy.method).judged)
    assert np.isfinite(judged[0]).all()
    np.testing.assert_array_equal(judged[0], judged[1])
    assert np.isnan(judged[2]).all()
    with pytest.raises(UserError, match="budget=auto needs a judge"):
        trusted([measure(policy, OBS, policy.method, knob) for knob in (0.0, 0.1)])


def test_it_steers_a_plain_environment(policy):
    import ogbench  # noqa: F401  (registers the environment)

    env = gymnasium.make("pointmaze-medium-singletask-task1-v0")
    obs, _ = env.reset(seed=0)
    start = obs.copy()
    for step in range(20):
        obs, *_ = env.step(policy.act(obs, seed=step))
    assert np.linalg.norm(obs - start) > 0.1
