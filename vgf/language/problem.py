"""What a language task hands to its trainers: reference, rewards, and prompts that no two purposes share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from vgf.config import Config
from vgf.language.policy import Reward
from vgf.language.reference import Reference

__all__ = ["Remake", "TextProblem"]

Remake = Callable[[Config, torch.device], "TextProblem"]


@dataclass(frozen=True)
class TextProblem:
    """One language problem.

    Attributes:
        reference: source of particles.
        reward: the proxy, which guides and selects.
        judges: ``gold``, and perhaps ``second``; they never guide.
        train_prompts: for value heads and finetuning.
        held_out: for evaluation alone.
        chosen: what the data set holds as the good completion of each held-out prompt, or None.
        reward_path: folder of the proxy, or None when it is a function.
        facts: label -> text, for the report.
        remake: makes the problem anew in another process, a function at the top of a module; None: nothing does.
    """

    reference: Reference
    reward: Reward
    judges: dict[str, Reward]
    train_prompts: list[str]
    held_out: list[str]
    chosen: list[str] | None
    reward_path: str | None
    facts: dict[str, str]
    remake: Remake | None = None
