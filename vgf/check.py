"""Ranges of configuration values, checked before anything is made."""

from __future__ import annotations

import math
from typing import Any

from omegaconf import OmegaConf

from vgf.config import Config
from vgf.errors import UserError
from vgf.methods import budget_at, knob_of, load_method, missing_extra
from vgf.nets.extras import EXTRAS
from vgf.speed import choose
from vgf.transport.landscape import check_aggregate
from vgf.transport.select import SELECTORS
from vgf.transport.steps import STEPS

__all__ = ["check_config"]

# key: (smallest, largest) value; None: no limit
_RANGES: dict[str, tuple[float | None, float | None]] = {
    "data.transitions": (1, None),
    "data.seed": (0, None),
    "data.processes": (1, None),
    "net.hidden": (1, None),
    "net.layers": (1, None),
    "net.heads": (1, None),
    "train.steps": (1, None),
    "train.batch_size": (1, None),
    "train.learning_rate": (0, None),
    "train.discount": (0, 1),
    "train.chunk": (1, None),
    "train.n_step": (1, None),
    "train.flow_steps": (1, None),
    "train.expectile": (0, 1),
    "train.target_rate": (0, 1),
    "train.log_every": (1, None),
    "train.save_every": (1, None),
    "eval.episodes": (1, None),
    "eval.seed": (0, None),
    "eval.environments": (1, None),
    "eval.processes": (1, None),
    "transport.particles": (1, None),
    "seed": (0, None),
    "threads": (1, None),
}

_CHOICES = {
    "mode": ("train", "eval"),
    "resume": ("auto", "never"),
    "compile": ("off", "on"),
    "device": ("auto", "cpu", "cuda"),
    "data.source": ("auto", "path", "download", "generate"),
    "train.precision": ("auto", "float32", "bfloat16"),
    "transport.knob": ("steps", "size"),
    "transport.critic": ("target", "online"),
}


def check_config(config: Config) -> None:
    """Raise a UserError for the first value that is out of range, naming its key and the range."""
    tree: Any = OmegaConf.structured(config)
    for key, (low, high) in _RANGES.items():
        value = OmegaConf.select(tree, key)
        if value is None:
            continue
        if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
            limits = f"at least {low}" if high is None else f"between {low} and {high}"
            raise UserError(f"{key}={value} is out of range; it must be {limits}")
    for key, valid in _CHOICES.items():
        choose(key, OmegaConf.select(tree, key), valid)
    for name in config.net.extras:
        choose("net.extras", name, tuple(EXTRAS))
    choose("transport.select", config.transport.select, tuple(SELECTORS))
    if config.transport.step is not None:
        choose("transport.step", config.transport.step, tuple(STEPS))
    check_aggregate(config.transport.aggregate)
    knob_of(config)
    if config.mode == "train":
        missing_extra(config, config.net.extras)
    for knob in config.eval.budgets or []:
        budget_at(config, knob)
    for name in config.eval.baselines:
        load_method(name)
