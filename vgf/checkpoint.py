"""Checkpoints: safetensors files and a JSON manifest in one folder a step; no pickle anywhere.

    checkpoints/step-000030000/networks.safetensors   parameters and buffers
                               training.safetensors   optimiser moments, random state (to go on training)
                               manifest.json          step, network sizes, sha256 of both files
    checkpoints/latest                                name of the newest complete folder

A folder is filled under a temporary name and renamed, ``latest`` moves last, then older folders go.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor

from vgf.errors import UserError
from vgf.files import atomic_write_text, writing

__all__ = ["FORMAT", "Checkpoint", "latest_step", "load_checkpoint", "save_checkpoint"]

FORMAT = 1
_KEEP = 2
_FILES = ("networks", "training")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        step: updates made.
        networks: parameters and buffers by name.
        training: optimiser and random state by name; empty when it was not asked for.
        manifest: whatever else the trainer wrote, JSON values.
    """

    step: int
    networks: dict[str, Tensor]
    training: dict[str, Tensor]
    manifest: dict[str, Any]


def save_checkpoint(
    run_dir: Path, step: int, networks: dict[str, Tensor], training: dict[str, Tensor], manifest: dict[str, Any]
) -> Path:
    """Write the checkpoint of ``step``, then move ``latest`` to it and drop all but the newest two.

    Raises:
        UserError: full disk, no permission.
    """
    folder = run_dir / "checkpoints"
    target = folder / f"step-{step:09d}"
    temporary = folder / f".{target.name}.tmp"
    with writing("the checkpoint", folder):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        digests = {}
        for name, tensors in (("networks", networks), ("training", training)):
            path = temporary / f"{name}.safetensors"
            # Serialised first, written by us: safetensors' own errors hide a full disk behind a type of its own.
            path.write_bytes(serialize({k: v.detach().cpu().contiguous() for k, v in tensors.items()}))
            digests[path.name] = _sha256(path)
            _flush(path)
        record = {"format": FORMAT, "step": step, "sha256": digests, **manifest}
        atomic_write_text(temporary / "manifest.json", json.dumps(record, indent=2) + "\n")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
        atomic_write_text(folder / "latest", target.name + "\n")
        for old in sorted(folder.glob("step-*"))[:-_KEEP]:
            shutil.rmtree(old, ignore_errors=True)
    return target


def latest_step(run_dir: Path) -> int | None:
    """Step of the newest complete checkpoint, or None.

    Raises:
        UserError: when the pointer names no checkpoint.
    """
    pointer = run_dir / "checkpoints" / "latest"
    if not pointer.is_file():
        return None
    named = re.fullmatch(r"step-(\d+)\s*", pointer.read_text(errors="replace"))
    if named is None:
        raise UserError(f"{pointer} is damaged; write the name of the newest step-... folder beside it into the file")
    return int(named[1])


def load_checkpoint(run_dir: Path, *, training: bool = False) -> Checkpoint:
    """Read the newest checkpoint of a run and check it against its manifest.

    Raises:
        UserError: no checkpoint, a damaged one, or one that a newer version of vgf wrote.
    """
    step = latest_step(run_dir)
    if step is None:
        raise UserError(
            f"{run_dir} holds no checkpoint; give the directory of a run that has trained (run_dir of its config)"
        )
    folder = run_dir / "checkpoints" / f"step-{step:09d}"
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        if manifest["format"] > FORMAT:
            raise UserError(
                f"{folder} has checkpoint format {manifest['format']}; this vgf reads up to {FORMAT}, update it"
            )
        tensors: dict[str, dict[str, Tensor]] = {"training": {}}
        for name in _FILES if training else _FILES[:1]:
            path = folder / f"{name}.safetensors"
            if _sha256(path) != manifest["sha256"][path.name]:
                raise UserError(f"{path} is damaged (its sha256 is not the manifest's); restore it from a copy")
            tensors[name] = load_file(path)
    except UserError:
        raise
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} cannot be read ({type(error).__name__}: {error}); restore it from a copy") from error
    return Checkpoint(step, tensors["networks"], tensors["training"], manifest)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
