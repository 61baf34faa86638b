r"""The noise-coupled flow: the reward's gradient at the decoded tokens, decoded again with the same noise.

    y <- argmax log p + G                                     # the reference's samples
    steps times:
        g <- dR/dE at the embeddings of y                     # [B, N, T, d]
        A <- A + size * step(phi(g))                          # phi: g, with the repulsion of SVGD where coupled
        y <- argmax log p(v | y_<t) + G_tv + <A_t, E_v>

E are the reward's embeddings (the reference's own, where the reward is built on its first blocks): <g, E_v - E_y>
is what R gains, to first order, when token y becomes v. So, to first order, this samples the KL-regularised optimum
p exp(R / alpha). A = 0 gives back the reference's samples: every particle has a twin. Units: with the step ``rms`` a
move of size 1 changes the logit of a typical token by 1.

``hidden_gumbel`` decodes with the flow in the residual stream and climbs from there.
``embedding`` is VGF's own form: it leaves the gradient at the continuous particle and decodes when the flow is done.
``logits`` moves logits instead of embeddings, straight through the softmax of the likeliest candidates:
dR/dz_v = p_v (<g, E_v> - sum_u p_u <g, E_u>).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vgf.errors import UserError
from vgf.language.decoding import Samples, Sampling, Tilt, decode
from vgf.language.heads import ValueHeads
from vgf.language.hidden import flow
from vgf.language.noise import Directions
from vgf.language.reference import Reference
from vgf.language.rewards import RewardModel
from vgf.transport import Budget
from vgf.transport.kernels import svgd_direction
from vgf.transport.steps import make_step

__all__ = ["embedding", "gumbel", "hidden_gumbel", "logits"]


def gumbel(
    reference: Reference,
    reward: RewardModel,
    twins: Samples,
    sampling: Sampling,
    seed: int,
    budget: Budget,
    *,
    step: str = "rms",
    alpha: float = 1.0,
    coupled: bool = False,
    random: bool = False,
) -> Samples:
    """Move embeddings at the decoded tokens.

    Args:
        twins: the reference's samples at this seed, B x N.
        budget: gradients, and size of a step.
        step: a key of ``vgf.transport.steps.STEPS``; statistics are taken over a particle's T*d coordinates.
        alpha: weight of the repulsion, where ``coupled``, against the gradient.
        coupled: the particles of a prompt repel each other, in the space of their mean embeddings.
        random: the control: steps of the same size along random directions.

    Raises:
        UserError: when the reward has no gradient at the reference's tokens.
    """
    reward.require_gradient(reference)

    def again(samples: Samples, tilt: Tilt, keep: bool) -> Samples:
        return _again(reference, samples, sampling, seed, tilt, keep=keep)

    how: dict[str, Any] = {"step": step, "alpha": alpha, "coupled": coupled, "random": random}
    return _climbed(reward, twins, budget, again, seed, **how)


def hidden_gumbel(
    reference: Reference,
    value: tuple[ValueHeads, RewardModel],
    twins: Samples,
    sampling: Sampling,
    seed: int,
    budget: Budget,
    *,
    rounds: int = 1,
    ratio: float = 10.0,
    step: str = "rms",
    aggregate: str = "mean",
    alpha: float = 1.0,
    gate: float | None = None,
    random: bool = False,
) -> Samples:
    """Both: the flow of ``hidden`` at every token, and on its samples the climb of ``gumbel``, flow included.

    Args:
        value: the heads that the residual stream climbs, and the reward whose gradient tilts the tokens.
        budget: of ``hidden``; a radius holds for either displacement, in its own units.
        rounds: gradients of the reward, >= 1; each decodes once more.
        ratio: size of the tilt's steps, in sizes of the budget.
        step: of both. Others, and errors: as :func:`vgf.language.hidden.hidden` and :func:`gumbel`.
    """
    heads, reward = value
    reward.require_gradient(reference)
    if not isinstance(rounds, int) or rounds < 1:
        raise UserError(f"transport.options.rounds={rounds!r} must be a whole number, 1 or more")

    how: dict[str, Any] = {"rule": "grad_step", "step": step, "aggregate": aggregate, "alpha": alpha, "gate": gate}

    def again(samples: Samples, tilt: Tilt | None, keep: bool) -> Samples:
        change = flow(heads, twins, seed, budget, random=random, **how)
        layer, prompts = heads.layer, twins.prompts
        return decode(reference, prompts, twins.particles, sampling, seed, tilt=tilt, layer=layer, change=change)

    tilts = replace(budget, steps=rounds, size=ratio * (budget.size or 0.0))
    return _climbed(reward, again(twins, None, False), tilts, again, seed, step=step, random=random)


def _climbed(
    reward: RewardModel,
    samples: Samples,
    budget: Budget,
    again: Callable[[Samples, Tilt, bool], Samples],
    seed: int,
    *,
    step: str,
    alpha: float = 1.0,
    coupled: bool = False,
    random: bool = False,
) -> Samples:
    """Tilt by the reward's gradient at the samples, and decode ``again``, as often as the budget's steps say."""
    table, unit = _scaled(reward)
    directions = Directions(seed, samples.prompts, samples.particles, table.device) if random else None
    take, size = make_step(step), budget.size or 0.0
    moved = torch.zeros(*samples.tokens.shape, table.shape[1], device=table.device)  # A: [B, N, T, d]
    for k in range(steps := budget.steps or 0):
        _, g = reward.gradient(samples)
        if directions:
            g = directions.draw(*g.shape[2:]).view_as(g)
        phi = _coupled(table[samples.tokens].float(), samples.mask, g, alpha) if coupled else g
        moved = _within(moved + size * take(phi.flatten(2), None, None).view_as(moved), budget.radius)
        samples = again(samples, _tilt(moved * unit, table), k + 1 < steps)
    return samples


def embedding(
    reference: Reference,
    reward: RewardModel,
    twins: Samples,
    sampling: Sampling,
    seed: int,
    budget: Budget,
    *,
    step: str = "rms",
    alpha: float = 1.0,
    coupled: bool = True,
) -> Samples:
    """VGF's form: flow in the continuous embedding space, decode once at the end (arXiv 2604.14265).

    The paper does not say how a moved embedding becomes a token. Here its displacement tilts the logits, so that an
    unmoved particle is the reference's sample; ``size`` is in standard deviations of an embedding's entries.

    Args and errors: as :func:`gumbel`.
    """
    reward.require_gradient(reference)
    table, unit = _scaled(reward)
    spread, take, size = float(table.float().std()), make_step(step), budget.size or 0.0
    twin = table[twins.tokens].float()  # [B, N, T, d]
    x = twin
    for _ in range(budget.steps or 0):
        _, g = reward.gradient(twins, x)
        phi = _coupled(x, twins.mask, g, alpha) if coupled else g
        x = x + size * spread * take(phi.flatten(2), None, None).view_as(x)
        x = twin + spread * _within((x - twin) / spread, budget.radius)
    tilt = _tilt((x - twin) / spread * unit, table)
    return _again(reference, twins, sampling, seed, tilt, keep=False)


def logits(
    reference: Reference,
    reward: RewardModel,
    twins: Samples,
    sampling: Sampling,
    seed: int,
    budget: Budget,
    *,
    step: str = "rms",
    candidates: int = 50,
) -> Samples:
    """Straight-through: move the logits of the likeliest candidates of every position.

    Args:
        candidates: how many tokens of a position can be moved; the others keep the reference's logits.
        Others, and errors: as :func:`gumbel`.
    """
    reward.require_gradient(reference)
    table, take, size = reward.embeddings.float(), make_step(step), budget.size or 0.0
    kept = _Candidates(candidates)
    samples = _again(reference, twins, sampling, seed, kept, keep=True)  # the twins, seen by kept
    for k in range(steps := budget.steps or 0):
        _, g = reward.gradient(samples)  # [B, N, T, d]
        tokens, p = kept.seen()  # [B*N, T, C]
        along = torch.einsum("btcd,btd->btc", table[tokens], g.flatten(0, 1)[:, : tokens.shape[1]])
        gains = p * (along - (p * along).sum(-1, keepdim=True))
        kept.add(tokens, size * take(gains.flatten(1), None, None).view_as(gains))
        samples = _again(reference, samples, sampling, seed, kept, keep=k + 1 < steps)
    return samples


def _again(reference: Reference, samples: Samples, sampling: Sampling, seed: int, tilt: Tilt, *, keep: bool) -> Samples:
    """Decode once more with the same noise; a particle is read from its first changed token on.

    ``keep``: note what is read, for the next time.
    """
    trace = samples.trace
    return decode(reference, samples.prompts, samples.particles, sampling, seed, tilt=tilt, trace=trace, keep=keep)


class _Candidates:
    """A tilt that adds what the likeliest tokens of every position have been moved by, and sees who they are now."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._now: list[tuple[Tensor, Tensor]] = []  # tokens and probabilities [B*N, C] of each position
        self._moved: list[tuple[Tensor, Tensor]] = []  # tokens and moves [B*N, T, C] of each step

    def __call__(self, t: int, scores: Tensor) -> Tensor:
        if t == 0:
            self._now = []
        for tokens, moves in self._moved:
            if t < tokens.shape[1]:
                scores = scores.scatter_add(-1, tokens[:, t], moves[:, t])
        top, tokens = scores.topk(min(self.count, scores.shape[-1]), -1)
        self._now.append((tokens, (top - scores.logsumexp(-1, keepdim=True)).exp()))
        return scores

    def seen(self) -> tuple[Tensor, Tensor]:
        """Candidates of the last decoding and their probabilities, [B*N, T, C]."""
        tokens, p = zip(*self._now, strict=True)
        return torch.stack(tokens, 1), torch.stack(p, 1)

    def add(self, tokens: Tensor, moves: Tensor) -> None:
        """Move these logits in every decoding from now on."""
        self._moved.append((tokens, moves))


