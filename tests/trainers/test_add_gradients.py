"""Pieces of an update side by side."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch.autograd.graph import get_gradient_edge

from vgf.trainers.pieces import add_gradients


def test_what_collects_a_gradient_is_there_before_any_thread_asks():
    """One that a thread makes is made under the parameter's lock, while others that read it hold Python's."""
    weight = torch.ones(3, requires_grad=True)
    found = []

    def piece() -> dict[str, torch.Tensor]:
        node = get_gradient_edge(weight).node
        found.append("seen" in node.metadata)
        node.metadata["seen"] = True
        return {"a/loss": weight.square().sum()}

    add_gradients([piece, piece], [weight], nullcontext)
    assert found == [False, True], "the second piece finds the first one's"
    assert torch.equal(weight.grad, torch.full((3,), 4.0))
