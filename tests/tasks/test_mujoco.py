"""D4RL's domains: names, environments, reward transformations, scales, and where data come from."""

from __future__ import annotations

import builtins
import importlib
import sys
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest

from vgf import UserError
from vgf.config import Config
from vgf.data.formats import read_recording
from vgf.data.recording import Recording
from vgf.tasks.mujoco import DOMAINS, environment_factory, make_environment, prepare, reward_map
from vgf.tasks.mujoco_mazes import MAZES, is_d4rl_file
from vgf.tasks.mujoco_scores import SCALES, measure_random


def configured(env: str, path: Path | str | None = None, **data: Any) -> Config:
    config = Config(task="mujoco", env=env)
    config.data.path, config.data.transitions = (str(path) if path else None), None
    for key, value in data.items():
        setattr(config.data, key, value)
    return config


def refused(config: Config, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        prepare(config)
    assert "\n" not in str(caught.value)


def save_d4rl(path: Path, size: int, actions: int, rewards: list[list[float]], terminated: list[bool]) -> Path:
    """An HDF5 file in D4RL's layout: one list of rewards an episode, its last row terminated or timed out."""
    rows = sum(map(len, rewards))
    rng = np.random.default_rng(0)
    last = np.cumsum([len(episode) for episode in rewards]) - 1
    terminals, timeouts = np.zeros((2, rows), bool)
    terminals[last], timeouts[last] = terminated, np.logical_not(terminated)
    with h5py.File(path, "w") as file:
        file["observations"] = rng.normal(size=(rows, size)).astype(np.float32)
        file["next_observations"] = rng.normal(size=(rows, size)).astype(np.float32)
        file["actions"] = rng.uniform(-1, 1, (rows, actions)).astype(np.float32)
        file["rewards"] = np.concatenate(rewards).astype(np.float32)
        file["terminals"], file["timeouts"] = terminals, timeouts
    return path


REWARDS = [[1.0, 2.0], [5.0, 0.0, 5.0], [4.0]]  # returns 3, 10 and 4


def save_hopper(folder: Path) -> Path:
    return save_d4rl(folder / "hopper.hdf5", 11, 3, REWARDS, [True, False, True])


@pytest.mark.parametrize("name", DOMAINS)
def test_every_domain_is_an_environment_of_its_package(name: str) -> None:
    domain = DOMAINS[name]
    env_id = MAZES[domain.maze].env_id if domain.maze else domain.env_id.split(":")[-1]
    if domain.maze or ":" in domain.env_id:
        gymnasium.register_envs(pytest.importorskip("gymnasium_robotics"))
    assert env_id in gymnasium.registry


@pytest.mark.parametrize(("env", "sizes"), [("hopper-medium-replay", (11, 3)), ("halfcheetah-expert", (17, 6))])
def test_a_walker_is_played_in_flat_observations(env: str, sizes: tuple[int, int]) -> None:
    environment = environment_factory(configured(env))()
    assert (environment.observation_space.shape[0], environment.action_space.shape[0]) == sizes
    environment.close()


@pytest.mark.parametrize("name", MAZES)
def test_a_maze_looks_as_in_its_data(name: str) -> None:
    """D4RL's files count from the start and hide the goal; Minari's show the goal."""
    pytest.importorskip("gymnasium_robotics")
    env = {"umaze": "antmaze-umaze"}.get(name, f"antmaze-{name}-play")
    ours, theirs = make_environment(env), make_environment(env, d4rl=True)
    seen, of_d4rl = ours.reset(seed=3)[0], theirs.reset(seed=3)[0]
    assert (seen.shape, of_d4rl.shape) == ((31,), (29,))
    assert np.abs(of_d4rl[:2]).max() < 1.5  # within the starting cell
    np.testing.assert_allclose(seen[4:], of_d4rl[2:])  # the ant itself
    rows = MAZES[name].rows
    (start, goal) = (next((i, row.index(c)) for i, row in enumerate(rows) if c in row) for c in "rg")
    expected = 4 * np.subtract(goal, start)[::-1]  # x along columns, y down the rows, cells of 4
    moved = theirs.unwrapped.goal - theirs.get_wrapper_attr("_start")[:2]  # type: ignore[attr-defined]
    assert np.abs(moved - expected).max() < 1.5
    for environment in (ours, theirs):
        environment.close()


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("hoper-medium", "names are domain-quality.*'hopper-medium'"),
        ("hopper", "names are domain-quality"),
        (None, "env=None is no data set"),
    ],
)
def test_names_that_are_none(env: Any, message: str) -> None:
    refused(configured(env), message)
    with pytest.raises(UserError, match="no data set of task=mujoco"):
        environment_factory(configured(env))


