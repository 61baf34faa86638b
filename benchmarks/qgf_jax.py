"""QGF in JAX with optax: one jitted function a training step, as JAX agents are commonly written.

Equations and names are those of ``qgf_torch.py`` (arXiv 2606.11087; IQL: arXiv 2110.06169, eqs. 4 to 6). The batch is
drawn by NumPy on the host and given to the jitted step.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from nets_jax import as_parameters, heads_of, perceptron, time_embedding
from weights import Weights

__all__ = ["QGF"]

Batch = Mapping[str, Any]


class QGF:
    """One agent; ``update`` and ``act`` are compiled on their first call."""

    def __init__(
        self, weights: Weights, *, activation: str = "gelu", expectile: float = 0.9, target_rate: float = 0.005,
        learning_rate: float = 3e-4, flow_steps: int = 10,
    ) -> None:  # fmt: skip
        self.activation, self.expectile, self.flow_steps = activation, expectile, flow_steps
        self.target_rate = target_rate
        self.parameters = {name: as_parameters(layers) for name, layers in weights.items()}
        self.target = jax.tree.map(jnp.copy, self.parameters["q"])
        self.optimizer = optax.adam(learning_rate)
        self.state = self.optimizer.init(self.parameters)
        self._update = jax.jit(self._one_update)
        self._act = jax.jit(self._sample, static_argnames="guided")

    def velocity(self, flow: Any, s: jax.Array, x: jax.Array, t: jax.Array) -> jax.Array:
        return perceptron(flow, jnp.concatenate([s, x, time_embedding(t)], -1), self.activation)[0]

    def value(self, v: Any, s: jax.Array) -> jax.Array:
        return perceptron(v, s, self.activation)[0, :, 0]

    def losses(self, parameters: Any, target: Any, batch: Batch, noise: Any, t: Any) -> dict[str, jax.Array]:
        s, a = batch["observations"], batch["actions"]
        target_value = heads_of(target, s, a, self.activation).min(0)
        next_value = jax.lax.stop_gradient(self.value(parameters["v"], batch["next_observations"]))
        y = batch["returns"] + batch["discounts"] * next_value
        difference = target_value - self.value(parameters["v"], s)
        weight = jnp.where(difference > 0, self.expectile, 1 - self.expectile)
        q = heads_of(parameters["q"], s, a, self.activation)
        x_t = (1 - t) * noise + t * a
        miss = self.velocity(parameters["flow"], s, x_t, t) - (a - noise)
        return {
            "value": (weight * difference**2).mean(),
            "critic": (((q - y) ** 2).sum(0) * batch["valid"]).mean(),
            "flow": (miss**2 * batch["valid"][:, None]).mean(),
        }

    def _one_update(self, parameters: Any, target: Any, state: Any, batch: Batch, noise: Any, t: Any) -> Any:
        def total(parameters: Any) -> Any:
            losses = self.losses(parameters, target, batch, noise, t)
            return sum(losses.values()), losses

        gradients, losses = jax.grad(total, has_aux=True)(parameters)
        updates, state = self.optimizer.update(gradients, state)
        parameters = optax.apply_updates(parameters, updates)
        target = optax.incremental_update(parameters["q"], target, self.target_rate)
        return parameters, target, state, losses

    def update(self, batch: Batch, noise: Any, t: Any) -> dict[str, jax.Array]:
        """One training step; returns when it is done."""
        done = self._update(self.parameters, self.target, self.state, batch, noise, t)
        self.parameters, self.target, self.state, losses = jax.block_until_ready(done)
        return losses

    def _sample(self, flow: Any, target: Any, s: Any, noise: Any, weight: Any, guided: bool) -> jax.Array:
        def value(a: jax.Array) -> jax.Array:
            return heads_of(target, s, a, self.activation).min(0).sum()

        x = noise
        for k in range(self.flow_steps):
            t = jnp.full((len(s), 1), k / self.flow_steps)
            v = self.velocity(flow, s, x, t)
            bend = v + weight * jax.grad(value)(jnp.clip(x + (1 - t) * v, -1, 1)) if guided else v
            x = x + bend / self.flow_steps
        return jnp.clip(x, -1, 1)

    def act(self, s: Any, noise: Any, weight: float) -> jax.Array:
        """Guided actions [B, D]; weight 0 leaves the critic out: the reference's own sampling."""
        sample = partial(self._act, self.parameters["flow"], self.target)
        return jax.block_until_ready(sample(s, noise, weight, guided=bool(weight)))
