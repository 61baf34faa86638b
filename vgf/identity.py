"""What a run is, for its checkpoints and its directory: the settings that shape training, and the code that trains."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vgf.config import Config

__all__ = ["IDENTITY", "config_sha256", "git_revision", "vgf_version"]

# Keys that shape what is trained; two calls that differ in one of them are different runs.
IDENTITY = (
    "task", "trainer", "env", "seed", "init", "net", "online", "train.steps", "train.batch_size", "train.learning_rate",
    "train.discount", "train.chunk", "train.n_step", "train.flow_steps", "train.critic", "train.expectile",
    "train.sql_alpha", "train.aggregate", "train.td", "train.actor", "train.freeze", "train.target_rate",
    "train.precision", "data.source", "data.path", "data.transitions", "data.seed", "data.rewards",
    "data.sac",
    "text.model", "text.adapter", "text.dtype", "text.prompts", "text.split", "text.opening", "text.held_out",
    "text.chat", "text.new_tokens", "text.temperature", "text.top_k", "text.top_p", "text.reward", "text.heads",
    "text.finetune",
)  # fmt: skip


def config_sha256(config: Config) -> str:
    """Hash of the settings that shape training: equal for two calls that are the same run."""
    tree = OmegaConf.structured(config)
    chosen: dict[str, Any] = {}
    for key in IDENTITY:
        value = OmegaConf.select(tree, key)
        chosen[key] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


@functools.cache
def vgf_version() -> str:
    """The installed version of this package."""
    try:
        return metadata.version("vgf")
    except metadata.PackageNotFoundError:
        return "unknown"


@functools.cache
def git_revision() -> str | None:
    """The commit that this code was checked out at; None for an installed package, or without git."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "ls-files", "--error-unmatch", Path(__file__).name]
    try:  # a package that is installed inside somebody else's checkout is not of that commit
        if subprocess.run(command, capture_output=True, timeout=5, check=False).returncode:
            return None
        found = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