def _scaled(reward: RewardModel) -> tuple[Tensor, float]:
    """The reward's embeddings E [V, d], and the length that makes <A, E_v> of order 1 for A of RMS 1."""
    table = reward.embeddings
    return table, 1 / (table.shape[1] ** 0.5 * float(table.float().std()))


def _within(moved: Tensor, radius: float | None) -> Tensor:
    """Displacements [B, N, T, d] cut to an RMS of ``radius`` a particle."""
    if radius is None:
        return moved
    length = moved.square().mean((2, 3), keepdim=True).sqrt()
    return moved * (radius / length.clamp_min(1e-12)).clamp_max(1.0)


def _tilt(moved: Tensor, table: Tensor) -> Tilt:
    rows = moved.flatten(0, 1).to(table.dtype)  # [B*N, T, d]
    return lambda t, scores: scores.add_(rows[:, t] @ table.T)


def _coupled(x: Tensor, mask: Tensor, g: Tensor, alpha: float) -> Tensor:
    """The gradient g over alpha, plus SVGD's repulsion between mean embeddings: texts repel as wholes.

    Embeddings x and gradients [B, N, T, d], mask [B, N, T] -> [B, N, T, d].

    Deviation from SVGD: gradients are not averaged over the kernel. Tokens at one place of different texts have nothing
    to do with each other, so their gradients are not each other's.
    """
    weight = mask.unsqueeze(-1).float()
    pooled = (x * weight).sum(2) / weight.sum(2)  # [B, N, d]
    repulsion = svgd_direction(pooled, torch.zeros_like(pooled), alpha=alpha)
    return g / alpha + repulsion.unsqueeze(2) * weight
