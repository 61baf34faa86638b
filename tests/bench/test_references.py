"""Correctness before speed: the references and our trainer give the same losses on the same weights and draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vgf.bench.problems import Case, columns, made_up, trainer
from vgf.bench.references import reference

CASES = [Case("qgf", hidden=32, layers=3, batch=64), Case("vgf", hidden=32, layers=2, batch=16, particles=4, moves=3)]


def layers_of(net):
    """Weights of one of our perceptrons, as the references take them."""
    layers = [
        {"weight": dense.weight, "bias": dense.bias}
        | ({"scale": norm.scale, "shift": norm.shift} if hasattr(norm, "scale") else {})
        for dense, norm in zip(net.dense, net.norm, strict=True)
    ]
    layers.append({"weight": net.output.weight, "bias": net.output.bias})
    return [{name: parameter.detach().numpy().copy() for name, parameter in layer.items()} for layer in layers]


def shared_draw(case):
    """Our trainer, the weights it starts from, and the arrays of its first draw."""
    ours = trainer(case, rows=400, precision="float32")
    with torch.no_grad():  # fresh networks have equal heads' biases and unit scales: make every entry count
        for parameter in ours.networks.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        ours.networks.q_target.load_state_dict(ours.networks.q.state_dict())
    nets = {"flow": ours.networks.flow, "q": ours.networks.q, "v": ours.networks.v}
    weights = {name: layers_of(net) for name, net in nets.items()}
    draw = ours.draw(ours.data, ours.streams["batches"], ours.streams)
    batch = {name: getattr(draw.batch, name).numpy() for name in columns(made_up(10))}
    draws = [draw.noise.numpy(), draw.t.numpy()]
    if case.method == "vgf":
        draws.append(draw.spare["critic"].view(case.batch, case.particles, -1).numpy())
    return ours, weights, draw, batch, draws


def our_losses(ours, draw):
    names = {"value": "value/loss", "critic": "critic/loss", "flow": "flow/loss"}
    losses = ours.loss(draw)
    return {name: losses[key].item() for name, key in names.items() if key in losses}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.method)
def test_plain_pytorch_gives_our_losses_and_our_step(case):
    ours, weights, draw, batch, draws = shared_draw(case)
    plain = getattr(reference(f"{case.method}_torch"), case.method.upper())(weights)
    tensors = {name: torch.from_numpy(column) for name, column in batch.items()}
    losses = plain.update(tensors, *map(torch.from_numpy, draws))
    expected = our_losses(ours, draw)
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(expected, rel=1e-4)

    ours.draw = lambda *_: draw
    ours.update(ours.data)
    torch.testing.assert_close(ours.networks.q.output.weight[1], plain.q[1][-1].weight.T, atol=2e-5, rtol=0)
    torch.testing.assert_close(ours.networks.flow.dense[0].weight[0], plain.flow[0].weight.T, atol=2e-5, rtol=0)
    torch.testing.assert_close(
        ours.networks.q_target.dense[0].weight[0], plain.q_target[0][0].weight.T, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.method)
def test_jax_gives_our_losses_and_our_step(case):
    pytest.importorskip("jax")
    pytest.importorskip("optax")
    ours, weights, draw, batch, draws = shared_draw(case)
    activation = {"qgf": "gelu_exact", "vgf": "relu"}[case.method]
    jaxed = getattr(reference(f"{case.method}_jax"), case.method.upper())(weights, activation=activation)
    losses = jaxed.update(batch, *draws)
    assert {name: float(loss) for name, loss in losses.items()} == pytest.approx(our_losses(ours, draw), rel=1e-4)

    ours.draw = lambda *_: draw
    ours.update(ours.data)
    theirs = np.asarray(jaxed.parameters["q"][0]["weight"])
    np.testing.assert_allclose(ours.networks.q.dense[0].weight.detach().numpy(), theirs, atol=2e-5)
    target = np.asarray(jaxed.target[0]["weight"])
    np.testing.assert_allclose(ours.networks.q_target.dense[0].weight.numpy(), target, atol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_references_act_as_our_qgf_does(weight):
    from vgf.methods import load_method
    from vgf.policy import Policy
    from vgf.transport import Budget

    ours, weights, *_ = shared_draw(CASES[0])
    policy = Policy(ours.networks, load_method("qgf"), 10)
    rng = np.random.default_rng(0)
    s = rng.standard_normal((5, 28), dtype=np.float32)
    noise = rng.standard_normal((5, 1, 5), dtype=np.float32)
    budget = Budget(size=weight)
    expected = policy.choose(torch.from_numpy(s), torch.from_numpy(noise), budget, policy.method).actions.numpy()
    plain = reference("qgf_torch").QGF(weights)
    given = torch.from_numpy(s), torch.from_numpy(noise[:, 0])
    np.testing.assert_allclose(plain.act(*given, weight).detach().numpy(), expected, atol=2e-5)
    pytest.importorskip("jax")
    jaxed = reference("qgf_jax").QGF(weights, activation="gelu_exact")
    np.testing.assert_allclose(np.asarray(jaxed.act(s, noise[:, 0], weight)), expected, atol=2e-5)
