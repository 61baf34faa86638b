"""Writes recordings as Minari data sets, with h5py alone::

    <folder>/data/main_data.hdf5    episode_0/{observations (T+1), actions, rewards, terminations, truncations}, ...
    <folder>/data/metadata.json     written last: with it a data set is complete

The ``minari`` package (0.5) loads such a folder; spaces come from the ``env_spec`` in its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vgf.data.formats.minari import MAIN_FILE
from vgf.data.recording import Recording
from vgf.files import atomic_path, atomic_write_text, writing

__all__ = ["METADATA_FILE", "write_minari"]

METADATA_FILE = "data/metadata.json"


def write_minari(folder: Path, recording: Recording, *, env_spec: str, metadata: Mapping[str, Any]) -> Path:
    """Write a recording into ``folder``, replacing a data set that is there; returns the folder.

    Rows that end an episode without being terminated are truncations, those of recordings that merely stopped among
    them. Next observations inside an episode are taken to be the following row's.

    Args:
        folder: of the data set; made if need be.
        recording: vector observations, actions in the environment's units.
        env_spec: ``gymnasium.spec(...).to_json()`` of the environment.
        metadata: JSON values for its file, besides Minari's own.

    Raises:
        UserError: the files cannot be written.
    """
    with writing("the data set", folder):
        (folder / METADATA_FILE).unlink(missing_ok=True)
    with atomic_path(folder / MAIN_FILE) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        for number, (start, length) in enumerate(zip(recording.starts, recording.lengths, strict=True)):
            group = file.create_group(f"episode_{number}")
            group.attrs.update(id=number, total_steps=int(length))
            for name, array in _episode(recording, int(start), int(length)).items():
                group.create_dataset(name, data=array)
    own = {
        "total_episodes": len(recording.lengths),
        "total_steps": len(recording),
        "data_format": "hdf5",
        "dataset_size": round((folder / MAIN_FILE).stat().st_size / 1e6, 1),  # MB, as Minari counts
        "env_spec": env_spec,
        "dataset_id": f"{folder.parent.name}/{folder.name}",
        "minari_version": "0.5.0",  # the first of those that read this layout
    }
    atomic_write_text(folder / METADATA_FILE, json.dumps({**metadata, **own}, indent=2) + "\n")
    return folder


def _episode(recording: Recording, start: int, length: int) -> dict[str, np.ndarray]:
    rows, last = slice(start, start + length), start + length - 1
    end = np.zeros(length, bool)
    end[-1] = True
    return {
        "observations": np.append(recording.observations[rows], recording.next_observations[last:][:1], axis=0),
        "actions": recording.actions[rows],
        "rewards": recording.rewards[rows],
        "terminations": end & recording.terminated[last],
        "truncations": end & ~recording.terminated[last],
    }
