"""Numbers of the authors' JAX code (ryanxhr/vgf, zhouzypaul/qgf), computed once on small analytic problems."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vgf import Budget, transport
from vgf.losses import expectile_loss, sql_loss
from vgf.transport.kernels import rbf_kernel, svgd_direction

PARITY = Path(__file__).parent.parent / "parity"
VGF = np.load(PARITY / "vgf.npz")
QGF = np.load(PARITY / "qgf.npz")
OURS = {"qgf": "qgf", "noisy": "qfql", "jacobian": "qgf_jacobian", "bptt": "bptt"}  # the authors' names -> ours


def analytic_critic(numbers):
    """Q_e(s, a) = -0.5 ||a - tanh(W_e s)||^2 + 0.3 sin(U_e . a)."""
    w, u = torch.from_numpy(numbers["W"]), torch.from_numpy(numbers["U"])

    def critic(s: Tensor, a: Tensor) -> Tensor:
        target = torch.tanh(torch.einsum("eds,ks->ekd", w, s))
        return -0.5 * (a - target).square().sum(-1) + 0.3 * torch.sin(torch.einsum("ed,kd->ek", u, a))

    return critic


def analytic_velocity(s: Tensor, a: Tensor, t: Tensor) -> Tensor:
    """v(s, a, t) = tanh(A s + B a + t c) - 0.5 a."""
    a_, b_, c_ = (torch.from_numpy(QGF[k]) for k in "ABc")
    return torch.tanh(s @ a_.T + a @ b_.T + t * c_) - 0.5 * a


def settings(key: str) -> dict[str, str]:
    return dict(part.split("=") for part in key.split("/") if "=" in part)


def close(ours: Tensor, theirs: np.ndarray, atol: float) -> None:
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=atol)


@pytest.mark.parametrize("kind", ["fixed", "median"])
def test_kernel_and_direction(kind):
    x, score = (torch.from_numpy(VGF[f"direction/{k}"]) for k in ("particles", "score"))
    bandwidth = 0.7 if kind == "fixed" else None
    kernel, sigma = rbf_kernel(x, x, bandwidth)
    close(kernel, VGF[f"kernel/{kind}"], 1e-5)
    close(sigma, VGF[f"bandwidth/{kind}"], 1e-5)
    for alpha in (0.1, 1.0, 5.0):
        close(svgd_direction(x, score, alpha=alpha, bandwidth=bandwidth), VGF[f"direction/{kind}/alpha={alpha}"], 1e-5)


@pytest.mark.parametrize("key", [k for k in VGF.files if k.startswith("move/agg")])
def test_vgf_moves(key):
    s = settings(key)
    moved = transport(
        "vgf",
        torch.from_numpy(VGF["move/obs"]),
        torch.from_numpy(VGF["move/particles"]),
        budget=Budget(steps=int(s["steps"]), size=float(s["lr"])),
        critic=analytic_critic(VGF),
        aggregate=s["agg"],
        alpha=float(s["alpha"]),
    )
    close(moved.particles, VGF[key], 1e-4)


@pytest.mark.parametrize("key", [k for k in QGF.files if k.split("/")[0] in OURS])
def test_guided_flow(key):
    s = settings(key)
    moved = transport(
        OURS[key.split("/")[0]],
        torch.from_numpy(QGF["obs"]),
        torch.from_numpy(QGF["noise"])[:, None],
        budget=Budget(size=float(s["w"])),
        critic=analytic_critic(QGF),
        velocity=analytic_velocity,
        flow_steps=int(s["steps"]),
        aggregate=s["agg"],
    )
    close(moved.particles[:, 0], QGF[key], 1e-4)


@pytest.mark.parametrize("key", [k for k in QGF.files if k.startswith("grad_step")])
def test_grad_step(key):
    s = settings(key)
    moved = transport(
        "grad_step",
        torch.from_numpy(QGF["obs"]),
        torch.from_numpy(QGF["noise"])[:, None],
        budget=Budget(steps=int(s["ascent_steps"]), size=float(s["step_size"])),
        critic=analytic_critic(QGF),
        velocity=analytic_velocity,
        flow_steps=int(s["steps"]),
        aggregate=s["agg"],
        start_is_noise=True,
    )
    close(moved.particles[:, 0], QGF[key], 1e-4)


@pytest.mark.parametrize("key", [k for k in VGF.files if k.startswith("loss/") and "=" in k])
def test_losses(key):
    diff = torch.from_numpy(VGF["loss/diff"])
    name, parameter = key.removeprefix("loss/").split("=")
    ours = expectile_loss(diff, float(parameter)) if name == "expectile" else sql_loss(diff, float(parameter))
    close(ours, VGF[key], 1e-5)
