"""Data of one's own as a task: scaling of actions, held-out episodes, what does not fit an environment."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.command import run_main
from vgf import UserError
from vgf.config import Config
from vgf.data.store import TransitionStore
from vgf.tasks.custom import environment_factory, make_environment, prepare


class Room(gymnasium.Env):
    """Remembers the action it was given; its spaces are put in by the tests."""

    observation_space: spaces.Space = spaces.Box(-np.inf, np.inf, (3,))
    action_space: spaces.Space = spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        self.given = np.asarray(action)
        return self.observation_space.sample(), 0.0, False, False, {}


class GoalRoom(Room):
    observation_space = spaces.Dict(
        observation=spaces.Box(-1, 1, (2,)), achieved_goal=spaces.Box(-1, 1, (5,)), desired_goal=spaces.Box(-1, 1, (1,))
    )


class BrokenRoom(Room):
    def __init__(self) -> None:
        raise AssertionError


ROOMS: dict[str, type[gymnasium.Env]] = {
    "Room-v0": Room,
    "GoalRoom-v0": GoalRoom,
    "Broken-v0": BrokenRoom,
    "Buttons-v0": type("Buttons", (Room,), {"action_space": spaces.Discrete(4)}),
    "Floors-v0": type("Floors", (Room,), {"observation_space": spaces.Discrete(4)}),
    "Cinema-v0": type("Cinema", (Room,), {"observation_space": spaces.Box(0, 255, (8, 8, 3))}),
    "Menu-v0": type("Menu", (Room,), {"observation_space": spaces.Dict({"pixels": spaces.Box(-1, 1, (3,))})}),
    "Endless-v0": type("Endless", (Room,), {"action_space": spaces.Box(-np.inf, np.inf, (2,))}),
}


@pytest.fixture(autouse=True)
def rooms() -> Iterator[None]:
    for name, room in ROOMS.items():
        gymnasium.register(name, room, disable_env_checker=True)
    yield
    for name in ROOMS:
        del gymnasium.registry[name]


def save(folder: Path, *, lengths: list[int] | None = None, actions: np.ndarray | None = None, size: int = 3) -> Path:
    """Episodes that tell each row by its observation: row r holds r in every entry."""
    lengths = lengths or [5, 3, 8, 4]
    rows = sum(lengths)
    ends = np.zeros(rows, bool)
    ends[np.cumsum(lengths) - 1] = True
    states = np.repeat(np.arange(rows + 1.0), size).reshape(-1, size)
    if actions is None:
        actions = np.random.default_rng(0).uniform(-1, 1, (rows, 2))
    path = folder / "mine.npz"
    columns = {"observations": states[:-1], "next_observations": states[1:], "actions": actions.astype(np.float32)}
    np.savez(path, **columns, rewards=np.ones(rows), terminals=np.zeros(rows, bool), timeouts=ends)
    return path


def configured(path: Path | str | None, env: str | None = None, **data: Any) -> Config:
    config = Config(task="custom", env=env)
    config.data.path, config.data.transitions = (str(path) if path else None), None
    for key, value in data.items():
        setattr(config.data, key, value)
    return config


def refused(config: Config, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        prepare(config)
    assert "\n" not in str(caught.value)


def test_without_an_environment(tmp_path: Path) -> None:
    path = save(tmp_path)
    problem = prepare(configured(path))
    assert environment_factory(configured(path)) is None
    assert environment_factory(configured(path, "")) is None
    assert (problem.name, problem.origin, problem.action_size) == ("mine", "npz file mine.npz", 2)
    stored = np.load(path)
    rows = problem.train["observations"][:, 0].astype(int)
    np.testing.assert_array_equal(problem.train["actions"], stored["actions"][rows])
    assert len(TransitionStore(problem.train, chunk=2, n_step=2, discount=0.9)) == len(rows)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=12),
    share=st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.99]),
    seed=st.integers(0, 5),
)
def test_whole_episodes_are_held_out(tmp_path: Path, lengths: list[int], share: float, seed: int) -> None:
    config = configured(save(tmp_path, lengths=lengths), held_out=share, seed=seed)
    problem, again = prepare(config), prepare(config)
    count = len(lengths)
    if share == 0 or count == 1:
        assert problem.validation is None
        assert len(problem.train["actions"]) == sum(lengths)
        return
    assert problem.validation is not None
    held_out = int(problem.validation["terminals"].sum())
    assert held_out == min(max(1, round(share * count)), count - 1)
    first = np.cumsum([0, *lengths[:-1]])
    seen = []
    for data in (problem.train, problem.validation):
        rows = data["observations"][:, 0].astype(int)
        assert data["terminals"][-1] == 1
        for episode in np.split(rows, np.flatnonzero(data["terminals"])[:-1] + 1):
            length = lengths[list(first).index(episode[0])]
            np.testing.assert_array_equal(episode, np.arange(episode[0], episode[0] + length))
        seen += list(rows)
    assert sorted(seen) == list(range(sum(lengths)))
    np.testing.assert_array_equal(again.validation["observations"], problem.validation["observations"])


def test_the_seed_of_the_data_chooses_what_is_held_out(tmp_path: Path) -> None:
    path = save(tmp_path, lengths=[2] * 40)
    chosen = {tuple(prepare(configured(path, seed=s)).validation["observations"][:, 0]) for s in range(4)}
    assert len(chosen) == 4


@pytest.mark.parametrize(("transitions", "kept"), [(1, 5), (5, 5), (6, 8), (19, 20), (1000, 20)])
def test_transitions_take_whole_episodes_from_the_front(tmp_path: Path, transitions: int, kept: int) -> None:
    problem = prepare(configured(save(tmp_path), transitions=transitions, held_out=0.0))
    np.testing.assert_array_equal(problem.train["observations"][:, 0], np.arange(kept))


def test_actions_are_scaled_to_the_box_of_the_environment_and_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    actions = np.stack([rng.uniform(-2, 2, 20), rng.uniform(0, 10, 20)], axis=1).astype(np.float32)
    actions[0] = [-2, 10]
    config = configured(save(tmp_path, actions=actions), "Room-v0", held_out=0.0)
    problem = prepare(config)
    scaled = problem.train["actions"]
    np.testing.assert_allclose(scaled[0], [-1 + 1e-5, 1 - 1e-5], rtol=1e-6)
    assert np.abs(scaled).max() < 1
    factory = environment_factory(config)
    environment = pickle.loads(pickle.dumps(factory))()
    assert (environment.action_space.low == -1).all()
    assert (environment.action_space.high == 1).all()
    environment.reset(seed=0)
    for recorded, action in zip(actions, scaled, strict=True):
        environment.step(action)
        np.testing.assert_allclose(environment.unwrapped.given, recorded, atol=1e-4)
    assert (problem.name, problem.origin) == ("Room-v0", "npz file mine.npz")


def test_a_named_box_scales_without_an_environment(tmp_path: Path) -> None:
    actions = np.linspace(0, 5, 40).reshape(20, 2)
    path = save(tmp_path, actions=actions)
    refused(configured(path), r"actions lie between 0 and 5, outside \[-1, 1\], first in row 4 \(episode 0, step 4\)")
    data = prepare(configured(path, action_low=0.0, action_high=4.0, held_out=0.0))
    np.testing.assert_allclose(data.train["actions"], np.clip(actions / 2 - 1, -1, 1), atol=2e-5)
    assert data.origin.endswith("20.00% of the actions clipped to their box")


def test_a_named_box_is_the_datas_whatever_the_environments(tmp_path: Path) -> None:
    """Replay buffers of stable-baselines3 hold actions in [-1, 1]; Room's box is another."""
    path = save(tmp_path)
    problem = prepare(configured(path, "Room-v0", action_low=-1.0, action_high=1.0, held_out=0.0))
    np.testing.assert_allclose(problem.train["actions"], np.load(path)["actions"], atol=2e-5)
    assert "clipped" not in problem.origin


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (0.0, None, "belong together"),
        (None, 1.0, "belong together"),
        (1.0, 1.0, "action_low=1 must be less than"),
        (2.0, -2.0, "must be less than"),
        (float("-inf"), 1.0, "both finite"),
        (float("nan"), 1.0, "must be less than"),
    ],
)
def test_boxes_that_are_none(tmp_path: Path, low: float | None, high: float | None, message: str) -> None:
    refused(configured(save(tmp_path), action_low=low, action_high=high), message)


