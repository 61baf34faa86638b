"""How each point of ``eval.csv`` was played: ``evaluations.json`` of a run directory, one line a point.

A later call may play with another ``eval.seed`` or other settings of the move, and replaces only the points it plays.
Runs of versions before this file have none, and nothing is known of their points.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vgf.config import MethodConfig
from vgf.errors import UserError
from vgf.files import atomic_write_text
from vgf.identity import git_revision, vgf_version
from vgf.methods import configured_budget

__all__ = ["Key", "Played", "keep_played", "played_with", "read_played"]

Key = tuple[int, str, float]  # step, method, budget as eval.csv keeps them
_FILE = "evaluations.json"


@dataclass(frozen=True)
class Played:
    """What a point was played with.

    Attributes:
        seed: ``eval.seed``, of environments and particle noise.
        episodes: how many.
        settings: keys of ``transport`` and ``budget`` -> plain values, rule's defaults filled in, without the budget
            field that the method sweeps.
        code: version and commit of this package; empty where it was not kept.
    """

    seed: int
    episodes: int
    settings: Mapping[str, Any]
    code: str = ""


def played_with(method: MethodConfig, *, seed: int, episodes: int) -> Played:
    """What a method is played with, whatever the value of its knob."""
    transport = {f"transport.{key}": value for key, value in asdict(method.transport).items()}
    budget = {f"budget.{key}": value for key, value in asdict(configured_budget(method)).items()}
    del budget[f"budget.{method.transport.knob}"]
    settings = json.loads(json.dumps(transport | budget))  # as it is read again
    return Played(seed, episodes, settings, f"{vgf_version()} {git_revision() or ''}".rstrip())


def keep_played(run_dir: Path, key: Key, played: Played | None) -> None:
    """Keep how a point was played; None forgets it."""
    known: dict[Key, Played | None] = dict(read_played(run_dir))
    if known.get(key) == played:
        return
    known[key] = played
    lines = [
        json.dumps(dict(zip(("step", "method", "budget"), point, strict=True)) | asdict(how))
        for point, how in sorted(known.items())
        if how is not None
    ]
    atomic_write_text(run_dir / _FILE, "[\n" + ",\n".join(lines) + "\n]\n")


def read_played(run_dir: Path) -> dict[Key, Played]:
    """How the points of a run were played; those of which nothing is known are left out.

    Raises:
        UserError: the file is damaged.
    """
    path = run_dir / _FILE
    if not path.is_file():
        return {}
    try:
        return {
            (int(each["step"]), str(each["method"]), float(each["budget"])): Played(
                int(each["seed"]), int(each["episodes"]), dict(each["settings"]), str(each.get("code", ""))
            )
            for each in json.loads(path.read_text())
        }
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error!r}); delete it and evaluate again") from error
