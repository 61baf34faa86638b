"""Offline-to-online: what is played is what is stored, and a run goes on exactly where it stopped."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small import Hall, problem, small_config

from vgf import UserError, checkpoint
from vgf.config import Config
from vgf.data.buffer import ReplayBuffer, TwoStores
from vgf.data.sharded_store import store_of
from vgf.data.shards import ShardedData, split_episodes, write_shards
from vgf.data.store import TransitionStore
from vgf.evaluation import episode_seed
from vgf.problem import RewardMap
from vgf.rundir import RunDirectory
from vgf.tasks import custom, ogbench_goals
from vgf.trainers.online import OnlineTrainer, require_playable, train

CPU = torch.device("cpu")
ONLINE = {"train__steps": 0, "online__steps": 60, "online__start": 10}


def trainer_with(**changes) -> OnlineTrainer:
    return OnlineTrainer(small_config(**ONLINE, **changes), problem(), CPU)


def test_the_replay_holds_what_the_environment_did():
    trainer = trainer_with()
    for _ in range(60):
        trainer.advance()
    gamma, ends = trainer.config.discount, set()
    rows, begin, finished = trainer.replay.rows, 0, 0
    assert rows > 30
    while begin < rows:
        end = int(trainer.replay.episode_end[begin]) + 1
        env = Hall()
        state, _ = env.reset(seed=episode_seed(50_021, finished))
        for row in range(begin, end):
            np.testing.assert_array_equal(trainer.replay.observations[row].numpy(), state)
            action = trainer.replay.actions[row].numpy()
            state, reward, terminated, truncated, _ = env.step(action)
            np.testing.assert_array_equal(trainer.replay.next_observations[row].numpy(), state)
            assert (terminated or truncated) == (row == end - 1)
        # The last row: one reward, whatever n_step is, and nothing to come only where the task has ended.
        assert trainer.replay.returns[row].item() == reward
        assert trainer.replay.discounts[row].item() == pytest.approx(0 if terminated else gamma)
        ends.add(terminated)
        begin, finished = end, finished + 1
    assert ends == {True, False}
    assert trainer.player.last_episode["online/episodes"] == finished
    assert trainer.player.last_episode["online/transitions"] == rows


def test_playing_computes_no_measurements(monkeypatch):
    trainer = trainer_with()
    for name in ("decide", "value", "judge"):
        monkeypatch.setattr(trainer.policy, name, lambda *_: pytest.fail("only measurements need it"))
    trainer.advance()


def test_rewards_of_play_are_on_the_scale_of_the_data():
    """The critic learns from both; the return that is told stays the environment's."""
    plain = trainer_with()
    mapped = dataclasses.replace(problem(), rewards=RewardMap(scale=10.0, shift=-3.0))
    scaled = OnlineTrainer(small_config(**ONLINE), mapped, CPU)
    for _ in range(9):  # before the first update
        plain.advance(), scaled.advance()
    rows = plain.replay.rows
    last = plain.replay.episode_end[:rows] == torch.arange(rows)  # one reward, whatever n_step is
    assert last.any()
    torch.testing.assert_close(scaled.replay.returns[:rows][last], 10 * plain.replay.returns[:rows][last] - 3)
    assert scaled.player.last_episode == plain.player.last_episode


def test_no_update_before_the_start_and_one_a_step_after_of_data_and_play(monkeypatch):
    trainer, drawn = trainer_with(), []
    sample = trainer.both.sample
    monkeypatch.setattr(trainer.both, "sample", lambda *how: drawn.append(sample(*how)) or drawn[-1])
    before = {k: v.clone() for k, v in trainer.networks.state_dict().items()}
    losses = [trainer.advance() for _ in range(12)]
    assert [loss is None for loss in losses] == [True] * 9 + [False] * 3
    assert trainer.step == 12
    assert len(drawn) == 3
    played = torch.cat([batch.rows for batch in drawn]) >= trainer.data.rows
    assert played.any()
    assert not played.all()
    assert any(not torch.equal(v, before[k]) for k, v in trainer.networks.state_dict().items())


@pytest.mark.parametrize("stop", [3, 17, 41])
def test_going_on_from_any_step_is_exact(tmp_path, monkeypatch, stop):
    whole, first = trainer_with(), trainer_with()
    for _ in range(60):
        whole.advance()
    for _ in range(stop):
        first.advance()
    first.save(tmp_path)
    second = OnlineTrainer(small_config(**ONLINE, seed=0), problem(), CPU)
    read, checked = [], checkpoint.file_sha256
    monkeypatch.setattr(checkpoint, "file_sha256", lambda path: read.append(path.stem) or checked(path))
    second.restore(tmp_path)
    assert sorted(read) == ["networks", "training"], "a replay of millions of rows is read once"
    assert second.player.last_episode == first.player.last_episode
    for _ in range(60 - stop):
        second.advance()
    for a, b in (
        (whole.networks.state_dict(), second.networks.state_dict()),
        (whole.replay.state(), second.replay.state()),
    ):
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_an_environment_that_does_not_replay_is_found_out(tmp_path):
    class Restless(Hall):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=None, options=options)

    restless = dataclasses.replace(problem(), make_environment=Restless)
    trainer = OnlineTrainer(small_config(**ONLINE), restless, CPU)
    trainer.advance()
    trainer.save(tmp_path)
    with pytest.raises(UserError, match="not deterministic given its seed"):
        OnlineTrainer(small_config(**ONLINE), restless, CPU).restore(tmp_path)


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("raise", "the environment failed in training episode 0: RuntimeError: the roof came down"),
        ("nan", "returned a number that is not finite in training episode 0"),
    ],
)
def test_an_environment_that_fails_is_one_line(trouble, said):
    class Broken(Hall):
        def step(self, action):
            if trouble == "raise":
                raise RuntimeError("the roof\ncame down")
            return (np.full(3, np.nan), *super().step(action)[1:])

    broken = dataclasses.replace(problem(), make_environment=Broken)
    with pytest.raises(UserError, match=said) as error:
        OnlineTrainer(small_config(**ONLINE), broken, CPU).advance()
    assert "\n" not in str(error.value)


