"""Episodes by OGBench's own scripted experts, one seed an episode.

The experts ship in the ``ogbench`` wheel; the script that drives them does not, so this module
does what that script does (github.com/seohongpark/ogbench, ``data_gen_scripts/``): same oracles,
same noise settings, same health check for the scene, same array layout.

Deviation: the authors seed nothing and let one random stream run through all episodes. Here an
episode is a function of ``(seed, split, index)`` alone, so episodes can be made in any order, in
any number of processes, and a longer data set begins with the shorter one. Random actions of the
``noisy`` data come from the episode's own generator instead of an unseeded ``action_space``.

Array layout of one episode of T steps (the last row is the terminal state; loaders drop it)::

    observations [T+1, S] f32   actions [T+1, A] f32   terminals [T+1] bool (True on the last row)
    qpos [T+1, ...] f32         qvel [T+1, ...] f32    button_states [T+1, ...] i64 (scene, puzzle)
"""

from __future__ import annotations

import functools
import re
from collections import deque
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

__all__ = ["DataRecipe", "collect_episode", "recipe_for"]

Episode = dict[str, np.ndarray]


@dataclass(frozen=True)
class DataRecipe:
    """How one OGBench data set is made: sizes and noise as in the authors' ``commands.sh``.

    Attributes:
        name: data-set name without version, e.g. ``cube-single-play``.
        env_name: gymnasium id of the environment to collect in, e.g. ``cube-single-v0``.
        kind: ``play`` | ``noisy`` (manipulation), ``navigate`` | ``stitch`` (point maze).
        steps: environment steps per episode (T above).
        episodes: training episodes of the official data set; validation has a tenth of that.
        noise: plan noise (play), upper end of the action noise (noisy), action noise (maze).
        p_random: probability of a uniformly random action (noisy).
    """

    name: str
    env_name: str
    kind: str
    steps: int
    episodes: int
    noise: float
    p_random: float = 0.0


def recipe_for(dataset: str) -> DataRecipe | None:
    """Return the recipe of ``dataset`` (``cube-single-play``), or None where no scripted expert exists."""
    if m := re.fullmatch(r"(cube)-(single|double|triple|quadruple)-(play|noisy)", dataset):
        episodes = {"triple": 3000, "quadruple": 5000}.get(m[2], 1000)
    elif m := re.fullmatch(r"(puzzle)-(3x3|4x4|4x5|4x6)-(play|noisy)", dataset):
        episodes = {"4x5": 3000, "4x6": 5000}.get(m[2], 1000)
    elif m := re.fullmatch(r"(scene)()-(play|noisy)", dataset):
        episodes = 1000
    elif m := re.fullmatch(r"(pointmaze)-(medium|large|giant|teleport)-(navigate|stitch)", dataset):
        steps = 200 if m[3] == "stitch" else 2000 if m[2] == "giant" else 1000
        episodes = 5000 if m[3] == "stitch" else 500 if m[2] == "giant" else 1000
        return DataRecipe(dataset, f"pointmaze-{m[2]}-v0", m[3], steps, episodes, noise=0.5)
    else:
        return None
    p_random = {"cube": 0.1, "scene": 0.1, "puzzle": 0.2}[m[1]] if m[3] == "noisy" else 0.0
    env_name = "-".join(part for part in m.groups()[:2] if part) + "-v0"
    return DataRecipe(dataset, env_name, m[3], 1000, episodes, noise=0.1, p_random=p_random)


def collect_episode(recipe: DataRecipe, seed: int, split: int, index: int) -> Episode:
    """Make episode ``index`` of ``split`` (0 train, 1 validation); the same arrays for the same arguments.

    NumPy's global random state is used by the oracles, so it is set here and restored afterwards.
    """
    env = _make_env(recipe)
    drive = _drive_maze if recipe.env_name.startswith("pointmaze") else _drive_arm
    global_state = np.random.get_state()
    try:
        attempt = 0
        while True:
            key = np.random.SeedSequence([seed, split, index, attempt])
            np.random.seed(key.generate_state(4))
            rows = drive(env, recipe, np.random.default_rng(key), int(key.generate_state(1)[0]))
            episode = _stack(rows)
            if not recipe.env_name.startswith("scene") or _cube_stays_in_view(episode["qpos"]):
                return episode
            attempt += 1
    finally:
        np.random.set_state(global_state)


