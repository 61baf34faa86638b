"""What perceptrons are made of: affine layers of E heads at once, activations, and the slopes of both.

Functions of tensors, without parameters of their own. Slopes (``*_slope``) are those that autograd computes, by the
same operations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["ACTIVATIONS", "EPS", "Activation", "affine", "affine_slope", "normalised", "normalised_slope", "output"]

EPS = 1e-6  # of LayerNorm, as in Flax
_FEW = 16_384


@dataclass(frozen=True)
class Activation:
    """An activation: x -> its value; (gradient of the value, x) -> gradient of x."""

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]


def _gelu(x: Tensor) -> Tensor:
    if x.requires_grad or not _few(x):
        return F.gelu(x)
    return F.gelu(_in_two(x)).mT.reshape(x.shape)


def _gelu_slope(g: Tensor, x: Tensor) -> Tensor:
    if not _few(x):
        return torch.ops.aten.gelu_backward(g, x)
    return torch.ops.aten.gelu_backward(_in_two(g), _in_two(x)).mT.reshape(x.shape)


def _few(x: Tensor) -> bool:
    """Whether a CPU is done with GELU before oneDNN has begun, which takes it 7 microseconds, with the slope 14."""
    return x.is_cpu and x.numel() <= _FEW and x.numel() % 2 == 0


def _in_two(x: Tensor) -> Tensor:
    """The same entries, not contiguous: those PyTorch takes itself, all others it leaves to oneDNN."""
    return x.reshape(2, -1).mT


ACTIVATIONS = {
    "gelu": Activation(_gelu, _gelu_slope),
    "relu": Activation(F.relu, lambda g, x: torch.ops.aten.threshold_backward(g, x, 0)),
}


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [E, K, in], weight [E, in, out], bias [E, 1 or K, out] -> [E, K, out]."""
    if weight.shape[0] == 1:  # a plain matmul is faster than a batched one of size 1
        return torch.addmm(bias.squeeze(0), x.squeeze(0), weight.squeeze(0)).unsqueeze(0)
    return torch.baddbmm(bias, x, weight)


def affine_slope(g: Tensor, weight: Tensor) -> Tensor:
    """Gradient of x of :func:`affine`: g [E, K, out], weight [E, in, out] -> [E, K, in]."""
    if weight.shape[0] == 1:
        return torch.mm(g.squeeze(0), weight.squeeze(0).mT).unsqueeze(0)
    return torch.bmm(g, weight.mT)


def normalised(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """LayerNorm without scale and shift: its value, and the mean and inverse deviation that its slope needs."""
    value, mean, inverse = torch.native_layer_norm(x, x.shape[-1:], None, None, EPS)
    return value, mean, inverse


def normalised_slope(g: Tensor, x: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    """Gradient of x of :func:`normalised`."""
    slope: Tensor = torch.ops.aten.native_layer_norm_backward(
        g, x, x.shape[-1:], mean, inverse, None, None, [True, False, False]
    )[0]
    return slope


def output(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The output layer, in float32 under bf16 too: a value of -50 has steps of 0.25 in bf16."""
    if not torch.is_autocast_enabled(x.device.type):  # entering a context costs more than this layer for few rows
        return _narrow(x, weight, bias)
    with torch.autocast(x.device.type, enabled=False):
        return _narrow(x.to(weight.dtype), weight, bias)


def _narrow(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """:func:`affine` for few outputs, as which a CPU's matmuls take four to six times as long."""
    if weight.shape[0] == 1:
        turned = torch.addmm(bias.squeeze(0).mT, weight.squeeze(0).mT, x.squeeze(0).mT)  # [out, K]
        return turned.mT.contiguous().unsqueeze(0)
    if weight.shape[2] == 1:
        return (x * weight.mT).sum(-1, keepdim=True) + bias
    return affine(x, weight, bias)
