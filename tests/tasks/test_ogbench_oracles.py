"""Scripted episodes are functions of their arguments alone, and have OGBench's layout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vgf.tasks.ogbench_data import known_datasets
from vgf.tasks.ogbench_oracles import DataRecipe, collect_episode, recipe_for

SCRIPTED = [name for name in known_datasets() if name.split("-")[0] in ("pointmaze", "cube", "scene", "puzzle")]
SIZES = {  # episodes, steps of the official data sets; 1000, 1000 where not named
    "cube-triple-play": (3000, 1000),
    "cube-triple-noisy": (3000, 1000),
    "cube-quadruple-play": (5000, 1000),
    "cube-quadruple-noisy": (5000, 1000),
    "puzzle-4x5-play": (3000, 1000),
    "puzzle-4x5-noisy": (3000, 1000),
    "puzzle-4x6-play": (5000, 1000),
    "puzzle-4x6-noisy": (5000, 1000),
    "pointmaze-giant-navigate": (500, 2000),
    **{f"pointmaze-{size}-stitch": (5000, 200) for size in ("medium", "large", "giant", "teleport")},
}


def recipe(name: str, steps: int) -> DataRecipe:
    found = recipe_for(name)
    assert found is not None
    return replace(found, steps=steps)


def assert_same(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> None:
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
        assert one[name].dtype == two[name].dtype


def test_every_scripted_name_has_its_official_size() -> None:
    assert len(SCRIPTED) == 26
    sizes = {name: (r.episodes, r.steps) for name in SCRIPTED if (r := recipe_for(name))}
    assert sizes == {name: SIZES.get(name, (1000, 1000)) for name in SCRIPTED}


@pytest.mark.parametrize("name", ["antmaze-large-navigate", "visual-cube-single-play", "cube-single", "", "cube-play"])
def test_no_recipe(name: str) -> None:
    assert recipe_for(name) is None


@pytest.mark.parametrize(
    ("name", "observation", "action", "keys"),
    [
        ("pointmaze-medium-navigate", 2, 2, set()),
        ("pointmaze-teleport-stitch", 2, 2, set()),
        ("cube-single-play", 28, 5, set()),
        ("cube-single-noisy", 28, 5, set()),
        ("scene-play", 40, 5, {"button_states"}),
        ("scene-noisy", 40, 5, {"button_states"}),
        ("puzzle-3x3-play", 55, 5, {"button_states"}),
        ("puzzle-3x3-noisy", 55, 5, {"button_states"}),
    ],
)
def test_an_episode_depends_on_its_arguments_alone(name: str, observation: int, action: int, keys: set[str]) -> None:
    short = recipe(name, 30)
    episode = collect_episode(short, 0, 0, 0)
    assert episode.keys() == {"observations", "actions", "terminals", "qpos", "qvel"} | keys
    assert episode["observations"].shape == (31, observation)
    assert episode["actions"].shape == (31, action)
    assert np.abs(episode["actions"]).max() <= 1
    np.testing.assert_array_equal(episode["terminals"], np.arange(31) == 30)
    assert all(episode[k].dtype == np.float32 for k in ("observations", "actions", "qpos", "qvel"))
    assert all(episode[k].dtype == np.int64 for k in keys)
    assert episode["terminals"].dtype == bool

    np.random.seed(123)  # the experts draw from the global state; neither may disturb the other
    state: Any = np.random.get_state()
    others = [collect_episode(short, 0, 0, 1), collect_episode(short, 0, 1, 0), collect_episode(short, 1, 0, 0)]
    after: Any = np.random.get_state()
    np.testing.assert_array_equal(after[1], state[1])
    for other in others:
        assert not np.array_equal(other["observations"][0], episode["observations"][0])
        assert not np.array_equal(other["actions"], episode["actions"])
    assert_same(collect_episode(short, 0, 0, 0), episode)


def test_a_longer_maze_episode_begins_with_the_shorter_one() -> None:
    name = "pointmaze-medium-navigate"
    short, long = (collect_episode(recipe(name, steps), 3, 0, 7) for steps in (50, 200))
    for key in short.keys() - {"terminals"}:
        np.testing.assert_array_equal(short[key], long[key][:51], err_msg=key)


def test_consecutive_rows_follow_the_physics() -> None:
    """A row holds the state its action was taken in: the point moves in the direction of the action."""
    episode = collect_episode(recipe("pointmaze-medium-navigate", 200), 0, 0, 0)
    np.testing.assert_array_equal(episode["observations"], episode["qpos"])
    moved = np.diff(episode["observations"], axis=0)
    assert np.mean((moved * episode["actions"][:-1]).sum(1) > 0) > 0.9
