"""Runs on the hub: what leaves this machine, what comes back, and what is not taken."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

import vgf
from tests.command import run_main
from tests.serve.runs import save_text_run
from tests.share.stand_in import Hub, serving_hub
from vgf import Budget, UserError
from vgf.language.adapters import adapter_path
from vgf.language.loading import note_parts
from vgf.rundir import RunDirectory, read_config
from vgf.scoring import score_run
from vgf.share.folder import SUFFIXES
from vgf.share.paths import without_paths
from vgf.share.pull import check_folder

pytest.importorskip("huggingface_hub")
OBS = np.array([[4.0, 8.0], [12.0, 3.0]], np.float32)
PROMPTS = ["w1 w2 w3 ", "w4 "]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


@pytest.fixture(scope="module")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_text_run(tmp_path_factory.mktemp("text"))


@pytest.fixture
def private_run(text_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A language run whose parts name one another by paths of this machine."""
    folder = tmp_path / "private"
    shutil.copytree(text_run.parent, folder)
    run = folder / "run"
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(text_run.parent), str(folder)))
    learned = {"data": str(folder / "pairs.jsonl"), "model": str(folder / "base"), "columns": {}, "accuracy": 0.9}
    (folder / "reward" / "reward.json").write_text(json.dumps(learned))
    settings = json.loads((folder / "reward" / "config.json").read_text())
    (folder / "reward" / "config.json").write_text(json.dumps(settings | {"_name_or_path": str(folder / "base")}))
    facts = {
        "reference": str(folder / "model"),
        "reward": str(folder / "reward"),
        "gold": f"{folder}/my judge, 88.0% of 50 held-out pairs ranked right",
        "second": ["owner/name", {"trained on": f"pairs of {folder}/pairs.jsonl, in part"}],
    }
    note_parts(run, proxy=str(folder / "reward"), reward_path=str(folder / "reward"), facts=facts)
    note_parts(run, gold=str(folder / "my judge"), second="vader", warnings=["x" * 5000, f"--at={folder}/home/y"])
    monkeypatch.setenv("HOME", str(folder / "home"))
    return run


def dry(run: Path, folder: Path, *more: str) -> Path:
    status, output = run_main(["push", str(run), "me/tiny", "--dry-run", str(folder), *more])
    assert status == 0, output
    return folder


def test_only_plain_files_leave_and_no_path_of_this_machine(tiny_run: Path, tmp_path: Path) -> None:
    folder = dry(tiny_run, tmp_path / "out", "--license", "mit")
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {file.suffix for file in files} <= set(SUFFIXES)
    names = {str(file.relative_to(folder)) for file in files}
    assert {"README.md", "config.yaml", "curve.png", "eval.csv", "report.html"} <= names
    assert not any("training" in name for name in names)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["data"]["folder"], config["run_dir"]) == ("~/.cache/vgf/data", f"runs/{tiny_run.name}")


def test_no_part_of_a_text_run_says_where_another_one_was(private_run: Path, tmp_path: Path) -> None:
    folder = dry(private_run, tmp_path / "out", "--with-reference")
    leaks = [file for file in folder.rglob("*") if file.is_file() and str(tmp_path).encode() in file.read_bytes()]
    assert leaks == []
    parts = json.loads((folder / "text.json").read_text())
    assert parts == parts | {
        "proxy": "reward", "reward_path": "reward", "reference": "reference", "gold": "my judge", "second": "vader",
        "facts": {
            "reference": "model",
            "reward": "reward",
            "gold": "my judge, 88.0% of 50 held-out pairs ranked right",
            "second": ["owner/name", {"trained on": "pairs of pairs.jsonl, in part"}],
        },
        "warnings": ["x" * 5000, "--at=~/y"],
    }  # fmt: skip
    learned = json.loads((folder / "reward" / "reward.json").read_text())
    assert learned == {"data": "pairs.jsonl", "model": "base", "columns": {}, "accuracy": 0.9}
    expected = vgf.load(private_run).generate(PROMPTS, budget=Budget(size=0.3), seed=1)
    assert check_folder(folder, "me/x")
    shutil.move(private_run.parent, tmp_path / "elsewhere")
    assert vgf.load(folder).generate(PROMPTS, budget=Budget(size=0.3), seed=1) == expected