def test_goals_are_read_and_played_in_the_same_order(tmp_path: Path) -> None:
    environment = make_environment("GoalRoom-v0")
    environment.observation_space.seed(0)
    environment.unwrapped.observation_space.seed(3)
    observation, _ = environment.reset(seed=0)
    environment.unwrapped.observation_space.seed(3)
    parts = environment.unwrapped.observation_space.sample()
    np.testing.assert_array_equal(observation, np.concatenate([parts["desired_goal"], parts["observation"]]))
    assert (
        prepare(configured(save(tmp_path, actions=np.ones((20, 2))), "GoalRoom-v0")).train["observations"].shape[1] == 3
    )


@pytest.mark.parametrize(
    ("env", "size", "message"),
    [
        ("Rom-v0", 3, "env=Rom-v0 cannot be made .* Did you mean 'Room-v0'"),
        ("no_such_package:Room-v0", 3, "env=no_such_package:Room-v0 cannot be made"),
        ("a:b:Room-v0", 3, r"env=a:b:Room-v0 cannot be made \(too many values to unpack"),
        ("Broken-v0", 3, r"env=Broken-v0 cannot be made \(AssertionError\)"),
        ("Buttons-v0", 3, "discrete actions are not supported"),
        ("Floors-v0", 3, "env=Floors-v0: discrete observations are not supported"),
        ("Cinema-v0", 3, "env=Cinema-v0: observations of Box.* are not supported"),
        ("Menu-v0", 3, "Dict observations without 'desired_goal' are not supported; it has pixels"),
        ("Endless-v0", 3, r"its action box \[-inf, inf\] is not bounded"),
        ("Room-v0", 4, r"mine\.npz: observations have 4 entries, but Room-v0 has 3"),
    ],
)
def test_environments_that_do_not_fit(tmp_path: Path, env: str, size: int, message: str) -> None:
    refused(configured(save(tmp_path, size=size), env), message)


