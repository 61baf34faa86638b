"""Checkpoints: safetensors files and a JSON manifest in one folder a step; no pickle anywhere.

    checkpoints/step-000030000/networks.safetensors   parameters and buffers, target networks among them
                               training.safetensors   optimiser moments, random streams, replay (to go on training)
                               manifest.json          what they are, and the sha256 of both
    checkpoints/latest                                name of the newest complete folder
                best                                  name of the best of those played (see vgf/rotation.py)

A folder is filled under a temporary name, flushed to the disk, renamed; ``latest`` moves last, then older folders go
(renamed first, so that no half of one is ever there; where a crash came before that, ``drop_old`` makes up for it).
A damaged checkpoint is passed over in favour of the one before it, in one line on stderr. To go back to an earlier
step, write its folder's name into ``latest``.

Format 2 (this one) adds to format 1: the version and the commit that wrote it, a hash of the settings that shape
training, seeds, the length of ``metrics.jsonl``, and a checksum of the manifest itself. Format 1 is still read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor

from vgf.errors import UserError
from vgf.files import atomic_write_text, file_sha256, flush, sweep, writing
from vgf.identity import git_revision, vgf_version
from vgf.rotation import best_step, kept_steps, scores_of

__all__ = [
    "FORMAT", "Checkpoint", "drop_old", "latest_step", "load_checkpoint", "point_to_best", "save_checkpoint",
    "settle", "written_by",
]  # fmt: skip

FORMAT = 2
_FILES = ("networks", "training")
_NAME = re.compile(r"step-(\d{9,})")

T = TypeVar("T")


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


class _Damaged(Exception):
    """A checkpoint that cannot be used, and why."""


def save_checkpoint(
    run_dir: Path,
    step: int,
    networks: dict[str, Tensor],
    training: dict[str, Tensor],
    manifest: dict[str, Any],
    *,
    keep_every: int | None = None,
) -> Path:
    """Write the checkpoint of ``step``, then move ``latest`` to it and drop what need not stay.

    Args:
        keep_every: checkpoints at multiples of it stay for good; None: only the last two and the best stay.

    Raises:
        UserError: full disk, no permission.
    """
    folder = run_dir / "checkpoints"
    target = folder / _name(step)
    temporary, old = folder / f".{target.name}.tmp", folder / f".{target.name}.old.tmp"
    with writing("the checkpoint", folder):
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary.mkdir(parents=True)
        digests = {}
        for name, tensors in (("networks", networks), ("training", training)):
            path = temporary / f"{name}.safetensors"
            # Serialised first, written by us: safetensors' own errors hide a full disk behind a type of its own.
            path.write_bytes(serialize({k: v.detach().cpu().contiguous() for k, v in tensors.items()}))
            flush(path)
            digests[path.name] = file_sha256(path)
        record = {
            "format": FORMAT,
            "vgf": vgf_version(),
            "git": git_revision(),
            "step": step,
            "sha256": digests,
            "logged": _logged(run_dir),
            **manifest,
        }
        record["checksum"] = _checksum(record)
        (temporary / "manifest.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        flush(temporary / "manifest.json")
        flush(temporary)
        if target.exists():
            os.replace(target, old)
        os.replace(temporary, target)
        flush(folder)
        point_to_best(run_dir, step)
        atomic_write_text(folder / "latest", target.name + "\n")
        drop_old(run_dir, keep_every)
        shutil.rmtree(old, ignore_errors=True)
    return target


def drop_old(run_dir: Path, every: int | None) -> None:
    """Remove what need not stay of the checkpoints up to the newest; later ones belong to a future that may come.

    Args:
        every: ``keep_every`` of :func:`save_checkpoint`.
    """
    folder = run_dir / "checkpoints"
    newest = latest_step(run_dir) or 0
    there = [step for step in _steps(folder) if step <= newest]
    for gone in set(there) - kept_steps(there, _pointed(folder, "best"), every):
        hidden = folder / f".{_name(gone)}.old.tmp"
        with suppress(OSError):
            os.replace(folder / _name(gone), hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def latest_step(run_dir: Path) -> int | None:
    """Step of the newest complete checkpoint, or None. What is in it has not been checked: see :func:`settle`."""
    return next(iter(_candidates(run_dir / "checkpoints")), None)


def settle(run_dir: Path) -> int | None:
    """Make ``latest`` name the newest sound checkpoint, for a process that is about to go on training.

    What an interrupted save has left behind is removed; a damaged checkpoint stays where it is until training comes
    to its step again.

    Returns:
        Its step; None where there is no checkpoint.

    Raises:
        UserError: there are checkpoints and none is sound, or a newer version of vgf wrote them.
    """
    folder = run_dir / "checkpoints"
    sweep(folder)
    manifest = _newest_sound(folder, partial(_checked, names=_FILES), ", or choose another run_dir=... to begin anew")
    if manifest is None:
        return None
    step: int = manifest["step"]
    if _logged(run_dir) < manifest.get("logged", 0):
        print(f"vgf: {run_dir / 'metrics.jsonl'} has lost rows from before step {step}", file=sys.stderr)
    if _pointed(folder) != step:
        atomic_write_text(folder / "latest", _name(step) + "\n")
    return step


def load_checkpoint(run_dir: Path, *, training: bool = False) -> Checkpoint:
    """Read the newest checkpoint of a run that is sound; one line on stderr when that is not the newest of all.

    Raises:
        UserError: no checkpoint (a language run), none but damaged ones, or one that a newer version of vgf wrote.
    """
    found = _newest_sound(run_dir / "checkpoints", partial(_read, names=_FILES if training else _FILES[:1]))
    if found is None:
        if (run_dir / "text.json").is_file():
            raise UserError(f"{run_dir} is a language run; only control runs are exported or taken by init=")
        raise UserError(
            f"{run_dir} holds no checkpoint; give the directory of a run that has trained (run_dir of its config)"
        )
    return found


def written_by(manifest: dict[str, Any]) -> str:
    """What wrote a checkpoint, for messages."""
    return f"vgf {manifest.get('vgf', '0.1.0')} (checkpoint format {manifest['format']})"


def _newest_sound(folder: Path, read: Callable[[Path], T], or_else: str = "") -> T | None:
    """What ``read`` makes of the newest checkpoint that is not damaged; None where there is no checkpoint.

    One line on stderr tells of a newer one that is; where all are, a UserError does, which ends with ``or_else``.
    """
    reasons: list[str] = []
    for step in _candidates(folder):
        try:
            found = read(folder / _name(step))
        except _Damaged as damage:
            reasons.append(str(damage))
            continue
        if reasons:
            print(f"vgf: {reasons[0]}; using the checkpoint of step {step} before it", file=sys.stderr)
        return found
    if reasons:
        raise UserError(f"{reasons[0]}; restore it from a copy{or_else}")
    return None


def _steps(folder: Path) -> list[int]:
    """Steps of the complete folders, the newest first."""
    return sorted((int(m[1]) for path in folder.glob("step-*") if (m := _NAME.fullmatch(path.name))), reverse=True)


def _candidates(folder: Path) -> list[int]:
    """Steps of complete folders in the order they are tried: the one ``latest`` names, then those before it."""
    steps, pointed = _steps(folder), _pointed(folder)
    return steps if pointed is None else [pointed, *(step for step in steps if step < pointed)]


def _pointed(folder: Path, pointer_name: str = "latest") -> int | None:
    """The step that a pointer names; None where it is missing or names none."""
    pointer = folder / pointer_name
    named = _NAME.fullmatch(pointer.read_text(errors="replace").strip()) if pointer.is_file() else None
    return None if named is None else int(named[1])


def _read(folder: Path, names: tuple[str, ...]) -> Checkpoint:
    manifest = _checked(folder, names)
    tensors: dict[str, dict[str, Tensor]] = {"training": {}}
    for name in names:
        path = folder / f"{name}.safetensors"
        try:
            tensors[name] = load_file(path)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise _Damaged(f"{path} cannot be read ({type(error).__name__}: {error})") from error
    return Checkpoint(manifest["step"], tensors["networks"], tensors["training"], manifest)


def _checked(folder: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """The manifest, where the files of these names are those that it tells of."""
    manifest = _read_manifest(folder)
    for path in (folder / f"{name}.safetensors" for name in names):
        try:
            same = file_sha256(path) == manifest["sha256"][path.name]
        except (OSError, KeyError, TypeError) as error:
            raise _Damaged(f"{path} cannot be read ({type(error).__name__}: {error})") from error
        if not same:
            raise _Damaged(f"{path} is damaged (its sha256 is not the manifest's)")
    return manifest


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        newer = manifest["format"] > FORMAT
        if not newer and _name(manifest["step"]) != folder.name:
            raise ValueError(f"it says step {manifest['step']}")
        if not newer and manifest["format"] > 1 and manifest["checksum"] != _checksum(manifest):
            raise ValueError("its checksum is wrong")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _Damaged(f"{path} cannot be read ({type(error).__name__}: {error})") from error
    if newer:
        raise UserError(
            f"{folder} was written by {written_by(manifest)}; this vgf reads up to format {FORMAT}, update it"
        )
    return manifest


def point_to_best(run_dir: Path, step: int) -> None:
    """Make ``best`` name the best checkpoint up to ``step``, where any was played (:mod:`vgf.rotation`)."""
    folder = run_dir / "checkpoints"
    best = best_step([known for known in _steps(folder) if known <= step], scores_of(run_dir))
    if best is not None and _pointed(folder, "best") != best:
        atomic_write_text(folder / "best", _name(best) + "\n")


def _logged(run_dir: Path) -> int:
    """Bytes of ``metrics.jsonl`` that belong to this checkpoint, flushed to the disk before it."""
    path = run_dir / "metrics.jsonl"
    if not path.is_file():
        return 0
    flush(path)
    return path.stat().st_size


def _name(step: int) -> str:
    return f"step-{step:09d}"


def _checksum(manifest: dict[str, Any]) -> str:
    content = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
