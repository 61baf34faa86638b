"""What a run was started with: its command line, the commit, and the versions of what it stands on."""

from __future__ import annotations

import platform
import shlex
import sys
from importlib import metadata

from hydra.core.hydra_config import HydraConfig

from vgf.identity import git_revision

__all__ = ["PACKAGES", "command_line", "environment_text"]

PACKAGES = ("vgf", "torch", "numpy", "mujoco", "gymnasium", "ogbench", "safetensors", "hydra-core")


def environment_text() -> str:
    """Command line and versions, for ``environment.txt``."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    lines = [
        f"command: {command_line()}",
        f"commit: {git_revision() or 'unknown'}",
        f"python: {platform.python_version()}",
        f"platform: {platform.platform()}",
    ]
    return "\n".join(lines + [f"{k}: {v}" for k, v in versions.items()]) + "\n"


def command_line() -> str:
    """The command that makes this run, quoted for a shell; of one job of a sweep, the command of this job alone."""
    known = HydraConfig.initialized()  # a launcher's worker process has a command line of its own
    given = list(HydraConfig.get().overrides.task) if known else sys.argv[1:]
    return f"python -m vgf.run {shlex.join(given)}".rstrip()
