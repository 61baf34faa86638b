"""What the machine can do at best: multiply-adds in a large matrix product, bytes read from an array."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vgf.bench.timing import Side, Speed, Steps, race

__all__ = ["Roofs", "measure_roofs"]

_SIZE = 1024  # of the matrix product


@dataclass(frozen=True)
class Roofs:
    """Floating-point operations a second in float32 and bfloat16, and bytes read a second."""

    float32: float
    bfloat16: float
    read: float


def measure_roofs(speed: Speed, *, read_bytes: int = 1 << 26, device: str = "cpu", size: int = _SIZE) -> Roofs:
    """Measure them on one thread; the fastest call counts.

    Args:
        read_bytes: of the array that is read; one that fits a cache is read at the cache's rate.
        size: of the square matrices.
    """
    found = race([Side(_build, (read_bytes, device, size))], speed).times
    best = {name: times.quantile(0.0) for name, times in found.items()}
    operations = 2 * size**3
    return Roofs(operations / best["float32"], operations / best["bfloat16"], read_bytes / best["read"])


def _build(read_bytes: int, device: str, size: int) -> Steps:
    row = torch.ones(read_bytes // 4, device=device)
    a = torch.randn(size, size, device=device)
    b = a.bfloat16()

    def done(x: torch.Tensor) -> None:
        if x.is_cuda:
            torch.cuda.synchronize()

    return {"float32": lambda: done(a @ a), "bfloat16": lambda: done(b @ b), "read": lambda: done(row.sum())}
