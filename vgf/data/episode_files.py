"""The files of a data set that is made episode by episode: one file an episode, then one a split, then a manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from vgf.files import atomic_path, atomic_write_text, file_sha256

__all__ = ["Job", "episode_path", "is_finished", "merge", "read_json", "rows_of", "write_manifest"]

Job = tuple[int, int]  # split, index


def is_finished(record: Path, files: Mapping[str, Path], counts: Mapping[str, int], identity: dict[str, Any]) -> bool:
    """Say whether the manifest and the files it tells of are all there, and are what is asked for."""
    made = read_json(record)
    if made.get("counts") != dict(counts) or any(made.get(key) != value for key, value in identity.items()):
        return False
    return all(path.is_file() and path.stat().st_size == made["files"][path.name]["bytes"] for path in files.values())


def episode_path(work: Path, job: Job) -> Path:
    return work / f"split{job[0]}-{job[1]:06d}.npz"


def rows_of(path: Path) -> int | None:
    """Return the rows of a finished episode, or None when it is missing or damaged."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as episode:
            lengths = {len(episode[name]) for name in episode.files}  # reads, and so checks, every array
    except Exception:  # a damaged file fails in many ways, all of which mean: make it again
        return None
    return lengths.pop() if len(lengths) == 1 else None


def merge(jobs: list[Job], rows: Mapping[Job, int], work: Path, target: Path) -> None:
    """Write the episodes of one split to ``target``, one after the other.

    One array at a time is filled from the files, so memory holds the split once and one episode more.
    """
    total = sum(rows[job] for job in jobs)
    with np.load(episode_path(work, jobs[0]), allow_pickle=False) as first:
        whole = {name: np.empty((total, *first[name].shape[1:]), first[name].dtype) for name in first.files}
    for name, array in whole.items():
        begin = 0
        for job in jobs:
            with np.load(episode_path(work, job), allow_pickle=False) as episode:
                array[begin : begin + rows[job]] = episode[name]
            begin += rows[job]
    with atomic_path(target) as temporary:
        np.savez_compressed(temporary, **whole)  # type: ignore[arg-type]


def write_manifest(
    record: Path,
    manifest: Mapping[str, Any],
    counts: Mapping[str, int],
    files: Mapping[str, Path],
    rows: Mapping[Job, int],
) -> None:
    entries = {
        path.name: {
            "rows": sum(n for job, n in rows.items() if job[0] == split),
            "bytes": path.stat().st_size,
            "sha256": file_sha256(path),
        }
        for split, path in enumerate(files.values())
    }
    created = datetime.now(UTC).isoformat(timespec="seconds")
    made = {**manifest, "counts": dict(counts), "files": entries, "created": created}
    atomic_write_text(record, json.dumps(made, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, or ``{}`` when there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
