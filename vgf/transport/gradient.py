"""Gradients with respect to particles: autograd by itself, torch.func where several models are evaluated at once.

``torch.autograd.grad`` does not see through ``torch.func.vmap``, ``torch.func.grad`` does, but costs about twice as
much for one particle. Whoever calls a field or a loss under ``vmap`` says so with :func:`inside_vmap`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

__all__ = ["gradient_at", "gradient_beside", "inside_vmap", "is_inside_vmap", "outside_inference"]

P = ParamSpec("P")
R = TypeVar("R")

_vmapped = False


@contextlib.contextmanager
def inside_vmap() -> Iterator[None]:
    """Gradients taken meanwhile are ones that ``torch.func.vmap`` can batch."""
    global _vmapped
    before, _vmapped = _vmapped, True
    try:
        yield
    finally:
        _vmapped = before


def is_inside_vmap() -> bool:
    """Whether a block of :func:`inside_vmap` is being run."""
    return _vmapped


def outside_inference(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function take gradients where its caller is in ``torch.inference_mode``, which forbids them to all within.

    Tensors made in that mode take no part in any gradient; those among the arguments are copied.
    """

    @functools.wraps(function)
    def called(*args: P.args, **settings: P.kwargs) -> R:
        if not torch.is_inference_mode_enabled():
            return function(*args, **settings)
        with torch.inference_mode(False), torch.no_grad():
            own: Any = {name: _own(value) for name, value in settings.items()}
            return function(*map(_own, args), **own)

    return called


def _own(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def gradient_at(objective: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """d objective(x) / d x of a scalar objective, free of graph; zero where it does not depend on x."""
    if _vmapped:
        with torch.no_grad():
            return torch.func.grad(objective)(x)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return _gradient_of(objective(x), x)


def gradient_beside(objective: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of a scalar, and what else the function computes: x -> (scalar, other) gives (gradient, other)."""
    if _vmapped:
        with torch.no_grad():
            return torch.func.grad(objective, has_aux=True)(x)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        scalar, other = objective(x)
        return _gradient_of(scalar, x), other.detach()


def _gradient_of(scalar: Tensor, x: Tensor) -> Tensor:
    if not scalar.requires_grad:
        return torch.zeros_like(x)  # a constant
    (g,) = torch.autograd.grad(scalar, x, allow_unused=True)
    return torch.zeros_like(x) if g is None else g
