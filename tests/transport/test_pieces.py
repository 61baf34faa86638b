"""Steps, selectors, kernels, distances, aggregation: the small pieces a rule is made of."""

from __future__ import annotations

import math

import pytest
import torch

from vgf import UserError
from vgf.transport import select
from vgf.transport.distance import travelled, within_radius
from vgf.transport.kernels import rbf_kernel
from vgf.transport.landscape import aggregate_heads
from vgf.transport.steps import STEPS, make_step


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_raw_sign_rms_and_norm_matched():
    g, v = random(2, 3, 4), random(2, 3, 4, seed=1)
    assert torch.equal(make_step("raw")(g, v, 0.5), g)
    assert torch.equal(make_step("sign")(g, v, 0.5), g.sign())
    torch.testing.assert_close(make_step("rms")(g, v, 0.5).square().mean(-1), torch.ones(2, 3, dtype=g.dtype))
    torch.testing.assert_close(make_step("norm_matched")(g, v, 0.5).norm(dim=-1), v.norm(dim=-1))
    torch.testing.assert_close(make_step("tilt")(g, v, 0.2), 4 * g)


@pytest.mark.parametrize("name", ["sign", "rms", "norm_matched", "adam"])
@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_scale_free_steps(name, scale):
    g, v = random(2, 3, 4), random(2, 3, 4, seed=1)
    torch.testing.assert_close(make_step(name)(g, v, 0.5), make_step(name)(scale * g, v, 0.5), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", [n for n in STEPS if n != "tilt"])
def test_no_gradient_no_move(name):
    zero = torch.zeros(1, 2, 3)
    assert torch.equal(make_step(name)(zero, random(1, 2, 3).float(), 0.5), zero)


def test_adam_is_torchs():
    x = torch.zeros(2, 3, 4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([x], lr=0.1, maximize=True)
    step, ours = make_step("adam"), torch.zeros_like(x)
    for i in range(7):
        g = random(2, 3, 4, seed=i)
        x.grad = g.clone()
        optimiser.step()
        ours = ours + 0.1 * step(g, None, None)
    torch.testing.assert_close(ours, x.detach(), rtol=0, atol=1e-9)


def test_clipped_adam_cuts_each_particle_to_norm_one():
    small, large = random(1, 2, 3) * 1e-2, random(1, 2, 3) * 1e3
    cut, plain = make_step("clipped_adam"), make_step("adam")
    torch.testing.assert_close(cut(small, None, None), plain(small, None, None))
    torch.testing.assert_close(
        cut(large, None, None), plain(large / large.norm(dim=-1, keepdim=True), None, None)
    )  # the second call of each, so Adam's memory of the first one counts


def test_kernel():
    x, y = random(2, 3, 4), random(2, 5, 4, seed=1)
    kernel, sigma = rbf_kernel(x, y, 0.8)
    assert sigma.shape == (2, 1, 1)
    expected = math.exp(-(x[1, 2] - y[1, 4]).square().sum().item() / (2 * 0.8**2 + 1e-6))
    assert kernel[1, 2, 4].item() == pytest.approx(expected)
    own, median = rbf_kernel(x, x)
    assert torch.equal(own.diagonal(dim1=1, dim2=2), torch.ones(2, 3, dtype=x.dtype))
    squares = sorted((a - b).square().sum().item() for a in x[0] for b in x[0])
    assert median[0].item() == pytest.approx(math.sqrt(squares[4] / (2 * math.log(4))))


def test_select():
    values = torch.tensor([[1.0, 3.0, 2.0], [5.0, 4.0, 0.0]])
    assert select("max", values).tolist() == [1, 0]
    assert select("first", values).tolist() == [0, 0]
    with pytest.raises(UserError, match="Did you mean 'max'"):
        select("maxx", values)


def test_travelled_and_radius():
    twins = torch.zeros(1, 2, 4)
    particles = torch.tensor([[[0.3, 0.3, 0.3, 0.3], [0.4, 0.0, 0.0, 0.0]]])
    torch.testing.assert_close(travelled(particles, twins), torch.tensor([[0.3, 0.2]]))
    pulled = within_radius(particles, twins, 0.25)
    torch.testing.assert_close(pulled[0, 0], torch.full((4,), 0.25))
    assert torch.equal(pulled[0, 1], particles[0, 1])


def test_aggregate():
    heads = torch.tensor([[1.0, 2.0], [3.0, 2.0]], requires_grad=True)
    assert aggregate_heads(heads, "min").tolist() == [1.0, 2.0]
    assert aggregate_heads(heads, "mean").tolist() == [2.0, 2.0]
    for spelling in ("mean-0.5*std", "mean - 0.5*std", "mean-.5std"):
        torch.testing.assert_close(aggregate_heads(heads, spelling), torch.tensor([1.5, 2.0]), rtol=0, atol=1e-5)
    aggregate_heads(heads, "mean-0.5*std").sum().backward()
    assert heads.grad.isfinite().all()  # also where the heads agree
    with pytest.raises(UserError, match="'max'"):
        aggregate_heads(heads, "max")
