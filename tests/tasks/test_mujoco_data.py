"""The SAC collector: one small run, what it records, and that the record is found again."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vgf import UserError
from vgf.config import Config, SACConfig
from vgf.data.formats import read_recording
from vgf.data.formats.minari_writer import METADATA_FILE
from vgf.tasks import mujoco_data
from vgf.tasks.mujoco import prepare
from vgf.tasks.mujoco_data import QUALITIES, sac_data

SMALL = SACConfig(steps=600, environments=2, updates=1, hidden=16, start=200, rollout=150)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with one finished SAC run of Hopper. Do not change it."""
    pytest.importorskip("stable_baselines3")
    folder = tmp_path_factory.mktemp("sac")
    torch.manual_seed(5)
    np.random.seed(5)
    threads = torch.get_num_threads()
    expected = torch.rand(1), np.random.rand(1)
    torch.manual_seed(5)
    np.random.seed(5)
    sac_data("Hopper-v5", "medium", SMALL, 0, folder)
    assert torch.get_num_threads() == threads
    assert (torch.rand(1), np.random.rand(1)) == expected  # nobody else's random numbers were touched
    return folder


def found(folder: Path, quality: str) -> tuple[Path, dict[str, Any]]:
    return sac_data("Hopper-v5", quality, SMALL, 0, folder)


def test_one_run_records_all_three_and_is_found_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mujoco_data, "_make", lambda *_: pytest.fail("trained again"))
    for quality in QUALITIES:
        where, metadata = found(folder, quality)
        recording = read_recording(where)
        assert metadata["total_steps"] == len(recording)
        assert metadata["mean_return"] == pytest.approx(recording.returns.mean(), rel=1e-4)
        settings = metadata["sac"]
        assert (settings["env"], settings["seed"], settings["steps"]) == ("Hopper-v5", 0, 600)
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        sac_data("Hopper-v5", "medium", SMALL, 1, folder)


def test_the_replay_is_the_buffer_up_to_the_medium_policy(folder: Path) -> None:
    where, metadata = found(folder, "medium-replay")
    recording = read_recording(where)
    assert len(recording) == metadata["sac"]["medium_step"]
    assert np.abs(recording.actions).max() <= 1
    inside = ~recording.ends[:-1]
    np.testing.assert_array_equal(recording.next_observations[:-1][inside], recording.observations[1:][inside])
    assert recording.terminated.any()  # a hopper that knows nothing falls
    assert not recording.terminated[~recording.ends].any()


def test_rollouts_are_whole_episodes(folder: Path) -> None:
    recording = read_recording(found(folder, "expert")[0])
    assert len(recording) >= SMALL.rollout > len(recording) - recording.lengths[-1]
    assert recording.terminated[recording.ends].all()


def test_minari_itself_reads_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip("minari")
    where, _ = found(folder, "medium")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(where.parents[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = minari.load_dataset(f"{where.parent.name}/{where.name}")
    ours = read_recording(where)
    assert (data.total_episodes, data.total_steps) == (len(ours.lengths), len(ours))
    episode = data[0]
    np.testing.assert_array_equal(episode.actions, ours.actions[: ours.lengths[0]])
    assert episode.observations.shape == (ours.lengths[0] + 1, 11)
    assert data.spec.env_spec.id == "Hopper-v5"


def test_the_task_says_where_its_data_come_from(folder: Path) -> None:
    config = Config(task="mujoco", env="hopper-medium-replay")
    config.data.folder, config.data.transitions, config.data.sac = str(folder), None, SMALL
    problem = prepare(config)
    assert "collected by SAC" in problem.origin
    assert "rewards times 1000" in problem.origin
    assert problem.validation is not None


def test_levels_in_the_metadata_are_those_of_the_definition(folder: Path) -> None:
    sac = found(folder, "medium")[1]["sac"]
    assert SMALL.start <= sac["medium_step"] <= SMALL.steps
    reached = sac["level_medium"] - sac["level_random"] >= SMALL.medium * (sac["level_final"] - sac["level_random"])
    assert reached or sac["medium_step"] == SMALL.steps


def test_a_stopped_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    pytest.importorskip("stable_baselines3")

    def stopped(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(mujoco_data, "_rollouts", stopped)
    with pytest.raises(KeyboardInterrupt):
        sac_data("Hopper-v5", "medium", SMALL, 0, tmp_path)
    assert "nothing of it is kept" in capsys.readouterr().err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_too_short_a_run_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    short = SACConfig(steps=20, environments=1, updates=1, hidden=8, start=10, rollout=10)
    with pytest.raises(UserError, match=r"data\.sac\.steps=20 ends before an episode of HalfCheetah-v5"):
        sac_data("HalfCheetah-v5", "medium", short, 0, tmp_path)


def test_metadata_are_json(folder: Path) -> None:
    where, metadata = found(folder, "expert")
    assert json.loads((where / METADATA_FILE).read_text()) == metadata
    assert metadata["minari_version"] == "0.5.0", "the lowest that is allowed, which refuses what is of a later one"
    assert metadata["algorithm_name"] == "SAC"


@pytest.mark.slow
def test_from_nothing_to_a_report_by_one_command(tmp_path: Path, vgf_run: Callable[..., Any]) -> None:
    pytest.importorskip("stable_baselines3")
    small = [f"data.sac.{key}={value}" for key, value in vars(SMALL).items()]
    command = [
        "task=mujoco", "env=hopper-medium-replay", f"data.folder={tmp_path}", f"run_dir={tmp_path / 'run'}", *small,
        "net.hidden=16", "net.layers=2", "train.steps=20", "eval.episodes=2", "eval.budgets=[0,1]",
    ]  # fmt: skip
    done = vgf_run(*command)
    assert done.returncode == 0, done.stderr
    assert "normalised" in done.stdout
    assert "collected by SAC" in (tmp_path / "run" / "report.html").read_text()
    assert "preset: mujoco" in (tmp_path / "run" / "config.yaml").read_text()
    again = vgf_run("mode=eval", f"run={tmp_path / 'run'}", "eval.episodes=1", "eval.budgets=[3]")
    assert again.returncode == 0, again.stderr
    assert "normalised" in again.stdout
