"""A policy as stable-baselines3, LeRobot and Minari expect one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import vgf
from tests.toy_env import Plane, make_plane
from vgf import Budget, UserError
from vgf.methods import load_method
from vgf.nets import ActorCritic, NetSizes
from vgf.policy import Policy
from vgf.tasks.recorded import rescaled
from vgf.wrappers import LeRobotPolicy, Predictor, collect

OBS = np.array([[4.0, 8.0], [12.0, 3.0]], np.float32)
BOX = gymnasium.spaces.Box(np.float32([0, -4]), np.float32([1, 4]))


@pytest.fixture(scope="module")
def policy(tiny_run: Path) -> Any:
    return vgf.load(tiny_run)


def test_predict_plays_chunks_to_their_end(policy: Any) -> None:
    predictor, state, played = Predictor(policy, seed=3, budget=Budget(size=0.3)), None, []
    chunk = policy.act_chunk(OBS).shape[1]
    for _ in range(chunk + 1):
        actions, state = predictor.predict(OBS, state)
        played.append(actions)
    first = policy.act_chunk(OBS, Budget(size=0.3), vgf.evaluation.episode_seed(3, 0))
    second = policy.act_chunk(OBS, Budget(size=0.3), vgf.evaluation.episode_seed(3, 1))
    np.testing.assert_allclose(np.stack(played[:chunk], 1), first, atol=1e-6)
    np.testing.assert_allclose(played[chunk], second[:, 0], atol=1e-6)


def test_an_episode_that_begins_is_planned_anew(policy: Any) -> None:
    predictor = Predictor(policy)
    first, state = predictor.predict(OBS)
    again, _ = predictor.predict(OBS, state, episode_start=np.array([True, False]))
    np.testing.assert_allclose(again[1], policy.act_chunk(OBS, seed=vgf.evaluation.episode_seed(0, 0))[1, 1], atol=1e-6)
    np.testing.assert_allclose(again[0], policy.act(OBS, seed=vgf.evaluation.episode_seed(0, 1))[0], atol=1e-6)
    fixed = [predictor.predict(OBS, deterministic=True)[0] for _ in range(2)]
    np.testing.assert_array_equal(*fixed)
    assert (first != fixed[0]).any()


def test_a_state_of_other_observations_is_refused(policy: Any) -> None:
    _, state = Predictor(policy).predict(OBS)
    with pytest.raises(UserError, match="the state is of 2 observations, not 1"):
        Predictor(policy).predict(OBS[:1], state)
    assert Predictor(policy).predict(OBS[:0])[0].shape == (0, 2)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_actions_are_in_the_action_space(policy: Any, dtype: type) -> None:
    plain, boxed = Predictor(policy, seed=1), Predictor(policy, seed=1, action_space=BOX)
    np.testing.assert_allclose(boxed(OBS), (plain(OBS) + 1) / 2 * (BOX.high - BOX.low) + BOX.low, atol=1e-5)
    odd = gymnasium.spaces.Box(np.array([-0.3, -0.7], dtype), np.array([0.9, 0.1], dtype), dtype=dtype)  # type: ignore
    ends = Predictor(policy, action_space=odd).scaled(np.float32([[-1, 1], [1, -1], [1, 1]]))
    assert all(odd.contains(action) for action in ends)
    np.testing.assert_allclose(ends[2], odd.high, rtol=4 * np.finfo(dtype).eps)
    assert boxed(OBS[0]).shape == (2,)
    with pytest.raises(UserError, match="no box of 2 numbers"):
        Predictor(policy, action_space=gymnasium.spaces.Discrete(3))
    with pytest.raises(UserError, match="not bounded"):
        Predictor(policy, action_space=gymnasium.spaces.Box(-np.inf, np.inf, (2,)))


def test_stable_baselines3_evaluates_it(policy: Any) -> None:
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    vectors = pytest.importorskip("stable_baselines3.common.vec_env")
    env = vectors.DummyVecEnv([make_plane])
    predictor = Predictor(policy, action_space=env.action_space)
    returns, lengths = evaluation.evaluate_policy(
        predictor, env, n_eval_episodes=2, deterministic=False, return_episode_rewards=True, warn=False
    )
    assert len(returns) == 2
    assert lengths == [7, 7]


def test_lerobot_takes_actions_from_a_queue(policy: Any) -> None:
    robot, batch = LeRobotPolicy(policy, seed=2), {"observation.state": torch.from_numpy(OBS)}
    chunk = torch.from_numpy(policy.act_chunk(OBS, seed=vgf.evaluation.episode_seed(2, 0)))
    for step in range(chunk.shape[1]):
        torch.testing.assert_close(robot.select_action(batch), chunk[:, step])
    robot.select_action(batch)
    robot.reset()
    torch.testing.assert_close(
        robot.select_action(batch), torch.from_numpy(policy.act(OBS, seed=vgf.evaluation.episode_seed(2, 2)))
    )
    robot.reset()
    rough = {"observation.state": torch.from_numpy(OBS[:1]).bfloat16().requires_grad_()}
    assert robot.select_action(rough).shape == (1, 2)
    with pytest.raises(UserError, match="the plan is of 1 observations, not 2; call reset"):
        robot.select_action(batch)
    robot.reset()
    with pytest.raises(UserError, match="it has pixels"):
        robot.select_action({"pixels": batch["observation.state"]})


def test_collected_episodes_are_a_minari_data_set(policy: Any, tmp_path: Path) -> None:
    env = make_plane()
    recording = collect(env, policy, tmp_path / "mine" / "data-v0", episodes=2, budget=Budget(size=0.1), seed=5)
    again = collect(env, policy, tmp_path / "mine" / "data-v0", episodes=2, budget=Budget(size=0.1), seed=5)
    np.testing.assert_array_equal(recording.actions, again.actions)
    assert len(recording.lengths) == 2
    minari = pytest.importorskip("minari")
    found = minari.MinariDataset(tmp_path / "mine" / "data-v0" / "data")
    assert found.total_episodes == 2
    np.testing.assert_allclose(found[0].actions, recording.actions[: recording.lengths[0]])
    with pytest.raises(UserError, match="episodes=0"):
        collect(env, policy, tmp_path, episodes=0)


class Endless(Plane):
    """Made with an argument that JSON does not know, where there is one; counts its steps and never ends."""

    taken = 0

    def __init__(self, goal: Any = None) -> None:
        pass

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        Endless.taken += 1
        return (*super().step(action)[:2], False, False, {})


@pytest.fixture
def untrained() -> Policy:
    return Policy(ActorCritic(NetSizes(2, 2, hidden=8, layers=1)), load_method("best_of_n"), 2)


def endless(**arguments: Any) -> gymnasium.Env:
    gymnasium.register("VgfEndless-v0", Endless)
    try:
        environment = gymnasium.make("VgfEndless-v0", disable_env_checker=True, **arguments)
    finally:
        del gymnasium.registry["VgfEndless-v0"]
    environment.spec.entry_point = "tests.test_wrappers:Endless"  # a class of its own could not be written
    return environment


def test_environments_of_our_tasks_can_be_collected(untrained: Policy, tmp_path: Path) -> None:
    assert len(collect(rescaled(make_plane()), untrained, tmp_path, episodes=1).rewards) == 7


def test_a_spec_that_cannot_be_written_is_found_before_anything_is_played(untrained: Policy, tmp_path: Path) -> None:
    Endless.taken = 0
    with pytest.raises(UserError, match="the spec of VgfEndless-v0 cannot be written as JSON") as caught:
        collect(endless(goal=np.zeros(2)), untrained, tmp_path, episodes=1)
    assert "\n" not in str(caught.value)
    assert Endless.taken == 0


def test_a_folder_or_a_seed_that_will_not_do_is_found_before_anything_is_played(
    untrained: Policy, tmp_path: Path
) -> None:
    Endless.taken = 0
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "data-v0"):
        with pytest.raises(UserError, match=r"cannot write files to .*file.*; choose another path"):
            collect(endless(), untrained, folder, episodes=1, most_steps=9)
    for seed in (-1, 0.5):
        with pytest.raises(UserError, match=f"seed={seed} must be a whole number, 0 or more"):
            collect(endless(), untrained, tmp_path / "data-v0", episodes=1, most_steps=9, seed=seed)  # type: ignore
        with pytest.raises(UserError, match=f"seed={seed} must be"):
            LeRobotPolicy(untrained, seed=seed)
    assert Endless.taken == 0
    assert (tmp_path / "file").read_text() == "mine"


def test_an_episode_without_an_end_is_given_up(untrained: Policy, tmp_path: Path) -> None:
    Endless.taken = 0
    with pytest.raises(UserError, match="episode 0 has not ended after 9 steps"):
        collect(endless(), untrained, tmp_path, episodes=1, most_steps=9)
    assert Endless.taken == 9
