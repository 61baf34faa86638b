"""Isotropic Gaussian mixtures as data: along the path x_t = (1 - t) x_0 + t x_1 everything is known in closed form.

With x_0 ~ N(0, I), component k of the data, N(m_k, s_k^2 I) with weight w_k, is at time t

    p(x_t | k) = N(t m_k, c_k I),  c_k = t^2 s_k^2 + (1 - t)^2,  r_k(x_t) = p(k | x_t) ~ w_k p(x_t | k)
    p(x_1 | x_t, k) = N(m_k + t s_k^2 / c_k (x_t - t m_k), s_k^2 (1 - t)^2 / c_k I)
    v(x_t, t) = (E[x_1 | x_t] - x_t) / (1 - t) = sum_k r_k [m_k + (t s_k^2 - (1 - t)) / c_k (x_t - t m_k)]

The last form has no division by 1 - t. A reference flow with this velocity needs no training and has no error but
that of its Euler steps.

A mixture's p(x_1 | x_t) has no closed form that is smooth in x_t and in a Gaussian noise eps at once; its samples
come from integrating the posterior flow (``vgf.transport.posterior``). A single component has one: mean + std * eps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vgf.transport.posterior import PosteriorSampler, glass_sampler

__all__ = ["Mixture"]

_INNER_STEPS = 16  # Euler steps of the posterior flow: second moments come out up to a tenth too small


class Mixture:
    """Mixture of K isotropic Gaussians in D dimensions, float64.

    Args:
        weights: K positive numbers; they are normalised.
        means: K rows of D coordinates.
        stds: K standard deviations, > 0.
    """

    def __init__(self, weights: Sequence[float], means: Sequence[Sequence[float]], stds: Sequence[float]) -> None:
        self.weights = torch.tensor(weights, dtype=torch.float64)
        self.weights /= self.weights.sum()
        self.means = torch.tensor(means, dtype=torch.float64)  # [K, D]
        self.stds = torch.tensor(stds, dtype=torch.float64)  # [K]

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Independent samples [count, D]."""
        which = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], generator=generator, dtype=torch.float64)
        return self.means[which] + self.stds[which, None] * noise

    def density(self, x: Tensor) -> Tensor:
        """Density of the data at x: [R, D] -> [R]."""
        _, _, log_joint = self._noisy_parts(x, x.new_ones(len(x), 1))
        return log_joint.exp().sum(1) * (2 * torch.pi) ** (-x.shape[1] / 2)

    def posterior(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """p(x_1 | x_t), again a mixture: x_t [R, D], t [R, 1] -> weights [R, K], means [R, K, D], stds [R, K]."""
        offset, variance, log_joint = self._noisy_parts(x_t, t)
        gain = t * self.stds**2 / variance
        return log_joint.softmax(1), self.means + gain[..., None] * offset, self.stds * (1 - t) / variance.sqrt()

    def velocity(self, context: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """E[x_1 - x_0 | x_t = x]: x [R, D], t [R, 1] -> [R, D]. The context is not looked at."""
        offset, variance, log_joint = self._noisy_parts(x, t)
        slope = (t * self.stds**2 - (1 - t)) / variance
        return (log_joint.softmax(1)[..., None] * (self.means + slope[..., None] * offset)).sum(1)

    def sampler(self) -> PosteriorSampler:
        """Samples of p(x_1 | x_t), smooth in x_t and eps: exact for one component, else by the posterior flow."""
        if len(self.weights) > 1:
            return glass_sampler(self.velocity, _INNER_STEPS)

        def affine(context: Tensor, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
            _, means, stds = self.posterior(x_t, t)
            return means[:, 0] + stds * eps

        return affine

    def expected_square(self, x_t: Tensor, t: Tensor, goal: float) -> Tensor:
        """E[|x_1 - goal|^2 | x_t], exact: [R, D], [R, 1] -> [R]."""
        weights, means, stds = self.posterior(x_t, t)
        return (weights * ((means - goal).square().sum(-1) + x_t.shape[1] * stds**2)).sum(1)

    def _noisy_parts(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x - t m_k [R, K, D], c_k [R, K], and log w_k p(x | k) [R, K] up to a constant."""
        offset = x[:, None] - t[..., None] * self.means
        variance = t**2 * self.stds**2 + (1 - t) ** 2
        log_likelihood = -offset.square().sum(-1) / (2 * variance) - x.shape[1] / 2 * variance.log()
        return offset, variance, self.weights.log() + log_likelihood
