"""Networks of the plain PyTorch references: one ``nn.Sequential`` a head, nothing shared, nothing batched by hand."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from weights import Layers

__all__ = ["ensemble", "heads_of", "perceptron", "time_embedding"]

_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}


def perceptron(layers: Layers, activation: str, head: int = 0) -> nn.Sequential:
    """One head: dense, activation, LayerNorm where there is one; the last layer is linear."""
    modules: list[nn.Module] = []
    for place, layer in enumerate(layers):
        dense = nn.Linear(*layer["weight"].shape[1:])
        with torch.no_grad():
            dense.weight.copy_(torch.from_numpy(layer["weight"][head].T))
            dense.bias.copy_(torch.from_numpy(layer["bias"][head, 0]))
        modules.append(dense)
        if place < len(layers) - 1:
            modules.append(_ACTIVATIONS[activation]())
        if "scale" in layer:
            norm = nn.LayerNorm(layer["scale"].shape[-1], eps=1e-6)
            with torch.no_grad():
                norm.weight.copy_(torch.from_numpy(layer["scale"][head, 0]))
                norm.bias.copy_(torch.from_numpy(layer["shift"][head, 0]))
            modules.append(norm)
    return nn.Sequential(*modules)


def ensemble(layers: Layers, activation: str) -> nn.ModuleList:
    """E perceptrons."""
    return nn.ModuleList(perceptron(layers, activation, head) for head in range(len(layers[0]["weight"])))


def heads_of(critics: nn.ModuleList, s: Tensor, a: Tensor) -> Tensor:
    """Q_e(s, a) of every head: [E, B]."""
    inputs = torch.cat([s, a], -1)
    return torch.stack([q(inputs).squeeze(-1) for q in critics])


def time_embedding(t: Tensor, features: int = 16) -> Tensor:
    """Sines, then cosines, of t * 1e4 at geometric frequencies: t [B, 1] -> [B, features]."""
    half = features // 2
    frequencies = torch.exp(torch.arange(half, dtype=t.dtype) * (-math.log(1e4) / (half - 1)))
    angles = t * 1e4 * frequencies
    return torch.cat([angles.sin(), angles.cos()], -1)
