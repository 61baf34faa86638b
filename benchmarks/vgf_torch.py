r"""VGF in plain PyTorch, as the paper's pseudo-code has it, nothing made faster: what our update is timed against.

TD regression on moved particles (arXiv 2604.14265, eq. 7 for the transport):

.. math::
    y &= r + \gamma m \tfrac1N \textstyle\sum_i \operatorname{mean}_e \bar Q_e(s', a_i^L) \\
    a_i^0 &\sim \mu(. | s') \\
    a_i^{l+1} &= \operatorname{clip}(a_i^l + \mathrm{Adam}(\phi(a_i^l))) \\
    \phi(x) &= \tfrac1N \textstyle\sum_j [ k(a_j, x) \nabla_{a_j} Q(s', a_j) / \alpha + \nabla_{a_j} k(a_j, x) ]

The gradient is the online critics' mean, Adam starts fresh at every call, the repulsion is found by automatic
differentiation. The kernel's bandwidth, by the median heuristic, is a constant of the move.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from nets_torch import ensemble, heads_of, perceptron, time_embedding
from torch import Tensor
from weights import Weights

__all__ = ["VGF"]


class VGF:
    """One agent. Draws are arguments: noise [B, D], t [B, 1], particles [B, N, D]."""

    def __init__(
        self, weights: Weights, *, moves: int = 3, size: float = 0.05, alpha: float = 0.2, activation: str = "relu",
        target_rate: float = 0.005, learning_rate: float = 3e-4, flow_steps: int = 10,
    ) -> None:  # fmt: skip
        self.flow = perceptron(weights["flow"], activation)
        self.q = ensemble(weights["q"], activation)
        self.q_target = copy.deepcopy(self.q).requires_grad_(False)
        self.optimizer = torch.optim.Adam([*self.flow.parameters(), *self.q.parameters()], lr=learning_rate)
        self.moves, self.size, self.alpha = moves, size, alpha
        self.target_rate, self.flow_steps = target_rate, flow_steps

    def velocity(self, s: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return self.flow(torch.cat([s, x, time_embedding(t)], -1))

    def sample_flow(self, s: Tensor, x: Tensor) -> Tensor:
        """Euler steps of the reference, clipped at the end: s, x one row a particle."""
        with torch.no_grad():
            for k in range(self.flow_steps):
                t = torch.full((len(x), 1), k / self.flow_steps)
                x = x + self.velocity(s, x, t) / self.flow_steps
        return x.clamp(-1, 1)

    def transport(self, s: Tensor, x: Tensor) -> Tensor:
        """Moved particles: s [B*N, S], x [B, N, D] -> [B, N, D]."""
        x = x.clone().requires_grad_()
        adam = torch.optim.Adam([x], lr=self.size, maximize=True)
        for _ in range(self.moves):
            adam.zero_grad()
            score = torch.autograd.grad(heads_of(self.q, s, x.flatten(0, 1)).mean(0).sum(), x)[0]
            x.grad = svgd(x.detach(), score, self.alpha)
            adam.step()
            with torch.no_grad():
                x.clamp_(-1, 1)
        return x.detach()

    def losses(self, batch: Mapping[str, Tensor], noise: Tensor, t: Tensor, particles: Tensor) -> dict[str, Tensor]:
        s, a, count = batch["observations"], batch["actions"], particles.shape[1]
        following = batch["next_observations"].repeat_interleave(count, 0)
        start = self.sample_flow(following, particles.flatten(0, 1)).view_as(particles)
        moved = self.transport(following, start)
        with torch.no_grad():
            next_value = heads_of(self.q_target, following, moved.flatten(0, 1)).mean(0).view(-1, count).mean(1)
            y = batch["returns"] + batch["discounts"] * next_value
        x_t = (1 - t) * noise + t * a
        return {
            "critic": (((heads_of(self.q, s, a) - y) ** 2).sum(0) * batch["valid"]).mean(),
            "flow": ((self.velocity(s, x_t, t) - (a - noise)) ** 2 * batch["valid"].unsqueeze(-1)).mean(),
        }

    def update(self, batch: Mapping[str, Tensor], noise: Tensor, t: Tensor, particles: Tensor) -> dict[str, Tensor]:
        losses = self.losses(batch, noise, t, particles)
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        self.optimizer.step()
        with torch.no_grad():
            for target, online in zip(self.q_target.parameters(), self.q.parameters(), strict=True):
                target.mul_(1 - self.target_rate).add_(online, alpha=self.target_rate)
        return losses


def svgd(x: Tensor, score: Tensor, alpha: float) -> Tensor:
    """Direction phi [B, N, D] of eq. 7."""
    count = x.shape[1]
    squared = ((x.unsqueeze(2) - x.unsqueeze(1)) ** 2).sum(-1)  # [B, N, N]
    sigma2 = torch.quantile(squared.flatten(1), 0.5, dim=1) / (2 * math.log(count + 1))
    gamma = 1 / (2 * sigma2 + 1e-6).view(-1, 1, 1)
    free = x.clone().requires_grad_()
    kernel = torch.exp(-gamma * ((free.unsqueeze(2) - x.unsqueeze(1)) ** 2).sum(-1))
    (repulsion,) = torch.autograd.grad(kernel.sum(), free)
    return (kernel.detach() @ score / alpha - repulsion) / count
