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
from vgf.checkpoint import FORMAT, latest_step, load_checkpoint, save_checkpoint, settle, written_by
from vgf.identity import git_revision, vgf_version


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
    (tmp_path / "text.json").touch()
    with pytest.raises(UserError, match=r"is a language run; only control runs are exported"):
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
    with pytest.raises(UserError, match=r"step-000000003/manifest.json cannot be read .*restore it from a copy"):
        load_checkpoint(tmp_path)


def test_a_manifest_that_is_not_text_is_a_user_error(tmp_path):
    (save(tmp_path, 3) / "manifest.json").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match="step-000000003"):
        load_checkpoint(tmp_path)


def test_a_newer_format_is_refused(tmp_path):
    path = save(tmp_path, 3) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": FORMAT + 1}))
    with pytest.raises(
        UserError, match=rf"written by vgf \S+ .checkpoint format {FORMAT + 1}.; .* up to format {FORMAT}"
    ):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["", "step-", "step-x", "rubbish", "../step-000000001", "\0"])
def test_a_broken_pointer_is_mended(tmp_path, text):
    for step in (3, 4):
        save(tmp_path, step)
    (tmp_path / "checkpoints" / "latest").write_text(text)
    assert load_checkpoint(tmp_path).step == latest_step(tmp_path) == settle(tmp_path) == 4
    assert (tmp_path / "checkpoints" / "latest").read_text() == "step-000000004\n"


def test_a_pointer_to_a_folder_that_is_gone_falls_back(tmp_path, capsys):
    save(tmp_path, 3)
    (tmp_path / "checkpoints" / "latest").write_text("step-000000009\n")
    assert load_checkpoint(tmp_path).step == 3
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert re.search(
        r"step-000000009/manifest.json cannot be read .*; using the checkpoint of step 3 before it", said[0]
    )


def test_whoever_wants_an_earlier_step_points_at_it_and_loses_nothing(tmp_path):
    for step in (3, 4):
        save(tmp_path, step)
    (tmp_path / "checkpoints" / "latest").write_text("step-000000003\n")
    assert settle(tmp_path) == load_checkpoint(tmp_path).step == 3
    save(tmp_path, 3)
    assert stored(tmp_path) == ["latest", "step-000000003", "step-000000004"]


def test_a_manifest_says_where_it_comes_from(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 3}\n')
    manifest = json.loads((save(tmp_path, 3) / "manifest.json").read_text())
    assert manifest["format"] == FORMAT
    assert manifest["vgf"] == vgf_version()
    assert manifest["git"] == git_revision()
    assert manifest["logged"] == 12
    assert manifest["sizes"] == {"hidden": 4}
    assert set(manifest["sha256"]) == {"networks.safetensors", "training.safetensors"}


def test_rows_of_metrics_that_a_crash_has_taken_are_told(tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_text('{"step": 3}\n')
    save(tmp_path, 3)
    (tmp_path / "metrics.jsonl").write_text("")
    settle(tmp_path)
    assert "metrics.jsonl has lost rows from before step 3" in capsys.readouterr().err


def as_format_1(folder: Path) -> None:
    """Rewrite a manifest the way format 1 had it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    old = {"format": 1, "step": manifest["step"], "sha256": manifest["sha256"], "sizes": manifest["sizes"]}
    (folder / "manifest.json").write_text(json.dumps(old, indent=2) + "\n")


def test_format_1_is_read_and_gone_on_from(tmp_path, capsys):
    as_format_1(save(tmp_path, 3))
    assert settle(tmp_path) == 3
    found = load_checkpoint(tmp_path, training=True)
    assert torch.equal(found.training["state"], torch.tensor([3, 7]))
    assert written_by(found.manifest) == "vgf 0.1.0 (checkpoint format 1)"
    assert capsys.readouterr().err == ""
    save(tmp_path, 4)
    assert load_checkpoint(tmp_path).manifest["format"] == FORMAT


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
    reads = re.compile(
        r"torch\.load\(|weights_only=False|(pickle|dill|joblib|shelve|marshal)\.load\(|read_pickle|allow_pickle=True"
        r"|yaml\.(load|unsafe_load|full_load)\(|np\.load\((?!.*allow_pickle=False)|trust_remote_code=True"
    )
    assert [(p.name, found[0]) for p in sources if (found := reads.search(p.read_text()))] == []
    unpickled = [p.name for p in sources if "pickle.loads(" in p.read_text()]
    assert unpickled == ["generate.py"], "which a process does with what its own parent has sent it"