def test_an_adapter_is_of_the_reference_that_goes_along(private_run: Path, tmp_path: Path) -> None:
    adapter = adapter_path(private_run)
    adapter.mkdir(parents=True)
    save_file({"a": torch.zeros(1)}, adapter / "adapter_model.safetensors")
    settings = {"r": 4, "base_model_name_or_path": str(private_run.parent / "model")}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    folder = dry(private_run, tmp_path / "out", "--with-reference")
    pushed = json.loads((adapter_path(folder) / "adapter_config.json").read_text())
    assert pushed == {"r": 4, "base_model_name_or_path": "reference"}


def test_a_reward_that_is_a_function_keeps_its_name(private_run: Path, tmp_path: Path) -> None:
    note_parts(private_run, proxy="regex:good, /bad/", reward_path=None)
    folder = dry(private_run, tmp_path / "out", "--with-reference")
    assert json.loads((folder / "text.json").read_text())["proxy"] == "regex:good, /bad/"


@pytest.mark.parametrize(
    "text", ["owner/name", "vader", "1/2 of it", "regex:a/b", "/", ".", "~no-such-user/x y\0", "", None, 3]
)
def test_what_is_no_path_stays(text: object) -> None:
    assert without_paths(text) == text


def test_settings_that_cannot_be_read_are_one_line(private_run: Path, tmp_path: Path) -> None:
    (private_run.parent / "reward" / "reward.json").write_text("{")
    status, output = run_main(
        ["push", str(private_run), "me/x", "--dry-run", str(tmp_path / "out"), "--with-reference"]
    )
    assert (status, "reward.json cannot be read" in output, output.count("\n")) == (2, True, 0), output