@functools.lru_cache(maxsize=1)
def _make_env(recipe: DataRecipe) -> gymnasium.Env:
    import ogbench.locomaze
    import ogbench.manipspace  # noqa: F401  (both register their environments)

    mode: dict[str, Any] = {} if recipe.env_name.startswith("pointmaze") else {"mode": "data_collection"}
    # T steps followed by the terminal row, hence one more step than the recipe says.
    return gymnasium.make(recipe.env_name, terminate_at_goal=False, max_episode_steps=recipe.steps + 1, **mode)


def _row(observation: np.ndarray, action: np.ndarray, done: bool, info: dict[str, Any]) -> dict[str, Any]:
    """One row of the data: the state an action was taken in, and the action."""
    row = {"observations": observation, "actions": action, "terminals": done}
    for key in ("qpos", "qvel", "button_states"):
        if f"prev_{key}" in info:
            row[key] = info[f"prev_{key}"]
    return row


def _stack(rows: list[dict[str, Any]]) -> Episode:
    dtypes = {"terminals": bool, "button_states": np.int64}
    return {key: np.array([row[key] for row in rows], dtype=dtypes.get(key, np.float32)) for key in rows[0]}


# --- manipulation: an arm that keeps being given new targets -------------------------------------


def _drive_arm(env: gymnasium.Env, recipe: DataRecipe, rng: np.random.Generator, env_seed: int) -> list[dict]:
    observation, info = env.reset(seed=env_seed)
    oracles = _arm_oracles(env, recipe)
    p_stack = _stacking_probability(recipe.env_name)
    action_noise = np.random.uniform(0, recipe.noise) * np.array([1, 1, 1, 3, 10]) if recipe.kind == "noisy" else None

    oracle = oracles[info["privileged/target_task"]]
    oracle.reset(observation, info)
    rows, done = [], False
    while not done:
        if rng.random() < recipe.p_random:
            action = rng.uniform(-1, 1, size=5)
        else:
            action = np.asarray(oracle.select_action(observation, info))
            if action_noise is not None:
                action = action + np.random.normal(0, action_noise)
        action = np.clip(action, -1, 1)
        next_observation, _, terminated, truncated, info = env.step(action)
        done = terminated or truncated

        if oracle.done:  # the current target is dealt with: set another
            target_observation, target_info = env.unwrapped.set_new_target(p_stack=p_stack)  # type: ignore[attr-defined]
            oracle = oracles[target_info["privileged/target_task"]]
            oracle.reset(target_observation, target_info)

        rows.append(_row(observation, action, done, info))
        observation = next_observation
    return rows


def _stacking_probability(env_name: str) -> float:
    """Chance that a new target lies on top of another cube; drawn once an episode, more cubes, more stacks."""
    ranges = {"single": (0.0, 0.0), "double": (0.0, 0.25), "triple": (0.05, 0.35), "quadruple": (0.1, 0.5)}
    size = env_name.split("-")[1]
    return float(np.random.uniform(*ranges[size])) if size in ranges else 0.5


