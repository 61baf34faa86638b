r"""QGF in plain PyTorch, as the paper's pseudo-code has it, nothing made faster: what our update is timed against.

Training (arXiv 2606.11087, section on the critic; IQL is arXiv 2110.06169, eqs. 4 to 6):

.. math::
    L_V &= L_2^\tau( \min_e \bar Q_e(s, a) - V(s) ), \qquad L_2^\tau(u) = |\tau - 1\{u < 0\}| u^2 \\
    L_Q &= \textstyle\sum_e ( Q_e(s, a) - R - \gamma^H m V(s') )^2 \\
    L_v &= \| v(s, x_t, t) - (a - x_0) \|^2, \quad x_t = (1 - t) x_0 + t a

Acting (eqs. 7 and 9): x += (v + w g) / T with g = grad min_e Qbar_e(s, clip(x + (1 - t) v)), the Jacobian of the
denoised estimate taken to be the identity.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from nets_torch import ensemble, heads_of, perceptron, time_embedding
from torch import Tensor
from weights import Weights

__all__ = ["QGF"]


class QGF:
    """One agent. Draws are arguments: noise [B, D], t [B, 1] in {0, 1/T, ..., 1}."""

    def __init__(
        self, weights: Weights, *, activation: str = "gelu", expectile: float = 0.9, target_rate: float = 0.005,
        learning_rate: float = 3e-4, flow_steps: int = 10,
    ) -> None:  # fmt: skip
        self.flow = perceptron(weights["flow"], activation)
        self.v = perceptron(weights["v"], activation)
        self.q = ensemble(weights["q"], activation)
        self.q_target = copy.deepcopy(self.q).requires_grad_(False)
        parameters = [*self.flow.parameters(), *self.v.parameters(), *self.q.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=learning_rate)
        self.expectile, self.target_rate, self.flow_steps = expectile, target_rate, flow_steps

    def velocity(self, s: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return self.flow(torch.cat([s, x, time_embedding(t)], -1))

    def losses(self, batch: Mapping[str, Tensor], noise: Tensor, t: Tensor) -> dict[str, Tensor]:
        s, a = batch["observations"], batch["actions"]
        with torch.no_grad():
            target_value = heads_of(self.q_target, s, a).amin(0)
            y = batch["returns"] + batch["discounts"] * self.v(batch["next_observations"]).squeeze(-1)
        difference = target_value - self.v(s).squeeze(-1)
        weight = torch.where(difference > 0, self.expectile, 1 - self.expectile)
        x_t = (1 - t) * noise + t * a
        return {
            "value": (weight * difference**2).mean(),
            "critic": (((heads_of(self.q, s, a) - y) ** 2).sum(0) * batch["valid"]).mean(),
            "flow": ((self.velocity(s, x_t, t) - (a - noise)) ** 2 * batch["valid"].unsqueeze(-1)).mean(),
        }

    def update(self, batch: Mapping[str, Tensor], noise: Tensor, t: Tensor) -> dict[str, Tensor]:
        losses = self.losses(batch, noise, t)
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        self.optimizer.step()
        with torch.no_grad():
            for target, online in zip(self.q_target.parameters(), self.q.parameters(), strict=True):
                target.mul_(1 - self.target_rate).add_(online, alpha=self.target_rate)
        return losses

    def act(self, s: Tensor, noise: Tensor, weight: float) -> Tensor:
        """Guided actions [B, D]; weight 0 leaves the critic out: the reference's own sampling."""
        x = noise
        for k in range(self.flow_steps):
            t = torch.full((len(s), 1), k / self.flow_steps)
            with torch.no_grad():
                v = self.velocity(s, x, t)
            bend = v
            if weight:
                estimate = (x + (1 - t) * v).clamp(-1, 1).requires_grad_()
                (g,) = torch.autograd.grad(heads_of(self.q_target, s, estimate).amin(0).sum(), estimate)
                bend = v + weight * g
            x = x + bend / self.flow_steps
        return x.clamp(-1, 1)
