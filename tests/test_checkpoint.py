"""Checkpoints: what is written is read back, a damaged one is refused, a torn one is never seen."""

from __future__ import annotations

import errno
import json
import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import vgf.checkpoint
from vgf import UserError
from vgf.checkpoint import FORMAT, latest_step, load_checkpoint, save_checkpoint


def networks(step: int) -> dict[str, torch.Tensor]:
    return {"w": torch.full((2, 3), float(step)), "b": torch.arange(3)}


def save(run_dir: Path, step: int) -> Path:
    return save_checkpoint(run_dir, step, networks(step), {"state": torch.tensor([step, 7])}, {"sizes": {"hidden": 4}})


def stored(run_dir: Path) -> list[str]:
    return sorted(p.name for p in (run_dir / "checkpoints").iterdir())


def test_what_is_saved_is_loaded(tmp_path):
    save(tmp_path, 30)
    plain, full = load_checkpoint(tmp_path), load_checkpoint(tmp_path, training=True)
    assert plain.step == full.step == latest_step(tmp_path) == 30
    assert plain.manifest["sizes"] == {"hidden": 4}
    assert plain.training == {}
    assert torch.equal(full.training["state"], torch.tensor([30, 7]))
    for name, tensor in networks(30).items():
        assert torch.equal(plain.networks[name], tensor)
        assert plain.networks[name].dtype == tensor.dtype


def test_views_and_tensors_with_gradients_are_stored_whole(tmp_path):
    base = torch.arange(6.0).view(2, 3).requires_grad_()
    save_checkpoint(tmp_path, 1, {"turned": base.t()}, {}, {})
    assert torch.equal(load_checkpoint(tmp_path).networks["turned"], base.detach().t())


def test_only_the_newest_two_stay_and_latest_points_to_the_last(tmp_path):
    for step in (20, 40, 60):
        save(tmp_path, step)
    assert stored(tmp_path) == ["latest", "step-000000040", "step-000000060"]
    assert load_checkpoint(tmp_path).networks["w"][0, 0] == 60


def test_a_step_saved_twice_holds_the_second(tmp_path):
    save(tmp_path, 5)
    save_checkpoint(tmp_path, 5, networks(9), {}, {})
    assert load_checkpoint(tmp_path).networks["w"][0, 0] == 9
    assert stored(tmp_path) == ["latest", "step-000000005"]


@pytest.mark.parametrize("fails_at", ["serialize", "atomic_write_text"])
def test_a_save_that_breaks_off_leaves_the_older_checkpoint(tmp_path, monkeypatch, fails_at):
    save(tmp_path, 1)

    def die(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(vgf.checkpoint, fails_at, die)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 2)
    assert load_checkpoint(tmp_path, training=True).step == 1
    save(tmp_path, 2)  # what the broken save left behind is not in the way
    assert load_checkpoint(tmp_path, training=True).step == 2
    assert stored(tmp_path) == ["latest", "step-000000001", "step-000000002"]


def test_no_checkpoint(tmp_path):
    assert latest_step(tmp_path) is None
    with pytest.raises(UserError, match=r"holds no checkpoint; give the directory of a run"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["networks", "training"])
def test_a_changed_byte_is_noticed(tmp_path, name):
    path = save(tmp_path, 3) / f"{name}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}.safetensors is damaged .*restore it from a copy"):
        load_checkpoint(tmp_path, training=True)


def test_damaged_training_state_does_not_stop_evaluation(tmp_path):
    (save(tmp_path, 3) / "training.safetensors").unlink()
    assert load_checkpoint(tmp_path).step == 3
    with pytest.raises(UserError, match=r"cannot be read .FileNotFoundError"):
        load_checkpoint(tmp_path, training=True)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', '{"format": "new"}', "null"])
def test_a_broken_manifest_is_a_user_error(tmp_path, text):
    (save(tmp_path, 3) / "manifest.json").write_text(text)
    with pytest.raises(UserError, match="step-000000003 cannot be read"):
        load_checkpoint(tmp_path)


def test_a_manifest_that_is_not_text_is_a_user_error(tmp_path):
    (save(tmp_path, 3) / "manifest.json").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match="step-000000003"):
        load_checkpoint(tmp_path)


def test_a_newer_format_is_refused(tmp_path):
    path = save(tmp_path, 3) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": FORMAT + 1}))
    with pytest.raises(UserError, match=rf"format {FORMAT + 1}; this vgf reads up to {FORMAT}, update it"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["", "step-", "step-x", "rubbish"])
def test_a_broken_pointer_is_a_user_error(tmp_path, text):
    save(tmp_path, 3)
    (tmp_path / "checkpoints" / "latest").write_text(text)
    with pytest.raises(UserError, match="latest"):
        load_checkpoint(tmp_path)


def test_a_pointer_to_a_folder_that_is_gone_is_a_user_error(tmp_path):
    save(tmp_path, 3)
    (tmp_path / "checkpoints" / "latest").write_text("step-000000009\n")
    with pytest.raises(UserError, match="step-000000009 cannot be read"):
        load_checkpoint(tmp_path)


def test_a_file_where_the_folder_should_be_is_a_user_error(tmp_path):
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write the checkpoint to .*checkpoints"):
        save(tmp_path, 1)


def test_files_are_plain_safetensors(tmp_path):
    folder = save(tmp_path, 4)
    save_file(networks(4), tmp_path / "expected.safetensors")
    assert (folder / "networks.safetensors").read_bytes() == (tmp_path / "expected.safetensors").read_bytes()
    assert sorted(p.name for p in folder.iterdir()) == [
        "manifest.json", "networks.safetensors", "training.safetensors",
    ]  # fmt: skip


def test_a_full_disk_is_one_line_and_costs_nothing(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"cannot write the checkpoint to .*: the disk is full"):
        save(tmp_path, 2)
    assert load_checkpoint(tmp_path).step == 1


def test_a_pickle_under_our_name_is_refused_and_never_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    folder = save(tmp_path, 3)
    (folder / "networks.safetensors").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(UserError):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_nothing_in_the_package_reads_a_pickle_from_disk():
    root = Path(vgf.checkpoint.__file__).parent.parent
    sources = [p for folder in ("vgf", "tasks", "trainers") for p in (root / folder).rglob("*.py")]
    assert len(sources) > 40
    reads = re.compile(r"torch\.load\(|pickle\.load\(|joblib\.load\(|allow_pickle=True")
    assert [p.name for p in sources if reads.search(p.read_text())] == []
