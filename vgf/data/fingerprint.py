"""What tells the data of one run from others: kept with its checkpoints, so that it goes on with the same ones only.

Settings do not: what ``data.source=auto`` finds changes with the cache and the machine, and a file of
``data.path`` may be written anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vgf.errors import UserError
from vgf.problem import Problem

__all__ = ["fingerprint", "require_same_data"]

_WHOLE = ("rewards", "masks", "terminals")
_SAMPLED = ("observations", "actions", "next_observations")  # the large ones
_ROWS = 256  # of those
_PARTS = {"train": "training data", "held_out": "held-out episodes"}


def fingerprint(problem: Problem) -> dict[str, Any]:
    """The number of transitions and a digest of training and held-out data, as JSON values, None of what there is not.

    The digest is of rewards, masks and terminals and of some rows of the rest: 0.05 seconds for a million transitions.
    Of a folder of shards it is of some rows of all that is stored, as no shard is loaded. Where data came from is no
    part of it: a path says nothing on another machine, and manifests are published.
    """
    return {"train": _of(problem.train), "held_out": _of(problem.validation)}


def _of(data: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if data is None:
        return None
    count, digest = len(data["actions"]), hashlib.sha256()
    rows = np.linspace(0, count - 1, min(count, _ROWS)).astype(np.int64)
    for name in (name for name in (*_WHOLE, *_SAMPLED) if name in data):
        column = data[name]
        whole = name in _WHOLE and isinstance(column, np.ndarray)
        digest.update(np.ascontiguousarray(column if whole else column[rows], "<f4").tobytes())
    return {"transitions": count, "sha256": digest.hexdigest()}


def require_same_data(ours: Mapping[str, Any], manifest: Mapping[str, Any], run_dir: Path) -> None:
    """Raise a UserError where a checkpoint's manifest has another :func:`fingerprint`; early versions wrote none."""
    theirs = manifest.get("data", ours)
    changed = next((name for name in _PARTS if ours[name] != theirs[name]), None)
    if changed is None:
        return
    there, here = (f"{one[changed]['transitions']:,} transitions" if one[changed] else "none" for one in (theirs, ours))
    raise UserError(
        f"{run_dir} was trained on other {_PARTS[changed]} ({there}) than are here ({here}); its environment.txt says "
        "where they came from: give it those again, or choose another run_dir=..."
    )
