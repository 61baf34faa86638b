"""Goal-conditioned OGBench as a task: names, goals beside observations, goals dealt evenly, prepared data."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from vgf import UserError
from vgf.config import Config
from vgf.data.goals import GoalStore
from vgf.tasks.ogbench_data import known_datasets
from vgf.tasks.ogbench_goals import environment_factory, prepare, split_name

MAZE, CUBE = "pointmaze-medium-navigate-v0", "cube-single-play-v0"


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (MAZE, ("pointmaze-medium-navigate", "pointmaze-medium-v0")),
        ("scene-play-v0", ("scene-play", "scene-v0")),
        ("puzzle-4x4-noisy-v0", ("puzzle-4x4-noisy", "puzzle-4x4-v0")),
        ("antsoccer-arena-stitch-v0", ("antsoccer-arena-stitch", "antsoccer-arena-v0")),
    ],
)
def test_names(env, expected):
    assert split_name(env) == expected


def test_every_data_set_of_states_has_an_environment():
    for dataset in known_datasets():
        if not dataset.startswith(("visual", "powderworld")):
            assert split_name(f"{dataset}-v0")[0] == dataset


@pytest.mark.parametrize(
    ("env", "hint"),
    [
        ("cube-singel-play-v0", "Did you mean 'cube-single-play-v0'"),
        ("pointmaze-medium-v0", "'pointmaze-medium-navigate-v0'"),
        ("cube-single-play", "'cube-single-play-v0'"),
        ("cube-single-play-singletask-task2-v0", "belong to task=ogbench.*'cube-single-play-v0'"),
        ("visual-cube-single-play-v0", "'cube-single-play-v0'"),
        ("", "not an OGBench goal-conditioned data set"),
        (None, "not an OGBench goal-conditioned data set"),
    ],
)
def test_names_that_are_none(env, hint):
    with pytest.raises(UserError, match=hint) as caught:
        environment_factory(Config(env=env))
    assert "\n" not in str(caught.value)


def make(env: str = MAZE):
    return pickle.loads(pickle.dumps(environment_factory(Config(env=env))))()


@pytest.mark.parametrize(("env", "size"), [(MAZE, 2), (CUBE, 28)])
def test_the_goal_lies_beside_the_observation_all_episode_long(env, size):
    environment = make(env)
    assert environment.observation_space.shape == (2 * size,)
    first, info = environment.reset(seed=3, options={"episode": 1})
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first[size:], np.asarray(info["goal"], np.float32))
    later, *_ = environment.step(np.ones(environment.action_space.shape, np.float32))
    np.testing.assert_array_equal(later[size:], first[size:])
    assert (later[:size] != first[:size]).any()
    inner = environment.unwrapped.get_ob() if env == MAZE else environment.unwrapped.compute_observation()
    np.testing.assert_array_equal(later[:size], np.asarray(inner, np.float32))


def test_five_goals_are_dealt_evenly():
    environment = make()
    assert environment.deals_episodes
    tasks, goals = [], []
    for episode in range(10):
        observation, _ = environment.reset(seed=episode, options={"episode": episode})
        tasks.append(environment.unwrapped.cur_task_id)
        goals.append(observation[2:])
    assert tasks == [1, 2, 3, 4, 5] * 2
    near = [np.linalg.norm(goals[e] - goals[e + 5]) for e in range(5)]
    apart = [np.linalg.norm(goals[e] - goals[e + 1]) for e in range(4)]
    assert max(near) < 3 < min(apart)  # the same cell of the maze but for noise; other goals are cells away


def test_a_goal_can_be_named_and_must_not_be():
    environment = make()
    environment.reset(seed=0, options={"task_id": 4})
    assert environment.unwrapped.cur_task_id == 4
    tasks = [environment.reset(seed=seed) and environment.unwrapped.cur_task_id for seed in range(20)]
    assert len(set(tasks)) > 2


@pytest.mark.parametrize("env", [MAZE, CUBE])
def test_an_episode_depends_on_seed_and_number_alone(env):
    """Also on an environment that has played another goal before, and whatever the global random state is."""
    fresh, used = make(env), make(env)
    actions = np.random.default_rng(0).uniform(-1, 1, size=(20, *fresh.action_space.shape))
    used.reset(seed=1, options={"episode": 0})
    for action in actions[:7]:
        used.step(action)
    trajectories = []
    for environment, global_seed in ((fresh, 5), (used, 6)):
        np.random.seed(global_seed)
        observations = [environment.reset(seed=42, options={"episode": 7})[0]]
        observations += [environment.step(action)[0] for action in actions]
        trajectories.append(np.stack(observations))
    np.testing.assert_array_equal(*trajectories)
    assert (fresh.reset(seed=43, options={"episode": 7})[0] != trajectories[0][0]).any()


def test_an_episode_ends_with_success_at_the_goal_and_in_time_elsewhere():
    environment = make()
    environment.reset(seed=0, options={"episode": 2})
    still = np.zeros(2, np.float32)
    _, reward, ended, cut, info = environment.step(still)
    assert (reward, ended, cut, info["success"]) == (0, False, False, 0)
    environment.unwrapped.set_xy(environment.unwrapped.cur_goal_xy)
    _, reward, ended, cut, info = environment.step(still)
    assert (reward, ended, cut, info["success"]) == (1, True, False, 1)
    environment.reset(seed=0, options={"episode": 2})
    for _ in range(999):
        assert not any(environment.step(still)[2:4])
    assert environment.step(still)[2:4] == (False, True)


def config_for(tiny: list[str]) -> Config:
    folder = next(o for o in tiny if o.startswith("data.folder=")).removeprefix("data.folder=")
    config = Config(task="ogbench_goals", env=MAZE)
    config.data.source, config.data.folder, config.data.transitions = "generate", folder, 4000
    config.data.processes = 1
    return config


def test_prepared_data(tiny):
    problem = prepare(config_for(tiny))
    assert problem.name == MAZE
    assert "generated" in problem.origin
    assert len(problem.train["actions"]) == 4000
    assert len(problem.validation["actions"]) == 1000
    assert problem.train["terminals"].sum() == 4
    assert np.abs(problem.train["actions"]).max() < 1
    assert problem.store is GoalStore
    store = problem.store(problem.train, chunk=2, n_step=5, discount=0.99)
    states = problem.held_out_states(50, seed=0)
    environment = environment_factory(config_for(tiny))()
    assert environment.observation_space.shape == (store.observation_size,) == states.shape[1:]
    np.testing.assert_array_equal(states, problem.held_out_states(50, seed=0))
    rows = {tuple(row) for row in problem.validation["observations"]}
    assert all(tuple(state[:2]) in rows and tuple(state[2:]) in rows for state in states)


def test_data_of_another_environment(tiny):
    config = config_for(tiny)
    made = prepare(config).origin.removeprefix("generated: ")
    config.data.source, config.data.path, config.env = "path", f"{config.data.folder}/generated/{made}", CUBE
    with pytest.raises(UserError, match="observations have 2 entries, but cube-single-v0 has 28"):
        prepare(config)
