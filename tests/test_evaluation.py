"""Evaluation: seeded, the same for any number of processes, and honest about trouble."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import toy_env

from vgf import UserError, scoring
from vgf.config import Config
from vgf.environments import EnvironmentPool, Outcome
from vgf.evaluation import Decision, EpisodeRecord, TimeSpent, episode_seed, evaluate, particle_noise
from vgf.methods import load_method
from vgf.rundir import RunDirectory

CHUNK = 5


def decide(observations, noise):
    """Push to the right, by an amount that depends on the noise; report made-up distances and values."""
    actions = np.clip(0.5 + 0.3 * noise[:, 0, :CHUNK], -1, 1)[:, :, None]
    return Decision(actions, travelled=np.abs(noise[:, 0, 0]), values=observations[:, 0], judged=-observations[:, 0])


def play(pool, episodes=7, seed=3, **limit):
    records = evaluate(decide, pool, noise_shape=(2, CHUNK), episodes=episodes, seed=seed, **limit)
    return [dataclasses.replace(r, milliseconds=0.0) for r in records]


def by_hand(episode, seed=3):
    """The same episode, played without pool, slots or processes."""
    env, record = toy_env.make(), {"episode_return": 0.0, "length": 0, "success": 0.0, "travelled": [], "value": []}
    observation, _ = env.reset(seed=episode_seed(seed, episode))
    done, decisions = False, 0
    while not done:
        noise = particle_noise(seed, episode, decisions, (2, CHUNK))[None]
        decision = decide(observation[None].astype(np.float32), noise)
        record["travelled"].append(decision.travelled[0])
        record["value"].append(decision.values[0])
        decisions += 1
        for action in decision.actions[0]:
            observation, reward, terminated, truncated, info = env.step(action)
            record["episode_return"] += float(np.float32(reward))
            record["length"] += 1
            record["success"] = max(record["success"], info["success"])
            done = terminated or truncated
            if done:
                break
    return record


def test_records_are_those_of_episodes_played_by_hand():
    with EnvironmentPool(toy_env.make, slots=3, processes=1) as pool:
        records = play(pool)
        assert play(pool, most_steps=max(r.length for r in records)) == records  # ends with the last that is allowed
    assert [r.episode for r in records] == list(range(7))
    assert len({r.length for r in records}) > 1
    for record in records:
        expected = by_hand(record.episode)
        assert record.length == expected["length"]
        assert record.success == expected["success"]
        assert record.episode_return == pytest.approx(expected["episode_return"], rel=1e-5)
        assert record.travelled == pytest.approx(np.mean(expected["travelled"]), rel=1e-5)
        assert record.value == pytest.approx(np.mean(expected["value"]), rel=1e-4)
        assert record.judged == pytest.approx(-np.mean(expected["value"]), rel=1e-4)


def test_processes_history_and_slots_to_spare_change_no_score():
    with (
        EnvironmentPool(toy_env.make, slots=3, processes=1) as one,
        EnvironmentPool(toy_env.make, slots=3, processes=2) as two,
    ):
        first = play(one)
        play(one, episodes=2, seed=8)  # leaves the environments somewhere else
        assert play(one) == first
        assert play(two) == first
    with EnvironmentPool(toy_env.make, slots=9, processes=2) as roomy:
        assert play(roomy) == first


def test_time_is_counted_where_it_is_spent():
    def slow(observations, noise):
        time.sleep(0.005)
        return decide(observations, noise)

    spent = TimeSpent()
    with EnvironmentPool(toy_env.make, slots=3, processes=1) as pool, spent.on("total"):
        records = evaluate(slow, pool, noise_shape=(2, CHUNK), episodes=3, seed=3, spent=spent)
    decisions = max(r.decisions for r in records)
    assert spent.policy >= 0.005 * decisions
    assert spent.environment > 0
    assert spent.policy + spent.environment <= spent.total
    assert sum(r.milliseconds for r in records if r.decisions == decisions) > 0
    assert str(TimeSpent(environment=6.0, policy=3.0, total=10.0)) == (
        "environment 60 %, policy 30 %, other 10 % of 10.0 s"
    )


def test_other_seeds_are_other_episodes():
    with EnvironmentPool(toy_env.make, slots=2, processes=1) as pool:
        assert play(pool, seed=3) != play(pool, seed=4)


def test_the_episodes_of_points_are_those_of_the_evaluation_seed(tmp_path, monkeypatch):
    """Whatever the seed of the run."""
    seeds = []
    monkeypatch.setattr(scoring, "EnvironmentPool", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(scoring, "evaluate", lambda *_, seed, **__: seeds.append(seed) or [EpisodeRecord(0, -1, 0, 5)])
    config = Config(run_dir="unused", seed=5)
    config.eval.seed = 2
    policy = SimpleNamespace(step=1, noise_shape=lambda _: (2, CHUNK))
    scoring.play_points(config, RunDirectory(tmp_path), policy, [(load_method("qgf"), 0.1)], toy_env.make)
    assert seeds == [2]


def test_noise_is_common_to_all_budgets_and_particle_counts():
    eight, two = particle_noise(0, 5, 3, (8, 4)), particle_noise(0, 5, 3, (2, 4))
    np.testing.assert_array_equal(eight[:2], two)
    others = [particle_noise(1, 5, 3, (2, 4)), particle_noise(0, 6, 3, (2, 4)), particle_noise(0, 5, 4, (2, 4))]
    assert all((other != two).any() for other in others)


def test_global_random_streams_are_left_alone():
    torch.manual_seed(1)
    np.random.seed(1)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(1)
    np.random.seed(1)
    with EnvironmentPool(toy_env.make, slots=2, processes=1) as pool:
        play(pool, episodes=3)
    assert (torch.rand(1), np.random.rand()) == expected


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (toy_env.make_raising, "the environment failed: RuntimeError: the point fell off the line"),
        (toy_env.make_nan, "observation is not finite"),
        (toy_env.make_dying, "environment process . died"),
    ],
)
def test_trouble_is_one_line(make, said):
    with EnvironmentPool(make, slots=2, processes=2) as pool, pytest.raises(UserError, match=said) as error:
        play(pool)
    assert "\n" not in str(error.value)


class EndlessPool:
    """Stands in for a pool whose environments never end an episode."""

    slots, observation_size = 2, 1

    def reset(self, episodes):
        return {slot: np.zeros(1, np.float32) for slot in episodes}

    def play(self, chunks):
        return {slot: Outcome(np.zeros(1, np.float32), 0.0, len(chunk), False, None) for slot, chunk in chunks.items()}


def test_an_episode_without_an_end_is_given_up():
    decisions = []

    def counted(observations, noise):
        assert len(decisions) < 10
        decisions.append(decide(observations, noise))
        return decisions[-1]

    with pytest.raises(UserError, match="episode 0 has not ended after 15 steps; give the environment a time limit"):
        evaluate(counted, EndlessPool(), noise_shape=(2, CHUNK), episodes=3, seed=0, most_steps=12)
    assert len(decisions) == 3


def test_a_process_that_dies_between_two_calls_is_one_line_as_well():
    with EnvironmentPool(toy_env.make, slots=1, processes=1) as pool:
        pool.reset({0: (0, 0)})
        (worker,) = [child for child in multiprocessing.active_children() if child.name == "environments-0"]
        worker.kill()
        worker.join()
        with pytest.raises(UserError, match=r"environment process 0 died \(exit code -9"):
            pool.play({0: np.zeros((1, 1), np.float32)})
