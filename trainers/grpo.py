r"""GRPO on the proxy, through TRL: the policy gradient with advantages standardised within a prompt's completions.

    A_i = (r_i - mean_j r_j) / std_j r_j         j: completions of the same prompt
    loss = - mean_i,t min(rho A_i, clip(rho) A_i) + beta * KL(adapted || reference)     (arXiv 2402.03300)

TRL's default normalisation over tokens (DAPO) stays. The reference is the same, as are reward, prompts and sampling, so
that its adapter compares with that of ``trainer=distill``. An interrupted training begins again.
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
    train_online("GRPO", config, problem, run, device)
