"""A perceptron that was given its first inputs: its own gradient is the one autograd finds."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from vgf.nets import ActorCritic, NetSizes
from vgf.nets.layers import ACTIVATIONS
from vgf.nets.mlp import MLP
from vgf.transport.landscape import Landscape, aggregate_heads, aggregate_slope, bind

AGGREGATES = ["min", "mean", "mean-0.5*std", "mean - 2 std"]


def shaken(net: torch.nn.Module) -> torch.nn.Module:
    for parameter in net.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return net


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("heads", [1, 3])
def test_the_written_out_gradient_is_autograds(heads, activation, layer_norm):
    net = shaken(MLP(5, 1, [8, 6, 4], heads=heads, layer_norm=layer_norm, activation=activation)).double()
    rest = net.given(torch.randn(4, 3, dtype=torch.float64), 3)
    x = torch.randn(12, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(heads, 12, 1, dtype=torch.float64)
    (expected,) = torch.autograd.grad((weights * rest(x)).sum(), x)
    with torch.no_grad():
        values, back = rest.pullback(x)
        assert torch.equal(values, rest(x))
        torch.testing.assert_close(back(weights), expected, rtol=1e-10, atol=1e-10)


def test_under_autocast_it_is_autograds_too():
    rest_of = MLP(4, 1, [64, 64, 64], heads=2).prepared
    s, x, weights = torch.randn(700, 2), torch.randn(700, 2, requires_grad=True), torch.ones(2, 700, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rest = rest_of()(s, 1)
        (expected,) = torch.autograd.grad(rest(x).sum(), x)
        with torch.no_grad():
            _, back = rest.pullback(x)
            found = back(weights)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("rows", [1, 3, 63, 64, 65])
@pytest.mark.parametrize("width", [7, 256])
def test_gelu_of_few_entries_is_gelu(rows, width):
    """Fewer than 64 x 256 entries take another way through PyTorch."""
    x, g = torch.randn(1, rows, width), torch.randn(1, rows, width)
    wanted = x.clone().requires_grad_()
    value = F.gelu(wanted)
    (slope,) = torch.autograd.grad(value, wanted, g)
    gelu = ACTIVATIONS["gelu"]
    torch.testing.assert_close(gelu.value(x), value.detach(), rtol=1e-5, atol=5e-6)
    torch.testing.assert_close(gelu.slope(g, x), slope, rtol=1e-5, atol=5e-6)
    assert gelu.value(x).is_contiguous()
    assert gelu.slope(g, x).is_contiguous()


@settings(deadline=None)
@given(
    heads=st.lists(st.lists(st.floats(-50, 50), min_size=4, max_size=4), min_size=1, max_size=5),
    how=st.sampled_from(AGGREGATES),
)
def test_the_slope_of_an_aggregate_is_autograds(heads, how):
    values = torch.tensor(heads, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(aggregate_heads(values, how).sum(), values)
    torch.testing.assert_close(aggregate_slope(values.detach(), how), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("how", AGGREGATES)
def test_a_landscape_climbs_by_the_written_out_gradient(how, monkeypatch):
    nets = shaken(ActorCritic(NetSizes(3, 2, hidden=8, layers=2, heads=3))).double()
    s, x = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 5, 2, dtype=torch.float64)

    def gradient(critic) -> torch.Tensor:
        each = s.repeat_interleave(5, 0)
        return Landscape(each, critic, None, 10, how, -1.0, 1.0, 1.0, None).gradient(x)

    expected = gradient(nets.critic)  # not bound: autograd
    monkeypatch.setattr(sys.modules[Landscape.__module__], "gradient_at", lambda *_: pytest.fail("autograd was asked"))
    torch.testing.assert_close(gradient(bind(nets.critic, s, 5)), expected, rtol=1e-9, atol=1e-9)
