"""Random streams of a run, a generator for each purpose: what one draws is nothing to the others."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

from vgf.config import TrainConfig

__all__ = ["flow_times", "stream"]


def stream(device: torch.device, seed: int, name: str) -> torch.Generator:
    """A generator for one purpose; its seed has 32 bits, because a CPU's generator keeps no more of it."""
    words = np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1)
    return torch.Generator(device).manual_seed(int(words[0]))


def flow_times(size: int, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """Flow times [size, 1] in [0, 1], as ``train.flow_times`` says: uniform, or those of the flow's own steps."""
    if config.flow_times == "uniform":
        return torch.rand(size, 1, generator=generator, device=generator.device)
    grid = config.flow_steps
    return torch.randint(grid + 1, (size, 1), generator=generator, device=generator.device) / grid