def test_rewards_are_spread_as_in_d4rl(tmp_path: Path) -> None:
    problem = prepare(configured("hopper-medium", save_hopper(tmp_path), held_out=0))
    np.testing.assert_allclose(problem.train["rewards"], np.concatenate(REWARDS) * 1000 / (10 - 3), rtol=1e-6)
    np.testing.assert_array_equal(problem.train["masks"], [1, 0, 1, 1, 1, 0])  # a timeout is no end of the task
    np.testing.assert_array_equal(problem.train["terminals"], [0, 1, 0, 0, 1, 1])
    assert "rewards times 1000 / (10 - 3) (D4RL)" in problem.origin


def test_rewards_can_stay_as_they_are(tmp_path: Path) -> None:
    problem = prepare(configured("hopper-medium", save_hopper(tmp_path), held_out=0, rewards="raw"))
    np.testing.assert_array_equal(problem.train["rewards"], np.concatenate(REWARDS))
    assert "rewards as recorded" in problem.origin


def test_held_out_episodes_have_the_same_rewards(tmp_path: Path) -> None:
    problem = prepare(configured("hopper-medium", save_hopper(tmp_path), held_out=0.3))
    assert problem.validation is not None
    both = np.concatenate([problem.train["rewards"], problem.validation["rewards"]])
    np.testing.assert_allclose(np.sort(both), np.sort(np.concatenate(REWARDS)) * 1000 / 7, rtol=1e-6)


