"""Multi-layer perceptron, one or an ensemble of E: every layer is one (batched) matmul.

Layer order and initialisation follow the authors' Flax code: dense, GELU, LayerNorm;
weights uniform by fan average (Glorot), biases zero; the last layer is linear.

Deviation: exact GELU where Flax uses the tanh approximation (they differ by less than 5e-4; on a
CPU the exact one is four times faster).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ACTIVATIONS", "MLP", "time_embedding"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}


class _Dense(nn.Module):
    """Affine layer of E heads: weight [E, in, out], bias [E, 1, out]."""

    def __init__(self, heads: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(heads, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(heads, 1, outputs))
        limit = math.sqrt(6 / (inputs + outputs))
        nn.init.uniform_(self.weight, -limit, limit)

    def forward(self, x: Tensor) -> Tensor:  # [E, K, in] -> [E, K, out]
        if self.weight.shape[0] == 1:  # a plain matmul is faster than a batched one of size 1
            return torch.addmm(self.bias[0], x[0], self.weight[0]).unsqueeze(0)
        return torch.baddbmm(self.bias, x, self.weight)


class _LayerNorm(nn.Module):
    """LayerNorm over the features, with each head's own scale and shift [E, 1, H]."""

    def __init__(self, heads: int, features: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(heads, 1, features))
        self.shift = nn.Parameter(torch.zeros(heads, 1, features))

    def forward(self, x: Tensor) -> Tensor:
        if self.scale.shape[0] == 1:
            return F.layer_norm(x, x.shape[-1:], self.scale.flatten(), self.shift.flatten(), eps=1e-6)
        return torch.addcmul(self.shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), self.scale)


class MLP(nn.Module):
    """Ensemble of E perceptrons that see the same input.

    Args:
        inputs, outputs: feature counts.
        hidden: widths of the hidden layers.
        heads: E, ensemble members.
        layer_norm: normalise after every hidden layer.
        activation: ``gelu`` (QGF, QAM) or ``relu`` (VGF).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: Sequence[int],
        heads: int = 1,
        layer_norm: bool = True,
        activation: str = "gelu",
    ) -> None:
        super().__init__()
        self.heads = heads
        self.activation = ACTIVATIONS[activation]
        widths = [inputs, *hidden]
        self.dense = nn.ModuleList(_Dense(heads, i, o) for i, o in zip(widths[:-1], hidden, strict=True))
        self.norm = nn.ModuleList(_LayerNorm(heads, h) if layer_norm else nn.Identity() for h in hidden)
        self.output = _Dense(heads, widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[K, inputs] -> [E, K, outputs]."""
        x = x.expand(self.heads, *x.shape)
        for dense, norm in zip(self.dense, self.norm, strict=True):
            x = norm(self.activation(dense(x)))
        with torch.autocast(x.device.type, enabled=False):  # under bf16 the output layer stays in float32:
            return self.output(x.to(self.output.weight.dtype))  # a value of -50 has steps of 0.25 in bf16


def time_embedding(t: Tensor, features: int = 16) -> Tensor:
    """Sinusoidal embedding of flow time: t [K, 1] in [0, 1] -> [K, features].

    Angles t * 1e4 * w, w from 1 down to 1e-4 in geometric steps; sines, then cosines (QGF's code).
    """
    half = features // 2
    w = torch.exp(torch.arange(half, dtype=t.dtype, device=t.device) * (-math.log(1e4) / (half - 1)))
    angles = t * 1e4 * w
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
