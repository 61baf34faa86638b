"""Which files a data set resolves to, and what is said when there are none."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import ogbench as their_ogbench
import pytest

from vgf.config import Config, DataConfig
from vgf.data.episode_files import write_manifest
from vgf.data.npz import cut_transitions, read_npz
from vgf.errors import UserError
from vgf.tasks import ogbench, ogbench_data, ogbench_goals
from vgf.tasks.ogbench_data import OFFICIAL, Resolved, known_datasets, resolve
from vgf.tasks.ogbench_oracles import recipe_for

MAZE = "pointmaze-medium-navigate"
NOWHERE = "http://127.0.0.1:9/ogbench"  # nothing listens on the discard port


@pytest.fixture(autouse=True)
def _no_files_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))


@pytest.fixture
def _short_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(dataset: str) -> Any:
        found = recipe_for(dataset)
        return found and replace(found, steps=20, episodes=12)

    monkeypatch.setattr(ogbench_data, "recipe_for", short)


def ask(folder: Path, dataset: str = MAZE, **more: Any) -> Resolved:
    usual = {"transitions": None, "processes": 1, "mirrors": [NOWHERE], "folder": str(folder)}
    return resolve(dataset, DataConfig(**{**usual, **more}))


def files(found: Resolved) -> tuple[Path, Path | None, str]:
    return found.train, found.validation, found.origin


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)


def touch_generated(folder: Path, episodes: int, seed: int = 0) -> Path:
    """Files and manifest as generation leaves them, but for their contents: the training file."""
    train = folder / "generated" / f"{MAZE}-seed{seed}-{episodes}ep.npz"
    files = {"": train, "-val": train.with_name(f"{train.stem}-val.npz")}
    touch(*files.values())
    made_from = {"recipe": asdict(recipe_for(MAZE)), "seed": seed, "versions": {}}
    write_manifest(train.with_suffix(".json"), made_from, {"": episodes, "-val": max(1, episodes // 10)}, files, {})
    return train


def test_names() -> None:
    names = known_datasets()
    assert len(set(names)) == len(names) == 85  # as the authors count them
    assert {"antmaze-teleport-explore", "visual-puzzle-4x6-noisy", "powderworld-hard-play", "scene-play"} <= set(names)


@pytest.mark.usefixtures("_short_episodes")
def test_generated_when_the_download_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = ask(tmp_path, transitions=100, processes=2)
    said = [line for line in capfd.readouterr().err.splitlines() if "could not be downloaded" in line]
    assert len(said) == 1
    assert f"{NOWHERE}: Connection refused; generating 5 episodes" in said[0]
    assert made.origin == "generated"
    assert made.train == tmp_path / "generated" / f"{MAZE}-seed0-5ep.npz"
    assert made.validation == tmp_path / "generated" / f"{MAZE}-seed0-5ep-val.npz"
    raw, held_out = read_npz(made.train), read_npz(made.validation)
    assert int(raw["terminals"].sum()) == 5
    assert int(held_out["terminals"].sum()) == 1
    assert len(cut_transitions(raw, 100)["actions"]) == len(raw["actions"]) == 5 * 21
    assert not np.array_equal(raw["observations"][:21], held_out["observations"])
    theirs, _ = their_ogbench.make_env_and_datasets(f"{MAZE}-v0", dataset_path=str(made.train), dataset_only=True)
    assert theirs["observations"].shape == (100, 2)
    manifest = json.loads(made.train.with_suffix(".json").read_text())
    assert manifest["recipe"]["name"] == MAZE
    assert {"ogbench", "mujoco", "numpy"} <= manifest["versions"].keys()

    # From now on it is found, also for fewer transitions; not for more, nor for another seed.
    for source in ("auto", "generate"):
        assert files(ask(tmp_path, transitions=41, source=source)) == files(made)
    assert capfd.readouterr().err == ""
    more = ask(tmp_path, transitions=101, source="generate")
    assert more.train.name == f"{MAZE}-seed0-6ep.npz"
    assert files(ask(tmp_path, transitions=3)) == files(made)
    for name, array in read_npz(more.train).items():
        np.testing.assert_array_equal(array[: 5 * 21], raw[name])


@pytest.mark.usefixtures("_short_episodes")
@pytest.mark.parametrize("task", [ogbench, ogbench_goals])
@pytest.mark.parametrize("transitions", [41, None])
def test_what_is_used_does_not_depend_on_what_the_cache_holds(tmp_path: Path, task: Any, transitions: int) -> None:
    """Three or twelve episodes, and the one of each that validates, alone or in front of 31 and 3."""
    names = {ogbench: f"{MAZE}-singletask-task1-v0", ogbench_goals: f"{MAZE}-v0"}
    config, used = Config(env=names[task]), []
    config.data.source, config.data.processes = "generate", 1
    for folder, cached in (("empty", transitions), ("full", 31 * 20)):
        config.data.folder = str(tmp_path / folder)
        for config.data.transitions in (cached, transitions):
            problem = task.prepare(config)
        used.append([problem.train["observations"], problem.validation["observations"]])
    assert re.search(r"-31ep.npz, the first \d+ of 620 \(data.transitions\)$", problem.origin)
    for fresh, cut in zip(*used, strict=True):
        np.testing.assert_array_equal(fresh, cut)


def test_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def generate(collect: Any, *, target: Path, counts: dict[str, int], **_: Any) -> dict[str, Path]:
        asked.update({target.name: counts})
        return {"": target, "-val": target}

    monkeypatch.setattr(ogbench_data, "generate", generate)
    for dataset, transitions in [("cube-single-play", 200_000), ("cube-triple-noisy", None), (MAZE, 1)]:
        ask(tmp_path, dataset, transitions=transitions, source="generate", seed=4)
    assert asked == {
        "cube-single-play-seed4-200ep.npz": {"": 200, "-val": 20},
        "cube-triple-noisy-seed4-3000ep.npz": {"": 3000, "-val": 300},
        f"{MAZE}-seed4-1ep.npz": {"": 1, "-val": 1},
    }


def test_download(tmp_path: Path) -> None:
    mirror, cache = tmp_path / "mirror", tmp_path / "cache"
    names = [f"{MAZE}-v0.npz", f"{MAZE}-v0-val.npz"]
    touch(*(mirror / name for name in names))
    mirrors = [NOWHERE, mirror.as_uri()]
    digest = hashlib.sha256(names[0].encode()).hexdigest()
    with pytest.raises(UserError, match="not the expected 0000"):
        ask(cache, source="download", mirrors=mirrors, sha256="0" * 64)
    official = Resolved(cache / "ogbench" / names[0], cache / "ogbench" / names[1], "official")
    assert ask(cache, source="auto", mirrors=mirrors, sha256=digest) == official
    assert official.train.read_text() == names[0]
    for source in ("auto", "download"):  # from the cache
        assert ask(cache, source=source, sha256=digest) == official
    with pytest.raises(UserError, match="not the expected 0000"):
        ask(cache, sha256="0" * 64)


def test_cache_prefers_official_files(tmp_path: Path) -> None:
    mine = touch_generated(tmp_path, 1000)
    generated = (mine, mine.with_name(f"{mine.stem}-val.npz"), "generated")
    assert files(ask(tmp_path)) == generated
    package = tmp_path / "home" / ".ogbench" / "data" / f"{MAZE}-v0.npz"
    touch(package)
    assert ask(tmp_path) == Resolved(package, None, "official")
    own, val = tmp_path / "ogbench" / f"{MAZE}-v0.npz", tmp_path / "ogbench" / f"{MAZE}-v0-val.npz"
    touch(own, val)
    assert ask(tmp_path) == Resolved(own, val, "official")
    assert files(ask(tmp_path, source="generate")) == generated


@pytest.mark.parametrize("source", ["auto", "download"])
def test_an_official_file_whose_download_was_broken_off_gets_its_validation_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], source: str
) -> None:
    """``ogbench`` itself fetches the training file first."""
    package = tmp_path / "home" / ".ogbench" / "data" / f"{MAZE}-v0.npz"
    touch(package, tmp_path / "mirror" / f"{MAZE}-v0-val.npz")
    assert ask(tmp_path, source=source) == Resolved(package, None, "official")
    said = capfd.readouterr().err
    assert f"{MAZE}-v0-val.npz could not be downloaded: {NOWHERE}: Connection refused; going on without held" in said
    fetched = tmp_path / "ogbench" / f"{MAZE}-v0-val.npz"
    mirrors = [(tmp_path / "mirror").as_uri()]
    for mirror in (mirrors, [NOWHERE]):  # the second time it is there
        assert ask(tmp_path, source=source, mirrors=mirror) == Resolved(package, fetched, "official")
    assert "going on without" not in capfd.readouterr().err


def without_manifest(train: Path) -> None:
    train.with_suffix(".json").unlink()


def of_another_recipe(train: Path) -> None:
    record = train.with_suffix(".json")
    made = json.loads(record.read_text())
    made["recipe"]["noise"] = 0.3
    record.write_text(json.dumps(made))


def cut_short(train: Path) -> None:
    train.write_text("c")


def without_validation(train: Path) -> None:
    train.with_name(f"{train.stem}-val.npz").unlink()


@pytest.mark.parametrize("damage", [without_manifest, of_another_recipe, cut_short, without_validation])
def test_generated_files_that_are_not_what_is_asked_for_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any
) -> None:
    made_anew: list[str] = []

    def generate(collect: Any, *, target: Path, counts: dict[str, int], **_: Any) -> dict[str, Path]:
        made_anew.append(target.name)
        return {"": target, "-val": target}

    monkeypatch.setattr(ogbench_data, "generate", generate)
    damage(touch_generated(tmp_path, 5))
    larger = touch_generated(tmp_path, 7)
    assert ask(tmp_path, transitions=4 * 1000, source="generate").train == larger
    damage(larger)
    ask(tmp_path, transitions=4 * 1000, source="generate")
    assert made_anew == [f"{MAZE}-seed0-4ep.npz"]


def test_with_a_checksum_nothing_is_generated(tmp_path: Path) -> None:
    """It is one file that the person wants."""
    touch_generated(tmp_path, 1000)
    mirror = tmp_path / "mirror"
    touch(mirror / f"{MAZE}-v0.npz", mirror / f"{MAZE}-v0-val.npz")
    for mirrors, said in (([NOWHERE], "could not be downloaded"), ([mirror.as_uri()], "not the expected 0000")):
        with pytest.raises(UserError, match=said):
            ask(tmp_path, mirrors=mirrors, sha256="0" * 64)


@pytest.mark.parametrize("source", ["auto", "path"])
def test_path(tmp_path: Path, source: str) -> None:
    mine = tmp_path / "mine.npz"
    touch(mine)
    assert ask(tmp_path, "my-own-robot", path=str(mine), source=source) == Resolved(mine, None, "path")
    touch(tmp_path / "mine-val.npz")
    assert ask(tmp_path, path=str(mine), source=source).validation == tmp_path / "mine-val.npz"
    with pytest.raises(UserError, match=r"does not exist; check the path\. Did you mean 'mine\.npz'"):
        ask(tmp_path, path=str(tmp_path / "mein.npz"), source=source)
    with pytest.raises(UserError, match="SHA-256"):
        ask(tmp_path, path=str(mine), source=source, sha256="0" * 64)


@pytest.mark.parametrize("name", [name for name in known_datasets() if recipe_for(name) is None])
def test_no_scripted_expert(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        UserError, match=f"{name} cannot be generated by script: .*{OFFICIAL}/ to .*data.path"
    ) as caught:
        ask(tmp_path, name, source="generate")
    assert ("trained SAC policy" in str(caught.value)) == ("ant" in name or "humanoid" in name)
    assert "\n" not in str(caught.value)


def test_no_scripted_expert_after_a_failed_download(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Connection refused; antmaze-large-navigate cannot be generated .* SAC"):
        ask(tmp_path, "antmaze-large-navigate")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"dataset": "cube-singel-play"},
            "'cube-singel-play' is not an OGBench data set. Did you mean 'cube-single-play'",
        ),
        ({"dataset": "cube-single-play-v0"}, "Did you mean 'cube-single-play'.* Names have no version"),
        ({"source": "donwload"}, "give one of auto, path, download, generate.* Did you mean 'download'"),
        ({"source": "path"}, "needs data.path=FILE"),
        ({"source": "generate", "sha256": "0" * 64}, "data.sha256 is not used with data.source=generate"),
        ({"source": "generate", "path": "x.npz"}, "data.path is not used with data.source=generate"),
        ({"transitions": 0}, "data.transitions=0"),
    ],
)
def test_wrong_settings(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        ask(tmp_path, **wrong)
    assert "\n" not in str(caught.value)