def test_actions_that_do_not_fit(tmp_path: Path) -> None:
    refused(
        configured(save(tmp_path, actions=np.zeros((20, 3))), "Room-v0"), "actions have 3 entries, but Room-v0 has 2"
    )
    config = configured(save(tmp_path, actions=np.zeros((20, 3))), "Room-v0", action_low=-1.0, action_high=1.0)
    refused(config, "actions have 3 entries, but Room-v0 has 2")


def test_settings_out_of_range(tmp_path: Path) -> None:
    refused(configured(None), "task=custom needs data.path=FILE")
    refused(configured(tmp_path / "no.npz"), "does not exist")
    for share in (-0.1, 1.0, float("nan")):
        refused(configured(save(tmp_path), held_out=share), "data.held_out=.* is out of range")
    refused(configured(save(tmp_path), columns={"observations": "state"}), "no 'state'")


def test_episodes_of_a_real_environment_depend_on_the_seed() -> None:
    """Pendulum's box is [-2, 2]; the same seed and actions give the same episode."""
    factory = environment_factory(configured(None, "Pendulum-v1"))
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 1)).astype(np.float32)
    episodes = []
    for seed in (5, 5, 6):
        environment = factory()
        states = [environment.reset(seed=seed)[0], *(environment.step(action)[0] for action in actions)]
        episodes.append(np.stack(states))
    np.testing.assert_array_equal(episodes[0], episodes[1])
    assert (episodes[0] != episodes[2]).any()


@pytest.mark.parametrize(
    ("settings", "folders"),
    [
        (["data.path=some/my walk.npz"], ["my_walk/default-seed0"]),
        (["data.path=some/walk.npz", "seeds=2"], ["walk/default-seed0", "walk/default-seed1"]),
        (["data.path=some/walk.npz", "trainer=fql"], ["walk/default-fql-seed0"]),
        (["data.path=some/walk.npz", "env=Room-v0"], ["Room-v0/default-seed0"]),
        ([], ["custom/default-seed0"]),
    ],
)
def test_without_an_environment_runs_are_named_after_the_data(
    settings: list[str], folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of the commands finds its data; what they leave behind is where a run would be."""
    monkeypatch.chdir(tmp_path)
    status, _ = run_main(["task=custom", "train.steps=1", *settings])
    assert status == 2
    assert sorted(str(path.relative_to("runs")) for path in Path("runs").glob("*/*")) == folders