def test_a_maze_pays_minus_one_a_step_and_a_hand_what_it_pays(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium_robotics")
    maze = save_d4rl(tmp_path / "maze.hdf5", 29, 8, [[0, 0, 1], [0, 0]], [True, False])
    problem = prepare(configured("antmaze-umaze", maze, held_out=0))
    np.testing.assert_array_equal(problem.train["rewards"], [-1, -1, 0, -1, -1])
    assert problem.scale is None
    hand = save_d4rl(tmp_path / "door.hdf5", 39, 28, [[0.5, -0.25]], [False])
    np.testing.assert_array_equal(prepare(configured("door-human", hand, held_out=0)).train["rewards"], [0.5, -0.25])


def test_equal_returns_have_no_spread(tmp_path: Path) -> None:
    path = save_d4rl(tmp_path / "x.hdf5", 11, 3, [[1, 2], [3]], [True, True])
    refused(configured("hopper-medium", path), "all episodes return 3; use data.rewards=raw")


def test_a_part_of_the_data_is_drawn_from_all_of_it(tmp_path: Path) -> None:
    lengths = [3] * 40
    path = save_d4rl(tmp_path / "x.hdf5", 11, 3, [[float(i)] * n for i, n in enumerate(lengths)], [True] * 40)
    problem = prepare(configured("hopper-medium", path, transitions=30, rewards="raw", held_out=0))
    assert len(problem.train["rewards"]) == 30
    assert problem.train["rewards"].max() > 20  # not the first ten episodes


def test_whose_layout_a_maze_has_is_told_by_the_name(tmp_path: Path) -> None:
    for name in ("antmaze.hdf5", "ANTMAZE.HDF5", "x.h5", "X.H5"):
        assert is_d4rl_file(name), name
    for name in (None, "D4RL/antmaze/umaze-v1", "folder", "folder/data/main_data.hdf5"):
        assert not is_d4rl_file(name), name
    with h5py.File(tmp_path / "antmaze.hdf5", "w") as file:
        episode = file.create_group("episode_0")
        episode["observations/achieved_goal"] = np.zeros((3, 2))
        episode["observations/desired_goal"] = np.zeros((3, 2))
        episode["observations/observation"] = np.zeros((3, 27))
        episode["actions"], episode["rewards"] = np.zeros((2, 8), np.float32), np.zeros(2)
        episode["terminations"] = episode["truncations"] = np.zeros(2, bool)
    refused(configured("antmaze-umaze", tmp_path / "antmaze.hdf5"), "holds a Minari data set.*name it main_data.hdf5")


def test_data_of_another_environment(tmp_path: Path) -> None:
    refused(configured("walker2d-medium", save_hopper(tmp_path)), "observations have 11 entries, but walker2d-medium")


def test_scales_are_measured_or_missing(tmp_path: Path) -> None:
    scale = prepare(configured("hopper-medium", save_hopper(tmp_path))).scale
    assert scale is not None
    assert scale.score(scale.low) == 0
    assert scale.score((16.67 + 3234.3) / 2) == pytest.approx(50)
    assert {"Ant-v5", "gymnasium_robotics:AdroitHandPen-v1"}.isdisjoint(SCALES)
    assert set(SCALES) < {domain.env_id for domain in DOMAINS.values()}


def test_the_random_column_is_what_is_measured() -> None:
    mean, error = measure_random("Hopper-v5", episodes=40, seed=7)  # other episodes than the table's
    assert abs(mean - SCALES["Hopper-v5"].low) < 5 * error


@pytest.mark.parametrize(
    ("env", "source", "message"),
    [
        ("door-human", "auto", r"not collected here.*data.path=FILE.*Minari: D4RL/door/human-v2"),
        ("hopper-random", "generate", "not collected here.*data.path=FILE"),
        ("hopper-medium", "path", "needs data.path=FILE.*mujoco/hopper/medium-v0"),
        ("hopper-medium-replay", "download", "Minari has no such data set"),
    ],
)
def test_data_that_are_not_there(env: str, source: str, message: str) -> None:
    refused(configured(env, source=source), message)


def test_without_a_network_one_line_says_what_was_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))

    def unreachable(name: str, force_download: bool) -> None:
        raise OSError(f"no route to {name}")

    monkeypatch.setattr(minari, "download_dataset", unreachable)
    wanted = r"D4RL/antmaze/umaze-v1 is not in .* \(no route to D4RL/antmaze/umaze-v1\).*give data.path=FILE"
    refused(configured("antmaze-umaze", source="download"), wanted)


def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    original = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == "stable_baselines3":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    refused(configured("hopper-medium", folder=str(tmp_path)), r'pip install "vgf\[mujoco\]"; or give a D4RL')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("env", ["door-human", "antmaze-large-play"])
def test_without_gymnasium_robotics_one_line_says_how_to_get_it(env: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    with pytest.raises(UserError, match=f'env={env} needs gymnasium-robotics: pip install "vgf\\[mujoco\\]"'):
        make_environment(env)


def test_d4rl_and_mujoco_py_are_never_imported() -> None:
    for module in ("mujoco", "mujoco_data", "mujoco_mazes", "mujoco_scores"):
        text = Path(str(importlib.import_module(f"vgf.tasks.{module}").__file__)).read_text()
        assert not {"import d4rl", "import mujoco_py", "from d4rl", "from mujoco_py"} & set(text.splitlines())


def test_transformations_leave_the_recording_they_were_given(tmp_path: Path) -> None:
    recording: Recording = read_recording(save_hopper(tmp_path))
    before = recording.rewards.copy()
    lowered, _ = reward_map(recording, "minus_one")
    np.testing.assert_array_equal(lowered(recording.rewards), before - 1)
    np.testing.assert_array_equal(recording.rewards, before)


@pytest.mark.parametrize(("rewards", "factor"), [("d4rl", 1000 / 7), ("raw", 1.0)])
def test_the_problem_knows_what_was_done_to_its_rewards(tmp_path: Path, rewards: str, factor: float) -> None:
    problem = prepare(configured("hopper-medium", save_hopper(tmp_path), rewards=rewards))
    assert problem.rewards(np.ones(1)) == pytest.approx(factor)
