"""Losses: pure functions of predictions, targets and noise. No network and no random state in here."""

from __future__ import annotations

from torch import Tensor

__all__ = ["expectile_loss", "flow_matching_pair", "masked_mean", "sql_loss", "td_target"]


def expectile_loss(diff: Tensor, expectile: float) -> Tensor:
    """Asymmetric square loss, elementwise: |expectile - 1{diff <= 0}| * diff^2 (IQL, arXiv 2110.06169, eq. 4).

    Args:
        diff: target - prediction, any shape.
        expectile: in (0, 1); 0.5 is half the mean square, towards 1 the prediction nears the maximum.
    """
    return ((diff > 0) * (2 * expectile - 1) + (1 - expectile)) * diff.square()


def sql_loss(diff: Tensor, alpha: float) -> Tensor:
    """Sparse Q-learning value loss, elementwise: alpha * max(1 + diff / (2 alpha), 0)^2 - diff.

    SQL (arXiv 2303.15810) up to a term without gradient, scaled by alpha as in the
    code of VGF.

    Args:
        diff: Q - V, any shape.
        alpha: weight of the value regulariser, > 0.
    """
    return alpha * (1 + diff / (2 * alpha)).clamp_min(0).square() - diff


def td_target(returns: Tensor, discounts: Tensor, next_values: Tensor) -> Tensor:
    """Bootstrapped target R + discount * V(s'), all [B].

    Args:
        returns: discounted sum of the rewards up to s'.
        discounts: gamma to the number of steps between s and s', 0 where a true terminal lies between.
        next_values: value of s'.
    """
    return returns + discounts * next_values


def flow_matching_pair(clean: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Point on the straight path and the velocity there: x_t = (1 - t) noise + t clean, u = clean - noise.

    Args:
        clean, noise: [B, D].
        t: [B, 1] in [0, 1]; 0 is noise.
    """
    return (1 - t) * noise + t * clean, clean - noise


def masked_mean(loss: Tensor, weight: Tensor) -> Tensor:
    """Mean of ``loss * weight`` over all entries, weightless ones counted (as the authors' code does)."""
    return (loss * weight).mean()
