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

__all__ = ["MAY_GROW", "checked_out", "config_sha256", "difference", "git_revision", "identity", "vgf_version"]

# Keys that shape what is trained; two calls that differ in one of them are different runs.
_KEYS = (
    "task", "trainer", "env", "seed", "init", "net", "online", "train.steps", "train.batch_size", "train.learning_rate",
    "train.discount", "train.chunk", "train.n_step", "train.flow_steps", "train.critic", "train.expectile",
    "train.sql_alpha", "train.aggregate", "train.td", "train.actor", "train.freeze", "train.target_rate",
    "train.precision", "train.flow_times", "data.source", "data.path", "data.transitions", "data.seed", "data.rewards",
    "data.sac", "data.columns", "data.held_out", "data.action_low", "data.action_high",
    "text.model", "text.adapter", "text.dtype", "text.prompts", "text.columns", "text.split", "text.opening",
    "text.held_out", "text.chat", "text.new_tokens", "text.temperature", "text.top_k", "text.top_p", "text.stop",
    "text.reward", "text.heads", "text.finetune",
)  # fmt: skip
_OF_MOVES = ("method", "transport", "budget", "text.limits")
MAY_GROW = ("rounds", "measured")  # of text.finetune: a finished run goes on with more of them


def identity(config: Config) -> dict[str, Any]:
    """The settings that shape what is trained, as plain values: equal for two calls that are the same run.

    How particles move is among them where training learns from moved samples (``trainer=distill``), or where the run's
    own method explores (``trainer=online online.method=null``).
    """
    explores = config.trainer == "online" and config.online.method is None
    moves = explores or config.trainer == "distill"
    settings: Any = OmegaConf.to_container(OmegaConf.structured(config))
    for key in MAY_GROW:
        del settings["text"]["finetune"][key]
    del settings["online"]["eval_every"]  # evaluating more often changes no training
    if config.trainer != "online":
        settings["online"] = None
    return {key: _at(settings, key) for key in (*_KEYS, *(_OF_MOVES if moves else ()))}


def difference(ours: Config, theirs: Config) -> tuple[str, Any, Any] | None:
    """The first setting that makes two configurations different runs: key, our value, theirs; None for the same run."""
    mine, other = identity(ours), identity(theirs)
    key = next((key for key in mine if mine[key] != other.get(key)), None)
    return None if key is None else _innermost(key, mine[key], other.get(key))


def config_sha256(config: Config) -> str:
    """Hash of the :func:`identity`."""
    return hashlib.sha256(json.dumps(identity(config), sort_keys=True).encode()).hexdigest()


def _at(settings: Any, key: str) -> Any:
    for name in key.split("."):
        settings = None if settings is None else settings[name]
    return settings


def _innermost(key: str, mine: Any, other: Any) -> tuple[str, Any, Any]:
    """The first entry that differs in nested settings."""
    if not (isinstance(mine, dict) and isinstance(other, dict)):
        return key, mine, other
    name = next(name for name in {**mine, **other} if mine.get(name) != other.get(name))
    return _innermost(f"{key}.{name}", mine.get(name), other.get(name))


@functools.cache
def vgf_version() -> str:
    """The installed version of this package."""
    try:
        return metadata.version("vgf")
    except metadata.PackageNotFoundError:
        return "unknown"


@functools.cache
def git_revision() -> str | None:
    """The commit of the code that this process runs: what :func:`checked_out` said when it was first asked."""
    return checked_out()


def checked_out() -> str | None:
    """The commit that is checked out now; None for an installed package, or without git."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "ls-files", "--error-unmatch", Path(__file__).name]
    try:  # a package that is installed inside somebody else's checkout is not of that commit
        if subprocess.run(command, capture_output=True, timeout=5, check=False).returncode:
            return None
        found = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
