"""Target networks follow those that are trained, at the rate that was asked for."""

from __future__ import annotations

import copy

import pytest
import torch

from vgf.nets import ActorCritic, NetSizes
from vgf.nets.targets import Targets


@pytest.fixture
def nets() -> ActorCritic:
    """With every kind of target; no parameter is that of another, as target and online are at first."""
    sizes = NetSizes(3, 2, hidden=8, layers=1, extras=("flow_map",), policy="deterministic", judge=True)
    made, generator = ActorCritic(sizes), torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    return made


def test_targets_follow_by_the_rate(nets):
    before = copy.deepcopy(nets)
    Targets(nets, 0.25).follow(nets.parameters())
    averaged = [f"{owner}.{{}}" for owner in ("extras.flow_map", "policy")]
    pairs = [(name.format("target"), name.format("online")) for name in averaged]
    pairs += [("q_target", "q"), ("judge.q_target", "judge.q")]
    for target, online in pairs:
        for name, parameter in nets.get_submodule(target).named_parameters():
            was, source = (before.get_submodule(m).get_parameter(name) for m in (target, online))
            torch.testing.assert_close(parameter, 0.75 * was + 0.25 * source)
            assert torch.equal(nets.get_submodule(online).get_parameter(name), source)
    assert not any(p.requires_grad for target, _ in pairs for p in nets.get_submodule(target).parameters())


def test_all_at_once_is_one_after_the_other(nets):
    other = copy.deepcopy(nets)
    Targets(nets, 0.25).follow(nets.parameters())
    one_by_one = Targets(other, 0.25)
    for parameter in other.parameters():
        one_by_one.follow([parameter])
    assert all(torch.equal(a, b) for a, b in zip(nets.parameters(), other.parameters(), strict=True))


def test_the_target_of_a_frozen_parameter_stays(nets):
    nets.q.requires_grad_(False)
    nets.extras["flow_map"].online.dense.requires_grad_(False)
    before = copy.deepcopy(nets)
    Targets(nets, 0.25).follow(nets.parameters())
    assert all(torch.equal(a, b) for a, b in zip(nets.q_target.parameters(), before.q_target.parameters(), strict=True))
    ours, theirs = (net.extras["flow_map"].target for net in (nets, before))
    assert torch.equal(ours.dense[0].weight, theirs.dense[0].weight)
    assert not torch.equal(ours.output.weight, theirs.output.weight)
