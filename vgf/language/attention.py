"""Attention on a processor, for many particles with one new token each.

Where several query heads share a head of keys and values, transformers' ``eager`` attention copies keys and values once
a query head, and multiplies each query head alone. Here the queries that share a head are the rows of one matrix
product, and nothing is copied. The sums are the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["GROUPED", "attention_for"]

GROUPED = "vgf_grouped"  # the name under which transformers knows it


def attention_for(model_class: Any, device: torch.device) -> str | None:
    """The implementation to load a model with; None: what transformers thinks best.

    A model that cannot use plain scaled dot products (attention sinks, capped logits), or looks its attention up in a
    table of its own (Falcon), brings its own sums: ``eager``.
    """
    if device.type != "cpu":
        return None
    if not all(getattr(model_class, name, False) for name in ("_supports_sdpa", "_supports_attention_backend")):
        return "eager"
    _register()
    return GROUPED


def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register(GROUPED, _grouped)
    AttentionMaskInterface.register(GROUPED, eager_mask)


def _grouped(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Scaled dot products; query [B, H, L, d], key and value [B, G, K, d], H a multiple of G -> [B, L, H, d]."""
    batch, heads, length, size = query.shape
    groups, seen = key.shape[1:3]
    packed = query.reshape(batch, groups, heads // groups * length, size)
    weights = torch.matmul(packed, key.transpose(2, 3)).view(batch, heads, length, seen)
    weights = weights * (size**-0.5 if scaling is None else scaling)
    if attention_mask is not None:
        weights = weights + attention_mask
    weights = nn.functional.softmax(weights, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    found = torch.matmul(weights.view(batch, groups, -1, seen), value)
    return found.view(batch, heads, length, -1).transpose(1, 2).contiguous(), None
