r"""RLOO on the proxy, through TRL: REINFORCE with the other completions of a prompt as baseline.

    A_i = r_i - mean_{j != i} r_j,   r = R(x, y) - beta * log(p_adapted(y) / p_reference(y))     (arXiv 2402.14740)
    loss = - mean_i A_i log p_adapted(y_i | x)

The reference is the same, as are reward, prompts and sampling, so that its adapter compares with that of
``trainer=distill``. An interrupted training begins again.
"""

from __future__ import annotations

import torch

from vgf.config import Config
from vgf.language.problem import TextProblem
from vgf.rundir import RunDirectory
from vgf.trainers.lora import train_online

__all__ = ["train"]


def train(config: Config, problem: TextProblem, run: RunDirectory, device: torch.device) -> None:
    """Train the adapter into ``checkpoints/adapter``; one that is there is not trained again."""
    train_online("RLOO", config, problem, run, device)
