r"""Tilting the next token's logits by Q(h, e): the value of going on from state h with a token of embedding e.

``tilt`` is gradient-free (the control that a gradient has to beat), exact over the likeliest candidates:

.. math:: \log p(v) + w\, Q(h, E_v).

``expected`` is QGF's estimator for text: the value gradient at the *expected* next embedding, the denoised estimate of
a token, with the Jacobian taken as the identity; one gradient serves the whole vocabulary:

.. math:: \log p(v) + w\, \langle \nabla_e Q(h, \hat e), E_v \rangle, \qquad \hat e = \sum_v p(v) E_v .
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vgf.language.decoding import Samples, Sampling, decode
from vgf.language.heads import ValueHeads
from vgf.language.reference import Reference
from vgf.transport import Budget

__all__ = ["expected", "tilt"]


def tilt(
    reference: Reference,
    heads: ValueHeads,
    twins: Samples,
    sampling: Sampling,
    seed: int,
    budget: Budget,
    *,
    candidates: int = 50,
) -> Samples:
    """Sample from p(v) exp(size * Q(h, E_v)) over the likeliest candidates; no gradient is taken.

    Args:
        twins: the reference's samples at this seed, B x N.
        heads: of states beside token embeddings, width 2d (:func:`vgf.language.heads.beside_tokens`).
        budget: ``size`` is w; ``steps`` counts as one or none.
        candidates: tokens of a position that are valued; the others are left out.
    """
    table, size = reference.embeddings.float(), budget.size or 0.0

    def tilted(state: Tensor, scores: Tensor) -> Tensor:
        top, tokens = scores.topk(min(candidates, scores.shape[-1]), -1)  # [B*N, C]
        pairs = torch.cat([state.unsqueeze(1).expand(-1, top.shape[1], -1), table[tokens]], -1)
        value = heads(heads.standardised(pairs).flatten(0, 1)).mean(0).view_as(top)
        return torch.full_like(scores, float("-inf")).scatter(-1, tokens, top + size * value)

    return _decode(reference, heads, twins, sampling, seed, tilted)


def expected(
    reference: Reference,
    heads: ValueHeads,
    twins: Samples,
    sampling: Sampling,
    seed: int,
    budget: Budget,
) -> Samples:
    """Tilt all logits along the value gradient at the expected next embedding, ``steps`` times.

    Args: as :func:`tilt`; each step takes the expectation under the logits tilted so far.
    """
    table, width, size = reference.embeddings, reference.width, budget.size or 0.0

    def tilted(state: Tensor, scores: Tensor) -> Tensor:
        moved = scores
        for _ in range(budget.steps or 1):
            mean = (moved.softmax(-1).to(table.dtype) @ table).float()
            with torch.enable_grad():
                pair = heads.standardised(torch.cat([state, mean], -1)).detach().requires_grad_()
                (g,) = torch.autograd.grad(heads(pair).mean(0).sum(), pair)
            g = g[:, width:] / heads.std[width:]
            moved = moved + size * (g.to(table.dtype) @ table.T)
        return moved

    return _decode(reference, heads, twins, sampling, seed, tilted)


def _decode(
    reference: Reference,
    heads: ValueHeads,
    twins: Samples,
    sampling: Sampling,
    seed: int,
    tilted: Callable[[Tensor, Tensor], Tensor],
) -> Samples:
    """Decode with logits changed by ``tilted`` (states [B*N, width], logits [B*N, V])."""
    states: list[Tensor] = []

    def watch(state: Tensor) -> Tensor:
        states[:] = [state[:, -1].float()]
        return state

    return decode(
        reference, twins.prompts, twins.particles, sampling, seed,
        layer=heads.layer, change=watch, tilt=lambda t, scores: tilted(states[0], scores),
    )  # fmt: skip
