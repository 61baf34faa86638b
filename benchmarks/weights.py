"""Weights of the reference implementations, in NumPy: what PyTorch and JAX start from.

A network is a list of layers, input to output; a layer is a dictionary of ``weight`` [E, in, out] and ``bias``
[E, 1, out] of E heads and, where the layer is normalised after its activation, ``scale`` and ``shift`` [E, 1, out].
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

__all__ = ["Layers", "Weights", "initial_weights", "perceptron"]

Layers = list[dict[str, np.ndarray]]
Weights = Mapping[str, Layers]

TIME_FEATURES = 16


def initial_weights(
    observation: int, action: int, hidden: int, layers: int, *, policy_norm: bool, heads: int = 2, seed: int = 0
) -> dict[str, Layers]:
    """Flow, E critics and V of one agent: ``flow``, ``q``, ``v``."""
    rng = np.random.default_rng(seed)
    inner = [hidden] * layers
    return {
        "flow": perceptron(rng, [observation + action + TIME_FEATURES, *inner, action], norm=policy_norm),
        "q": perceptron(rng, [observation + action, *inner, 1], heads=heads),
        "v": perceptron(rng, [observation, *inner, 1]),
    }


def perceptron(rng: np.random.Generator, widths: list[int], *, heads: int = 1, norm: bool = True) -> Layers:
    """Glorot-uniform weights, zero biases; LayerNorm after every hidden layer where ``norm``."""
    layers = []
    for place, (inputs, outputs) in enumerate(pairwise(widths)):
        limit = np.sqrt(6 / (inputs + outputs))
        layer = {
            "weight": rng.uniform(-limit, limit, (heads, inputs, outputs)),
            "bias": np.zeros((heads, 1, outputs)),
        }
        if norm and place < len(widths) - 2:
            layer |= {"scale": np.ones((heads, 1, outputs)), "shift": np.zeros((heads, 1, outputs))}
        layers.append({name: array.astype(np.float32) for name, array in layer.items()})
    return layers
