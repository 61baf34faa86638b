"""The processor cores that this process may use; needs no torch, so that processes of the environments may ask too."""

from __future__ import annotations

import os

__all__ = ["cores"]


def cores() -> list[int]:
    """Numbers of the cores this process may run on, at least one: a container or a batch system may leave it a few."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
