"""A pickle that does harm when loaded, in the place of every file that is read: refused in one line, never run."""

from __future__ import annotations

import io
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from cycles import COUNTS
from small import small_config

import vgf
from vgf import UserError
from vgf.checkpoint import load_checkpoint, save_checkpoint, settle
from vgf.data.formats import read_recording
from vgf.data.npz import read_npz
from vgf.data.shards import ShardedData, write_shards
from vgf.language.adapters import adapter_facts
from vgf.language.heads import ValueHeads
from vgf.language.loading import heads_path, heads_rows, load_heads, note_parts, open_reference, save_heads
from vgf.language.models import find_model
from vgf.language.rewards import load_reward
from vgf.played import read_played
from vgf.probe import read_probe
from vgf.rundir import RunDirectory, read_auto_budget, read_config
from vgf.scale import read_scale

CPU = torch.device("cpu")


class Hostile:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def plain(mark: Path) -> bytes:
    """As ``pickle.dump`` writes it."""
    return pickle.dumps(Hostile(mark))


def of_torch(mark: Path) -> bytes:
    """As ``torch.save`` writes it."""
    file = io.BytesIO()
    torch.save({"weights": Hostile(mark)}, file)
    return file.getvalue()


def of_numpy(mark: Path) -> bytes:
    """As ``numpy.savez`` writes arrays of objects."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("observations", "actions", "rewards", "terminals"):
            column = io.BytesIO()
            np.save(column, np.array([Hostile(mark)], object), allow_pickle=True)
            archive.writestr(f"{name}.npy", column.getvalue())
    return file.getvalue()


def one_array(mark: Path) -> bytes:
    """As ``numpy.save`` writes an array of objects."""
    file = io.BytesIO()
    np.save(file, np.array([Hostile(mark)], object), allow_pickle=True)
    return file.getvalue()


def in_yaml(mark: Path) -> bytes:
    """As PyYAML's unsafe loader would build it."""
    path = f"!!python/object/apply:pathlib.PosixPath ['{mark}']"
    return f"seed: !!python/object/apply:pathlib.Path.touch [{path}]\n".encode()


def in_hdf5(mark: Path) -> bytes:
    """Bytes in a column, as pickled objects are kept in HDF5."""
    file = io.BytesIO()
    with h5py.File(file, "w") as store:
        for name in ("observations", "actions", "rewards", "terminals"):
            store[name] = np.void(plain(mark))
    return file.getvalue()


FORMS = (plain, of_torch, of_numpy, one_array, in_yaml, in_hdf5)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run directory that has one of everything."""
    run = RunDirectory(tmp_path / "run")
    run.claim(small_config())
    save_checkpoint(run.path, 1, {"w": torch.zeros(3)}, {"s": torch.zeros(3)}, {"sizes": {}})
    save_heads(run.path, {"heads": ValueHeads(2, 1, hidden=4, heads=2)})
    note_parts(run.path, reward_path=None, proxy="length")
    return run.path


def shards(path: Path) -> Any:
    """Open a folder of shards and read one whose file is ours."""
    folder = path.parent / "shards"
    rows = {"observations": np.zeros((4, 2)), "actions": np.zeros((4, 1)), "terminals": np.arange(4) == 3}
    write_shards(folder, [rows], rows_per_shard=8, source="made up")
    shutil.copy(path, folder / "00000.actions.npy")
    return ShardedData(folder).shard(0)


def text_adapter(path: Path) -> Any:
    """An adapter's folder as PEFT wrote it years ago, given as ``text.adapter``."""
    from small_text import save_model, text_config

    config = text_config(save_model(path.parent / "model"))
    folder = path.parent / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    shutil.copy(path, folder / "adapter_model.bin")
    config.text.adapter = str(folder)
    return open_reference(config, CPU)


def model_folder(path: Path, name: str = "pytorch_model.bin") -> Path:
    """A model's folder whose weights are ours."""
    folder = path.parent / "model"
    folder.mkdir()
    (folder / "config.json").write_text(
        '{"model_type": "llama", "num_labels": 1, "hidden_size": 8, "num_attention_heads": 2}'
    )
    shutil.copy(path, folder / name)
    return folder


# What is overwritten in the run directory (or None), and what reads it
IN_A_RUN: dict[str, Callable[[Path], Any]] = {
    "checkpoints/step-000000001/networks.safetensors": load_checkpoint,
    "checkpoints/step-000000001/training.safetensors": settle,
    "checkpoints/step-000000001/manifest.json": load_checkpoint,
    "checkpoints/heads.safetensors": lambda run: (heads_path(run), load_heads(run, CPU)),
    "checkpoints/adapter/adapter_model.safetensors": lambda run: adapter_facts(run / "checkpoints" / "adapter"),
    "config.yaml": read_config,
    "probe.npz": read_probe,
    "scale.json": read_scale,
    "auto_budget.json": lambda run: read_auto_budget(run, "qgf"),
    "evaluations.json": read_played,
    "text.json": lambda run: vgf.language.loading.load_text(run, small_config()),
}
ALONE: dict[str, Callable[[Path], Any]] = {
    "data.npz": read_npz,
    "recorded.npz": lambda path: read_recording(str(path), {}),
    "recorded.hdf5": lambda path: read_recording(str(path), {}),
    "recorded.parquet": lambda path: read_recording(str(path), {}),
    "shard.npy": shards,
    "adapter.bin": text_adapter,
    "model.bin": lambda path: find_model(str(model_folder(path)), path.parent / "cache"),
    "model.gguf": lambda path: find_model(str(path), path.parent / "cache"),
    "reward.bin": lambda path: load_reward("reward", model_folder(path), CPU, torch.float32),
    "reward.safetensors": lambda path: load_reward("r", model_folder(path, "model.safetensors"), CPU, torch.float32),
}


def refused(read: Callable[[Path], Any], path: Path, mark: Path) -> None:
    COUNTS["hostile files"] += 1
    with pytest.raises(UserError) as error:
        read(path)
    assert "\n" not in str(error.value)
    assert not mark.exists(), "it was run"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", IN_A_RUN)
def test_files_of_a_run(tmp_path, run_dir, name, form):
    mark = tmp_path / "owned"
    (run_dir / name).parent.mkdir(exist_ok=True)
    (run_dir / name).write_bytes(form(mark))
    refused(IN_A_RUN[name], run_dir, mark)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ALONE)
def test_data_and_models(tmp_path, name, form):
    mark, path = tmp_path / "owned", tmp_path / name
    path.write_bytes(form(mark))
    refused(ALONE[name], path, mark)


@pytest.mark.parametrize("form", [plain, of_torch, of_numpy, one_array])
def test_they_would_do_harm(tmp_path, form):
    """Loaded as they are meant to be, they leave their mark: what is refused above is worth refusing."""
    mark = tmp_path / "owned"
    loaders = {
        plain: pickle.loads,
        of_torch: lambda content: torch.load(io.BytesIO(content), weights_only=False),
        of_numpy: lambda content: np.load(io.BytesIO(content), allow_pickle=True)["actions"],
        one_array: lambda content: np.load(io.BytesIO(content), allow_pickle=True),
    }
    loaders[form](form(mark))
    assert mark.exists()


def test_rows_of_heads_are_read_from_text(run_dir):
    assert heads_rows(run_dir) == []
