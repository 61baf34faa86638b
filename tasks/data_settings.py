"""What each task on recorded data reads of ``data.*``; what it would leave unread is refused, not ignored."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

from vgf.config import DataConfig
from vgf.data.formats.minari import is_minari_id
from vgf.data.shard_reader import MANIFEST
from vgf.errors import UserError
from vgf.files import file_sha256

__all__ = ["READ", "check_sha256", "check_source", "require_read"]

_BY_ALL = ("folder", "processes", "seed", "transitions")  # where unused, they change nothing
_OGBENCH = ("source", "path", "mirrors", "sha256")
_RECORDED = ("source", "path", "sha256", "columns", "held_out")
READ = {
    "ogbench": (*_OGBENCH, "memory_gb", "swap_every"),
    "ogbench_goals": _OGBENCH,
    "custom": (*_RECORDED, "action_low", "action_high"),
    "mujoco": (*_RECORDED, "rewards", "sac"),
}


def require_read(task: str, data: DataConfig) -> None:
    """Raise a UserError for a setting that the task does not read and that is not its default; or two that disagree.

    So too for a folder of shards, which ``task=ogbench`` alone reads.

    Args:
        task: one of ``READ``.
        data: the configuration of the data.
    """
    usual = DataConfig()
    for key in (field.name for field in fields(data)):
        if key not in (*_BY_ALL, *READ[task]) and getattr(data, key) != getattr(usual, key):
            tasks = " and ".join(f"task={name}" for name, keys in READ.items() if key in keys)
            raise UserError(f"data.{key} says nothing to task={task}: it belongs to {tasks}; leave it out")
    check_source(data)
    if task == "mujoco":
        collected = data.source == "generate" or (data.source == "auto" and not data.path)
        if collected and data.columns:
            raise UserError(
                "data.columns says nothing to data that SAC collects here: it belongs to data.path and "
                "data.source=download; leave it out"
            )
        if not collected and data.sac != usual.sac:
            raise UserError("data.sac says nothing to data that are there: SAC collects none for them; leave it out")
    if task != "ogbench" and data.path and os.path.isfile(os.path.join(os.path.expanduser(data.path), MANIFEST)):
        raise UserError(
            f"data.path={data.path} is a folder of shards, which task=ogbench reads and task={task} does not; name the "
            "file they were written from"
        )


def check_source(data: DataConfig) -> None:
    """Raise a UserError for a file of the person's own with a source that would not read it."""
    if data.path and data.source not in ("auto", "path"):
        raise UserError(f"data.path is not used with data.source={data.source}; leave one of them out")


def check_sha256(path: str | Path | None, sha256: str | None) -> None:
    """Raise a UserError unless a file has this SHA-256 checksum.

    Args:
        path: what ``data.path`` says; folders, Minari ids and None are refused, and of a file that is not there its
            reader complains.
        sha256: in hex; None: unchecked.
    """
    if sha256 is None:
        return
    file = os.path.expanduser(path or "")
    if path is None or os.path.isdir(file) or is_minari_id(str(path)):
        raise UserError(f"data.sha256 is the sum of one file, which data.path={path} does not name; leave it out")
    if os.path.isfile(file) and (digest := file_sha256(Path(file))) != sha256.lower():
        raise UserError(f"{file} has SHA-256 {digest}, not the expected {sha256}; replace the file or correct the sum")
