"""VGF in JAX with optax: one jitted function a training step, as JAX agents are commonly written.

Equations and names are those of ``vgf_torch.py`` (arXiv 2604.14265, eq. 7). The batch is drawn by NumPy on the host
and given to the jitted step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from nets_jax import as_parameters, heads_of, perceptron, time_embedding
from weights import Weights

__all__ = ["VGF"]

Batch = Mapping[str, Any]


class VGF:
    """One agent; ``update`` is compiled on its first call."""

    def __init__(
        self, weights: Weights, *, moves: int = 3, size: float = 0.05, alpha: float = 0.2, activation: str = "relu",
        target_rate: float = 0.005, learning_rate: float = 3e-4, flow_steps: int = 10,
    ) -> None:  # fmt: skip
        self.activation, self.flow_steps, self.target_rate = activation, flow_steps, target_rate
        self.moves, self.size, self.alpha = moves, size, alpha
        self.parameters = {name: as_parameters(weights[name]) for name in ("flow", "q")}
        self.target = jax.tree.map(jnp.copy, self.parameters["q"])
        self.optimizer = optax.adam(learning_rate)
        self.state = self.optimizer.init(self.parameters)
        self._update = jax.jit(self._one_update)

    def velocity(self, flow: Any, s: jax.Array, x: jax.Array, t: jax.Array) -> jax.Array:
        return perceptron(flow, jnp.concatenate([s, x, time_embedding(t)], -1), self.activation)[0]

    def sample_flow(self, flow: Any, s: jax.Array, x: jax.Array) -> jax.Array:
        """Euler steps of the reference, clipped at the end: s, x one row a particle."""
        for k in range(self.flow_steps):
            x = x + self.velocity(flow, s, x, jnp.full((len(x), 1), k / self.flow_steps)) / self.flow_steps
        return jnp.clip(x, -1, 1)

    def transport(self, q: Any, s: jax.Array, x: jax.Array) -> jax.Array:
        """Moved particles: s [B*N, S], x [B, N, D] -> [B, N, D]."""

        def value(x: jax.Array) -> jax.Array:
            return heads_of(q, s, x.reshape(len(s), -1), self.activation).mean(0).sum()

        adam = optax.adam(self.size)
        state = adam.init(x)
        for _ in range(self.moves):
            phi = svgd(x, jax.grad(value)(x), self.alpha)
            updates, state = adam.update(-phi, state)
            x = jnp.clip(x + updates, -1, 1)
        return x

    def losses(self, parameters: Any, target: Any, batch: Batch, noise: Any, t: Any, particles: Any) -> Any:
        s, a, count = batch["observations"], batch["actions"], particles.shape[1]
        following = jnp.repeat(batch["next_observations"], count, 0)
        frozen = jax.lax.stop_gradient(parameters)
        start = self.sample_flow(frozen["flow"], following, particles.reshape(len(following), -1))
        moved = self.transport(frozen["q"], following, start.reshape(particles.shape))
        next_value = heads_of(target, following, moved.reshape(start.shape), self.activation).mean(0)
        y = batch["returns"] + batch["discounts"] * next_value.reshape(-1, count).mean(1)
        q = heads_of(parameters["q"], s, a, self.activation)
        x_t = (1 - t) * noise + t * a
        miss = self.velocity(parameters["flow"], s, x_t, t) - (a - noise)
        return {
            "critic": (((q - y) ** 2).sum(0) * batch["valid"]).mean(),
            "flow": (miss**2 * batch["valid"][:, None]).mean(),
        }

    def _one_update(self, parameters: Any, target: Any, state: Any, batch: Batch, *draws: Any) -> Any:
        def total(parameters: Any) -> Any:
            losses = self.losses(parameters, target, batch, *draws)
            return sum(losses.values()), losses

        gradients, losses = jax.grad(total, has_aux=True)(parameters)
        updates, state = self.optimizer.update(gradients, state)
        parameters = optax.apply_updates(parameters, updates)
        target = optax.incremental_update(parameters["q"], target, self.target_rate)
        return parameters, target, state, losses

    def update(self, batch: Batch, noise: Any, t: Any, particles: Any) -> dict[str, jax.Array]:
        """One training step; returns when it is done."""
        done = self._update(self.parameters, self.target, self.state, batch, noise, t, particles)
        self.parameters, self.target, self.state, losses = jax.block_until_ready(done)
        return losses


def svgd(x: jax.Array, score: jax.Array, alpha: float) -> jax.Array:
    """Direction phi [B, N, D] of eq. 7."""
    count = x.shape[1]

    def squared(x: jax.Array, y: jax.Array) -> jax.Array:
        return ((x[:, :, None] - y[:, None]) ** 2).sum(-1)  # [B, N, N]

    sigma2 = jnp.median(squared(x, x).reshape(len(x), -1), axis=1) / (2 * math.log(count + 1))
    gamma = 1 / (2 * sigma2 + 1e-6)[:, None, None]

    def kernel(free: jax.Array) -> jax.Array:
        return jnp.exp(-gamma * squared(free, x))

    repulsion = jax.grad(lambda free: kernel(free).sum())(x)
    return (kernel(x) @ score / alpha - repulsion) / count
