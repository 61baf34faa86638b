"""Steps, selectors, kernels, distances, aggregation: the small pieces a rule is made of."""

from __future__ import annotations

import math

import pytest
import torch

from vgf import UserError
from vgf.transport.distance import mmd, travelled, w2, w_inf_bound
from vgf.transport.kernels import rbf_kernel
from vgf.transport.landscape import aggregate_heads
from vgf.transport.limits import within_radius
from vgf.transport.select import SELECTORS, Candidates, get_selector, select
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


VALUES = torch.tensor([[1.0, 3.0, 2.0], [5.0, 4.0, 0.0]])


def gumbel(rows: int, columns: int) -> torch.Tensor:
    uniform = torch.rand(rows, columns, generator=torch.Generator().manual_seed(0))
    return -torch.log(-torch.log(uniform))


@pytest.mark.parametrize("name", list(SELECTORS))
def test_every_selector_gives_weights(name):
    chosen = get_selector(name).weigh(Candidates(VALUES, gumbel(2, 3), VALUES.mean(-1)))
    assert chosen.shape == VALUES.shape
    torch.testing.assert_close(chosen.sum(-1), torch.ones(2))
    if name != "mean":
        x = random(2, 3, 4).float()
        assert any(torch.equal(select(chosen, x)[0], particle) for particle in x[0])  # a particle, bit for bit


def test_what_selectors_choose():
    x = torch.arange(6.0).view(2, 3, 1)
    expected = {"max": [1.0, 3.0], "keep_best": [1.0, 3.0], "none": [0.0, 3.0], "mean": [1.0, 4.0]}
    for name, particles in expected.items():
        torch.testing.assert_close(
            select(get_selector(name).weigh(Candidates(VALUES)), x)[:, 0], torch.tensor(particles)
        )
    with pytest.raises(UserError, match="Did you mean 'max'"):
        get_selector("maxx")


@pytest.mark.parametrize("name", ["max", "keep_best", "softmax"])
def test_a_particle_without_a_value_is_not_chosen(name):
    values = torch.tensor([[1.0, math.nan, 3.0], [math.nan, -2.0, math.nan], [-math.inf, math.nan, math.inf]])
    weights = get_selector(name).weigh(Candidates(values, torch.zeros(3, 3)))
    assert weights.argmax(-1).tolist() == [2, 1, 2]


def test_softmax_and_expectile_draw_with_their_weights():
    draws = 40_000
    values = torch.tensor([0.0, 1.0, 2.0]).expand(draws, 3)
    noise = gumbel(draws, 3)
    softmax = get_selector("softmax").weigh(Candidates(values, noise, temperature=0.5)).mean(0)
    torch.testing.assert_close(softmax, torch.tensor([0.0, 2.0, 4.0]).softmax(0), atol=0.01, rtol=0)
    baseline = torch.full((draws,), 1.0)  # a value equal to V counts as better: 1{Q < V}
    implicit = get_selector("expectile").weigh(Candidates(values, noise, baseline, expectile=0.8)).mean(0)
    torch.testing.assert_close(implicit, torch.tensor([0.2, 0.8, 0.8]) / 1.8, atol=0.01, rtol=0)


def test_distances_of_known_clouds():
    twins = random(3, 8, 2)
    shift = torch.tensor([0.3, -0.4], dtype=torch.float64)
    assert torch.equal(mmd(twins, twins), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(w2(twins, twins), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(w2(twins + shift, twins), torch.full((3,), 0.5, dtype=torch.float64))
    torch.testing.assert_close(w_inf_bound(twins + shift, twins), torch.full((3,), 0.5, dtype=torch.float64))
    line = torch.tensor([[[0.0], [1.0], [2.0]]])
    torch.testing.assert_close(w2(line[:, [2, 0, 1]] + 0.1, line), torch.tensor([0.1]))  # pairs of its own choosing
    torch.testing.assert_close(mmd(line, line + 1e6, 1.0), (2 * rbf_kernel(line, line, 1.0)[0].mean()).sqrt()[None])
    assert mmd(line, torch.zeros_like(line)).isnan()  # a deterministic policy: no scale to measure by
    assert mmd(line, torch.zeros_like(line), 1.0) > 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sigma", [0.1, 0.7, 3.0])
def test_distances_obey_the_bounds_of_theory(seed, sigma):
    """W_2 <= W_inf <= the coupling's; MMD^2 <= 2 W_inf / (sigma sqrt(e)) for the RBF kernel."""
    twins = random(4, 10, 3, seed=seed)
    moved = twins + 0.3 * random(4, 10, 3, seed=seed + 100)
    furthest = w_inf_bound(moved, twins)
    assert (w2(moved, twins) <= furthest + 1e-12).all()
    assert (mmd(moved, twins, sigma).square() <= 2 * furthest / (sigma * math.sqrt(math.e)) * (1 + 1e-5)).all()
    rms = travelled(moved, twins).square().mul(3).mean(-1).sqrt()
    assert (w2(moved, twins) <= rms + 1e-12).all()  # the best pairing is no worse than noise with its own twin


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
