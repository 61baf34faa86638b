"""OGBench as a task: names, seeded environments, and rewards of data and environment row for row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import ogbench.relabel_utils
import pytest
import torch

from vgf import UserError
from vgf.config import Config
from vgf.data import shards
from vgf.data.store import TransitionStore
from vgf.tasks.ogbench import environment_factory, make_environment, prepare, split_name
from vgf.tasks.ogbench_oracles import collect_episode, recipe_for

MAZE = "pointmaze-medium-singletask-task1-v0"


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ("cube-single-play-singletask-task2-v0", ("cube-single-play", "cube-single-singletask-task2-v0")),
        ("scene-noisy-singletask-v0", ("scene-noisy", "scene-singletask-v0")),
        ("puzzle-4x4-play-singletask-task5-v0", ("puzzle-4x4-play", "puzzle-4x4-singletask-task5-v0")),
        (
            "pointmaze-giant-stitch-singletask-task1-v0",
            ("pointmaze-giant-stitch", "pointmaze-giant-singletask-task1-v0"),
        ),
    ],
)
def test_names(env, expected):
    assert split_name(env) == expected


@pytest.mark.parametrize(
    ("env", "near"),
    [
        ("cube-singel-play-singletask-task2-v0", "cube-single-play-singletask-task2-v0"),
        ("cube-single-play-singletask-task9-v0", "cube-single-play-singletask-task"),
        ("cube-single-play-v0", "not an OGBench single-task name"),
        ("", "not an OGBench single-task name"),
    ],
)
def test_names_that_are_none(env, near):
    with pytest.raises(UserError, match=near):
        split_name(env)


@pytest.mark.parametrize(
    "env", ["cube-single-play-singletask-task2-v0", "pointmaze-medium-navigate-singletask-task1-v0"]
)
def test_an_episode_depends_on_its_seed_alone(env):
    """Also on an environment that has played before, and whatever the global random state is."""
    make = environment_factory(Config(env=env))
    fresh, used = make(), make()
    actions = np.random.default_rng(0).uniform(-1, 1, size=(30, fresh.action_space.shape[0]))
    used.reset(seed=1)
    for action in actions[:11]:
        used.step(action)
    trajectories = []
    for environment, global_seed in ((fresh, 5), (used, 6)):
        np.random.seed(global_seed)
        before = np.random.get_state()[1].copy()
        observations = [environment.reset(seed=42)[0]]
        observations += [environment.step(action)[0] for action in actions]
        np.testing.assert_array_equal(np.random.get_state()[1], before)
        trajectories.append(np.stack(observations))
    np.testing.assert_array_equal(*trajectories)
    assert (fresh.reset(seed=43)[0] != trajectories[0][0]).any()


def test_rewards_of_data_and_environment_agree_row_for_row():
    """Put the environment into s_t, play a_t: it pays what the relabelled row t says, also in the goal."""
    environment = make_environment(MAZE)
    environment.reset(seed=0)
    episode = collect_episode(replace(recipe_for("pointmaze-medium-navigate"), steps=40), seed=0, split=0, index=0)
    goal = np.array(environment.unwrapped.cur_goal_xy)
    episode["qpos"][10] = goal + 0.3  # a visit to the goal
    episode["qpos"][11] = goal + 3.0
    ogbench.relabel_utils.relabel_dataset(MAZE, environment, episode)
    assert set(episode["rewards"]) == {-1.0, 0.0}
    paid, ended = [], []
    for qpos, action in zip(episode["qpos"], episode["actions"], strict=True):
        environment.reset(seed=0)
        environment.unwrapped.set_xy(qpos)
        _, reward, terminated, _, _ = environment.step(action)
        paid.append(reward)
        ended.append(terminated)
    np.testing.assert_array_equal(paid, episode["rewards"])
    np.testing.assert_array_equal(ended, episode["masks"] == 0)


def test_prepared_data(tiny, tiny_run):
    folder = next(o for o in tiny if o.startswith("data.folder=")).removeprefix("data.folder=")
    config = Config(env="pointmaze-medium-navigate-singletask-task1-v0")
    config.data.source, config.data.folder, config.data.transitions = "generate", folder, 4000
    problem = prepare(config)
    assert len(problem.train["actions"]) == 4000
    assert len(problem.validation["actions"]) == 1000
    assert problem.train["observations"].shape[1] == problem.action_size == 2
    assert np.abs(problem.train["actions"]).max() < 1
    assert problem.train["terminals"].sum() == 4
    assert "generated" in problem.origin


def test_shards_are_the_same_transitions(tmp_path):
    """Rewards are computed a shard at a time, as it is read."""
    config = Config(env="pointmaze-medium-navigate-singletask-task1-v0")
    config.data.source, config.data.transitions, config.data.folder = "generate", 3000, str(tmp_path / "cache")
    whole = prepare(config)
    source = next((tmp_path / "cache").rglob("*navigate*ep.npz"))
    shards.main([str(source), str(tmp_path / "shards")])
    config.data.path, config.data.source, config.data.transitions = str(tmp_path / "shards"), "auto", None
    sharded = prepare(config)
    settings = {"chunk": 1, "n_step": 1, "discount": 0.99}
    ours, theirs = sharded.store(sharded.train, **settings), TransitionStore(whole.train, **settings)
    batches = []
    for store in (ours, theirs):
        store.seek(0)
        batch = store.sample(4000, torch.Generator().manual_seed(0))
        rows = torch.cat([batch.observations, batch.actions, batch.returns[:, None], batch.discounts[:, None]], 1)
        batches.append({tuple(row) for row in rows.numpy().round(4).tolist()})
    assert len(batches[0] & batches[1]) > 0.4 * len(batches[0])
    everything = torch.cat([theirs.observations, theirs.actions, theirs.returns[:, None], theirs.discounts[:, None]], 1)
    assert batches[0] <= {tuple(row) for row in everything.numpy().round(4).tolist()}


def small_shards(folder: Path, observations: int = 2) -> Config:
    """Two episodes of four transitions in ``folder``, and a configuration that reads them."""
    rng = np.random.default_rng(0)
    widths = {"observations": observations, "actions": 2, "qpos": 2}
    episodes = [{name: rng.uniform(-1, 1, (5, n)).astype("f4") for name, n in widths.items()} for _ in range(2)]
    shards.write_shards(folder, episodes)
    config = Config(env="pointmaze-medium-navigate-singletask-task1-v0")
    config.data.path = str(folder)
    return config


def test_shards_are_found_in_the_home_folder(tmp_path, monkeypatch):
    config = small_shards(tmp_path / "shards")
    monkeypatch.setenv("HOME", str(tmp_path))
    config.data.path = "~/shards"
    assert len(prepare(config).train["actions"]) == 8


def test_shards_of_another_environment_are_refused(tmp_path):
    config = small_shards(tmp_path / "shards", observations=3)
    with pytest.raises(
        UserError, match=r"shards: observations have 3 entries, but pointmaze-medium-.* has 2; give the"
    ):
        prepare(config)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("transitions", 7, "is used whole, all 8 transitions; give data.transitions=null"),
        ("sha256", "00", "data.sha256 is the sum of one file"),
        ("source", "generate", "data.path is not used with data.source=generate"),
    ],
)
def test_settings_that_shards_have_no_use_for_are_refused(tmp_path, key, value, said):
    config = small_shards(tmp_path / "shards")
    setattr(config.data, key, value)
    with pytest.raises(UserError, match=said):
        prepare(config)