def _arm_oracles(env: gymnasium.Env, recipe: DataRecipe) -> dict[str, Any]:
    """One oracle a kind of object: open-loop noisy plans (play) or a closed-loop controller (noisy)."""
    from ogbench.manipspace.oracles.markov import button_markov, cube_markov, drawer_markov, window_markov
    from ogbench.manipspace.oracles.plan import button_plan, cube_plan, drawer_plan, window_plan

    puzzle = {"gripper_always_closed": True} if recipe.env_name.startswith("puzzle") else {}
    if recipe.kind == "play":
        plan = {"env": env, "noise": recipe.noise, "noise_smoothing": 0.5}
        return {
            "cube": cube_plan.CubePlanOracle(**plan),
            "button": button_plan.ButtonPlanOracle(**plan, **puzzle),
            "drawer": drawer_plan.DrawerPlanOracle(**plan),
            "window": window_plan.WindowPlanOracle(**plan),
        }
    closed_loop = {"env": env, "min_norm": 0.4}
    cube_steps = {"max_step": 100} if recipe.env_name.startswith("scene") else {}
    return {
        "cube": cube_markov.CubeMarkovOracle(**closed_loop, **cube_steps),
        "button": button_markov.ButtonMarkovOracle(**closed_loop, **puzzle),
        "drawer": drawer_markov.DrawerMarkovOracle(**closed_loop),
        "window": window_markov.WindowMarkovOracle(**closed_loop),
    }


def _cube_stays_in_view(qpos: np.ndarray) -> bool:
    """OGBench's health check of a scene episode: the cube never leaves the table except into the drawer."""
    y, z = qpos[:, 15], qpos[:, 16]
    off_right = y >= 0.29
    off_left = (y <= -0.3) & ((z < 0.06) | (z > 0.08))
    return not (off_right | off_left).any()


# --- point maze: a point that walks to one random cell after another -----------------------------

Cell = tuple[int, int]


def _drive_maze(env: gymnasium.Env, recipe: DataRecipe, rng: np.random.Generator, env_seed: int) -> list[dict]:
    maze: Any = env.unwrapped
    free, junctions = _maze_cells(maze.maze_map)
    start = free[rng.integers(len(free))]
    # stitch: one short walk, so that long ones must be put together from several
    goals = junctions if recipe.kind == "navigate" else _cells_at_distance(maze.maze_map, start, 4) or [start]
    goal = goals[rng.integers(len(goals))]
    maze.action_space.seed(env_seed)  # reset() shakes the maze with a few sampled actions
    observation, _ = env.reset(seed=env_seed, options={"task_info": {"init_ij": start, "goal_ij": goal}})

    rows, done = [], False
    while not done:
        here = maze.get_xy()
        waypoint, _ = maze.get_oracle_subgoal(here, maze.cur_goal_xy)
        direction = (waypoint - here) / (np.linalg.norm(waypoint - here) + 1e-6)
        action = np.clip(direction + rng.normal(0, recipe.noise, size=2), -1, 1)
        next_observation, _, terminated, truncated, info = env.step(action)
        done = terminated or truncated
        if info["success"] and recipe.kind == "navigate":
            maze.set_goal(junctions[rng.integers(len(junctions))])
        rows.append(_row(observation, action, done, info))
        observation = next_observation
    return rows


def _maze_cells(maze_map: np.ndarray) -> tuple[list[Cell], list[Cell]]:
    """Return all free cells, and those that are not the inside of a straight corridor."""
    free = [(int(i), int(j)) for i, j in zip(*np.nonzero(maze_map == 0), strict=True)]

    def in_corridor(i: int, j: int) -> bool:
        up, down, left, right = (maze_map[n] == 0 for n in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)))
        return bool((up and down and not left and not right) or (left and right and not up and not down))

    return free, [cell for cell in free if not in_corridor(*cell)]


def _cells_at_distance(maze_map: np.ndarray, start: Cell, distance: int) -> list[Cell]:
    """Return the free cells whose shortest path from ``start`` has exactly ``distance`` steps."""
    steps, queue = {start: 0}, deque([start])
    while queue:
        i, j = queue.popleft()
        for cell in ((i - 1, j), (i, j - 1), (i + 1, j), (i, j + 1)):
            if cell not in steps and maze_map[cell] == 0:
                steps[cell] = steps[i, j] + 1
                queue.append(cell)
    return [cell for cell, n in steps.items() if n == distance]