def test_a_task_without_an_environment(tmp_path):
    run = RunDirectory(tmp_path)
    with pytest.raises(UserError, match="trainer=online plays"):
        train(small_config(**ONLINE), dataclasses.replace(problem(), make_environment=None), run, CPU)


def test_a_task_without_an_environment_is_refused_before_its_data_are_prepared():
    with pytest.raises(UserError, match="trainer=online plays"):
        require_playable(Config(env=None), custom)
    require_playable(Config(env="Pendulum-v1"), custom)


def test_goals_and_shards_are_refused(tmp_path):
    """Goals before their data are prepared: that may take long."""
    with pytest.raises(UserError, match="neither shards nor rows relabelled with goals are; use trainer=offline"):
        require_playable(Config(env="pointmaze-medium-navigate-v0"), ogbench_goals)
    data = problem().train | {"next_observations": np.roll(problem().train["observations"], -1, axis=0)}
    keep = {name: column for name, column in data.items() if name not in ("rewards", "masks")}
    folder = write_shards(tmp_path / "shards", split_episodes(keep)).folder
    paid = ShardedData(folder, label=lambda d: d | {"rewards": d["terminals"], "masks": 1 - d["terminals"]})
    sharded = dataclasses.replace(problem(), train=paid, store=store_of)
    with pytest.raises(UserError, match="neither shards nor"):
        train(small_config(**ONLINE), sharded, RunDirectory(tmp_path / "run"), CPU)


@pytest.mark.parametrize(("offline", "expected"), [(0, [0, 20, 40]), (8, [8, 28, 48])])
def test_evaluations_begin_where_the_environment_steps_do(tmp_path, monkeypatch, offline, expected):
    """The last step is left to the evaluation of the finished run."""
    played = []
    monkeypatch.setattr("vgf.trainers.online.play_points", lambda _config, _run, policy, *_: played.append(policy.step))
    changes = {"trainer": "online", "train__steps": offline, "online__eval_every": 20, "train__save_every": 30}
    config = small_config(**ONLINE | changes)
    assert train(config, problem(), RunDirectory(tmp_path), CPU) == offline + 60
    assert played == expected


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"online__method": "idql", "train__critic": "sarsa"}, r"method=idql compares values with V\(s\)"),
        ({"online__method": "qpilots_u", "train__flow_steps": 1}, "method=qpilots_u guides all steps but the first"),
        ({"online__method": "qpilots_g", "net__reference": "gaussian"}, "method=qpilots_g samples the posterior"),
    ],
)
def test_what_cannot_play_is_refused_before_any_update(tmp_path, changes, said):
    config = small_config(trainer="online", online__steps=3, **changes)
    with pytest.raises(UserError, match=said):
        train(config, problem(), RunDirectory(tmp_path), CPU)
    assert not (tmp_path / "checkpoints").exists()
    assert not (tmp_path / "metrics.jsonl").exists()


def stores() -> tuple[TransitionStore, ReplayBuffer]:
    data = problem().train
    first = TransitionStore(data, chunk=2, n_step=2, discount=0.9)
    second = ReplayBuffer(first, capacity=100)
    for begin, end in ((0, 7), (7, 14), (14, 15), (21, 28)):  # the third is shorter than a chunk
        second.append({k: v[begin:end] for k, v in data.items()})
    return first, second


def test_a_buffer_of_episodes_is_a_store_of_them():
    first, second = stores()
    assert second.rows == 21
    at = torch.tensor([0, 3, 6, 7, 13, 14, 20])  # rows of the buffer, and the same transitions of the data
    ours, theirs = second.batch(at), first.batch(torch.tensor([0, 3, 6, 7, 13, 21, 27]))
    assert ours.rows.equal(at)
    for field in dataclasses.fields(ours)[1:]:
        a, b = getattr(ours, field.name), getattr(theirs, field.name)
        if field.name in ("actions", "next_actions"):  # beyond an episode's end they are anything
            inside = ours.valid_actions if field.name == "actions" else ours.next_valid[:, None].expand_as(a)
            a, b = a * inside, b * inside
        torch.testing.assert_close(a, b)


def test_a_full_buffer_takes_no_more():
    first, _ = stores()
    small = ReplayBuffer(first, capacity=10)
    for _ in range(3):
        small.append({k: v[:7] for k, v in problem().train.items()})
    assert small.rows == 10


@pytest.mark.parametrize("balanced", [True, False])
def test_shares_of_the_two_stores(balanced):
    first, second = stores()
    second.observations += 1000
    both = TwoStores(first, second, balanced)
    generator = torch.Generator().manual_seed(0)
    batches = [both.sample(64, generator) for _ in range(200)]
    drawn, rows = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("observations", "rows"))
    share = (drawn[:, 0] > 500).float().mean().item()
    assert (rows >= first.rows).equal(drawn[:, 0] > 500)
    assert share == pytest.approx(0.5 if balanced else 21 / 81, abs=0.0 if balanced else 0.02)
    empty = TwoStores(first, ReplayBuffer(first, 5), balanced)
    assert (empty.sample(64, generator).observations.abs() < 500).all()
