"""Networks of the JAX references: parameters are plain trees, the heads of an ensemble are one ``vmap``.

``gelu`` is the tanh approximation, Flax's default and so the authors'; with ``gelu_exact`` tests compare losses with
PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from weights import Layers

__all__ = ["as_parameters", "heads_of", "perceptron", "time_embedding"]

Activation = Callable[[jax.Array], jax.Array]
_ACTIVATIONS: dict[str, Activation] = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_exact": lambda x: jax.nn.gelu(x, approximate=False),
    "relu": jax.nn.relu,
}


def as_parameters(layers: Layers) -> list[dict[str, jax.Array]]:
    """NumPy layers on the device."""
    return jax.tree.map(jnp.asarray, layers)


def perceptron(layers: list[dict[str, jax.Array]], x: jax.Array, activation: str) -> jax.Array:
    """All heads at x [B, in]: [E, B, out]."""
    act = _ACTIVATIONS[activation]

    def one_head(layers: list[dict[str, jax.Array]]) -> jax.Array:
        h = x
        for place, layer in enumerate(layers):
            h = h @ layer["weight"] + layer["bias"]
            if place < len(layers) - 1:
                h = act(h)
            if "scale" in layer:
                h = _layer_norm(h) * layer["scale"] + layer["shift"]
        return h

    return jax.vmap(one_head)(layers)


def _layer_norm(x: jax.Array) -> jax.Array:
    return (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-6)


def heads_of(critics: list[dict[str, jax.Array]], s: jax.Array, a: jax.Array, activation: str) -> jax.Array:
    """Q_e(s, a) of every head: [E, B]."""
    return perceptron(critics, jnp.concatenate([s, a], -1), activation)[..., 0]


def time_embedding(t: jax.Array, features: int = 16) -> jax.Array:
    """Sines, then cosines, of t * 1e4 at geometric frequencies: t [B, 1] -> [B, features]."""
    half = features // 2
    angles = t * 1e4 * jnp.exp(jnp.arange(half) * (-jnp.log(1e4) / (half - 1)))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)