def test_a_budget_that_was_chosen_is_pushed_as_it_acts_and_the_machine_stays(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["budget"]["auto"] = True
    settings |= {"tracker": "tensorboard", "device": "cuda", "threads": 7}
    settings["eval"]["processes"] = 7
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    (run / "auto_budget.json").write_text('{"qgf": {"auto": false, "steps": null, "size": 0.07, "radius": null}}')
    folder = dry(run, tmp_path / "out")
    pushed = read_config(folder)
    assert (pushed.budget.auto, pushed.budget.size) == (False, 0.07)
    assert (pushed.tracker, pushed.device, pushed.threads) == ("none", "auto", None)
    assert "processes" not in (folder / "config.yaml").read_text()  # the default of whoever pulls
    assert "Budget(size=0.07)" in (folder / "README.md").read_text()
    (folder / "auto_budget.json").unlink()
    np.testing.assert_array_equal(vgf.load(folder).act(OBS), vgf.load(run).act(OBS))
    with pytest.raises(UserError, match=r"neither an environment nor probe.npz.*name one with env=..."):
        score_run(pushed, RunDirectory(folder), None, torch.device("cpu"))


def test_the_card_says_what_the_run_is(tiny_run: Path, tmp_path: Path) -> None:
    _, head, body = (dry(tiny_run, tmp_path / "out", "--license", "mit") / "README.md").read_text().split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert (metadata["license"], metadata["pipeline_tag"]) == ("mit", "reinforcement-learning")
    metrics = metadata["model-index"][0]["results"][0]["metrics"]
    assert {metric["name"] for metric in metrics} >= {"success, qgf at size 0", "success, qgf at size 0.1"}
    for said in (
        "| qgf | size 0.1 |",
        "vgf pull me/tiny",
        "![score",
        "python -m vgf.run task=ogbench",
        "Budget(size=0.1)",
    ):
        assert said in body


def test_the_card_names_the_knob_that_a_point_was_played_with(tiny_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_run, tmp_path / "tiny")
    told = (copy / "evaluations.json").read_text()
    assert '"transport.knob": "size"' in told
    (copy / "evaluations.json").write_text(told.replace('"transport.knob": "size"', '"transport.knob": "steps"'))
    body = (dry(copy, tmp_path / "out") / "README.md").read_text()
    assert "| qgf | steps 0.1 |" in body
    assert "success, qgf at steps 0.1" in body


def test_a_control_run_comes_back_as_it_went(hub: Hub, tiny_run: Path, tmp_path: Path) -> None:
    status, output = run_main(["push", str(tiny_run), "me/tiny"])
    assert status == 0, output
    assert "README.md" in hub.repos["me/tiny"]
    hub.repos["me/tiny"] |= {"evil.py": b"1", "evil.pkl": b"1", ".hidden.json": b"{}"}
    status, output = run_main(["pull", "me/tiny", str(tmp_path / "back")])
    assert status == 0, output
    assert not list((tmp_path / "back").rglob("*evil*"))
    assert not list((tmp_path / "back").rglob(".*"))
    np.testing.assert_array_equal(vgf.load(tmp_path / "back").act(OBS), vgf.load(tiny_run).act(OBS))
    status, output = run_main(["pull", "me/tiny", str(tmp_path / "back")])
    assert (status, "is not empty" in output) == (2, True)


def test_a_text_run_takes_reward_and_reference_along(hub: Hub, text_run: Path, tmp_path: Path) -> None:
    status, output = run_main(["push", str(text_run), "me/words", "--dry-run", str(tmp_path / "out")])
    assert (status, "--with-reference" in output) == (2, True)
    assert not (tmp_path / "out").exists()
    status, output = run_main(["push", str(text_run), "me/words", "--with-reference"])
    assert status == 0, output
    expected = vgf.load(text_run).generate(PROMPTS, budget=Budget(size=0.3), seed=1)
    original = shutil.move(text_run.parent, tmp_path / "elsewhere")
    try:
        status, output = run_main(["pull", "me/words", str(tmp_path / "back")])
        assert status == 0, output
        assert vgf.load(tmp_path / "back").generate(PROMPTS, budget=Budget(size=0.3), seed=1) == expected
        (tmp_path / "prompts.jsonl").write_text('{"prompt": "w1 w2 "}\n{"prompt": "w3 "}\n{"prompt": "w4 "}\n')
        judge = ["text.gold.model=regex:good", "text.second=null", f"text.prompts={tmp_path / 'prompts.jsonl'}"]
        small = ["text.held_out=2", "text.seeds=1", "text.controls=[]", "eval.budgets=[0.3]", "text.auto_prompts=1"]
        status, output = run_main(["mode=eval", f"run={tmp_path / 'back'}", *judge, *small, "threads=1"])
        assert status == 0, output
        assert "training a reward" not in output
        assert json.loads((tmp_path / "back" / "text.json").read_text())["proxy"] == str(tmp_path / "back" / "reward")
    finally:
        shutil.move(original, text_run.parent)
    assert str(text_run.parent).encode() not in b"".join(hub.repos["me/words"].values())


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("config.yaml", "seed: 0", "seed: ${oc.env:HOME}", "outside itself"),
        ("config.yaml", "env: null", r'env: "\x24{oc.env:HOME}"', "outside itself"),
        ("config.yaml", "path: reward", "path: /etc", "outside itself"),
        ("config.yaml", "model: reference\n  adapter", "model: /etc\n  adapter", "no name of the hub"),
        ("text.json", '"reward"', '"../../reward"', "outside itself"),
        ("text.json", '"reward"', "null", None),
        ("text.json", "{", "[", "cannot be read"),
    ],
)
def test_what_a_stranger_may_not_say(
    text_run: Path, tmp_path: Path, file: str, old: str, new: str, said: str | None
) -> None:
    folder = dry(text_run, tmp_path / "out", "--with-reference")
    content = (folder / file).read_text()
    assert old in content
    (folder / file).write_text(content.replace(old, new, 1))
    if said is None:
        assert check_folder(folder, "me/x")
        parts = json.loads((folder / file).read_text()) | {"proxy": "os:system"}
        (folder / file).write_text(json.dumps(parts))
        said = "Python function os:system"
    with pytest.raises(UserError, match=said):
        check_folder(folder, "me/x")


def test_every_refusal_is_one_line(hub: Hub, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def complaint(*arguments: str) -> str:
        status, output = run_main(list(arguments))
        assert (status, output.count("\n")) == (2, 0), output
        return output

    assert "the hub has no me/absent" in complaint("pull", "me/absent", str(tmp_path / "x"))
    hub.repos["me/empty"] = {"notes.md": b"x"}
    assert "no config.yaml" in complaint("pull", "me/empty", str(tmp_path / "x"))
    assert "write OWNER/NAME" in complaint("push", str(tiny_run), "nobody")
    assert "does not exist" in complaint("push", str(tmp_path / "nowhere"), "me/x")
    hub.refuse = True
    assert "HF_TOKEN" in complaint("push", str(tiny_run), "me/x")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    assert "cannot be reached" in complaint("push", str(tiny_run), "me/x")
    assert "cannot be reached" in complaint("pull", "me/x", str(tmp_path / "x"))
