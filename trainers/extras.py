"""Extras afterwards: networks that single rules need, trained on top of a finished run that stays as it is.

    python -m vgf.run trainer=extras init=RUN_DIR "net.extras=[flow_map]"

The new run holds the old one's reference and critics, bit for bit, and the new networks beside them.
"""

from __future__ import annotations

import torch

from vgf.config import Config
from vgf.problem import Problem
from vgf.rundir import RunDirectory
from vgf.trainers import loop
from vgf.trainers.extra_losses import extra_terms
from vgf.trainers.terms import Term

__all__ = ["objective", "train"]


def objective(config: Config) -> dict[str, Term]:
    """The losses of the extras alone."""
    return extra_terms(config)


def train(config: Config, problem: Problem, run: RunDirectory, device: torch.device) -> int:
    """Train ``net.extras`` alone; see :func:`vgf.trainers.loop.train`."""
    return loop.train(config, problem, run, device, objective(config))
