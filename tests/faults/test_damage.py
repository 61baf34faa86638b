"""A checkpoint that was truncated or has a flipped bit gives way to the one before it, which is said in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from cycles import COUNTS, assert_same, contents
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vgf import UserError
from vgf.checkpoint import load_checkpoint, save_checkpoint, settle

FILES = ("networks.safetensors", "training.safetensors", "manifest.json")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with checkpoints of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("two")
    for step in (1, 2):
        tensors = {"w": torch.arange(12.0) + step}
        save_checkpoint(folder, step, tensors, {"state": tensors["w"] * 2}, {"sizes": {"hidden": step}})
    return folder


def with_damage(two: Path, name: str, change) -> Path:
    """Change the bytes of a file of step 2; gives back the run directory, the file's own copy restored by the next."""
    path = two / "checkpoints" / "step-000000002" / name
    kept = path.with_name(f"{name}.kept")
    if not kept.exists():
        shutil.copy(path, kept)
    path.write_bytes(change(kept.read_bytes()))
    (two / "checkpoints" / "latest").write_text("step-000000002\n")
    return path


def falls_back(two: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    COUNTS["damaged checkpoints"] += 1
    capsys.readouterr()
    try:
        found = load_checkpoint(two, training=True)
        assert found.step == 1
        assert torch.equal(found.networks["w"], torch.arange(12.0) + 1)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"vgf: {path} ")
        assert line.endswith("using the checkpoint of step 1 before it")
        assert settle(two) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert (two / "checkpoints" / "latest").read_text() == "step-000000001\n"
    finally:
        shutil.copy(path.with_name(f"{path.name}.kept"), path)


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_truncation(two, capsys, name):
    size = (two / "checkpoints" / "step-000000002" / name).stat().st_size
    for kept in {0, 1, size // 2, size - 1 - (name == "manifest.json")}:  # its last byte is a line's end
        falls_back(two, with_damage(two, name, lambda content, kept=kept: content[:kept]), capsys)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit(two, capsys, name, place, bit):
    def flip(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[int(place * len(content))] ^= 1 << bit
        return bytes(changed)

    path = with_damage(two, name, flip)
    if name == "manifest.json" and _same_json(path):
        return  # a blank that became a line's end
    falls_back(two, path, capsys)


def _same_json(path: Path) -> bool:
    try:
        return json.loads(path.read_bytes()) == json.loads(path.with_name("manifest.json.kept").read_bytes())
    except ValueError:
        return False


def test_when_none_is_sound_nothing_is_trained_over_it(tmp_path):
    save_checkpoint(tmp_path, 1, {"w": torch.zeros(3)}, {}, {})
    (tmp_path / "checkpoints" / "step-000000001" / "training.safetensors").write_bytes(b"")
    COUNTS["damaged checkpoints"] += 1
    with pytest.raises(
        UserError, match=r"training.safetensors is damaged .*; restore it from a copy, or choose another"
    ):
        settle(tmp_path)


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_run_goes_on_from_the_one_before_and_ends_the_same(driver, uninterrupted, tmp_path, damage):
    whole, parts = uninterrupted("online"), tmp_path / "parts"
    shutil.copytree(whole, parts)
    path = parts / "checkpoints" / "step-000000030" / "training.safetensors"
    content = path.read_bytes()
    path.write_bytes({"flip": content[:-1] + bytes([content[-1] ^ 1]), "cut": content[:100], "gone": b""}[damage])
    COUNTS["damaged checkpoints"] += 1
    ended = driver.call("train", "online", str(parts), {})
    assert ended.status == 0, ended.said
    told = [line for line in ended.said.splitlines() if "using the checkpoint of step 28 before it" in line]
    assert len(told) == 1
    assert_same(contents(whole), contents(parts))
