"""AntMaze for data of two kinds, which put the ant and its goal into different numbers.

======================  =========================================  ==========================================
file                    observation                                coordinates
======================  =========================================  ==========================================
Minari (D4RL/antmaze)   place 2, goal 2, ant 27                    gymnasium-robotics': origin in the middle
D4RL's HDF5             place 2, ant 27; the goal is always one    D4RL's: origin at the start, y downwards
======================  =========================================  ==========================================

D4RL's y grows with the row of the map, gymnasium-robotics' against it; so for D4RL's files the map is turned upside
down and the start's coordinates are taken off. Start and goal are fixed, as in D4RL's evaluation; an episode ends at
the goal. The ant is that of AntMaze -v4, with D4RL's 27 numbers (-v5 shows contact forces besides). Both conventions
were taken from the two code bases; neither was tried on the real files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from vgf.tasks.recorded import make_flat

__all__ = ["MAZES", "Maze", "is_d4rl_file", "make_maze", "maze_keys"]


@dataclass(frozen=True)
class Maze:
    """A maze of AntMaze: walls 1, free 0, start r, goal g, row by row as D4RL has them."""

    env_id: str
    rows: tuple[str, ...]
    upside_down_in_minari: bool = False

    def map(self, d4rl: bool) -> list[list[int | str]]:
        """The map for gymnasium-robotics, for data of D4RL's or of Minari's."""
        rows = self.rows[::-1] if d4rl or self.upside_down_in_minari else self.rows
        return [[int(cell) if cell.isdigit() else cell for cell in row] for row in rows]


MAZES = {
    "umaze": Maze("AntMaze_UMaze-v4", ("11111", "1r001", "11101", "1g001", "11111"), upside_down_in_minari=True),
    "medium": Maze(
        "AntMaze_Medium-v4",
        ("11111111", "1r011001", "10010001", "11000111", "10010001", "10100101", "100010g1", "11111111"),
    ),
    "large": Maze(
        "AntMaze_Large-v4",
        (
            "111111111111", "1r0001000001", "101101010101", "100000010001", "101111011101", "100101000001",
            "110101010111", "100100010g01", "111111111111",
        ),
    ),
}  # fmt: skip


def is_d4rl_file(path: str | None) -> bool:
    """Whether data are in D4RL's HDF5 layout rather than Minari's, by the name."""
    name = (path or "").lower()
    return name.endswith((".hdf5", ".h5")) and not name.endswith("main_data.hdf5")


def maze_keys(d4rl: bool) -> tuple[str, ...]:
    """Which parts of AntMaze's Dict observations are put side by side, in this order."""
    return ("achieved_goal", "observation") if d4rl else ("achieved_goal", "desired_goal", "observation")


def make_maze(name: str, d4rl: bool) -> gymnasium.Env:
    """AntMaze with flat observations as in data of D4RL's or of Minari's; worker processes import this function.

    Raises:
        UserError: gymnasium-robotics is missing.
    """
    maze = MAZES[name]
    env_id, settings = f"gymnasium_robotics:{maze.env_id}", {"maze_map": maze.map(d4rl), "continuing_task": False}
    environment = make_flat(env_id, maze_keys(d4rl), **settings)
    return _FromStart(environment) if d4rl else environment


class _FromStart(gymnasium.ObservationWrapper):
    """The ant's place, the first two numbers, as seen from the middle of the starting cell."""

    def __init__(self, environment: gymnasium.Env) -> None:
        super().__init__(environment)
        maze: Any = environment.unwrapped.maze  # type: ignore[attr-defined]
        self._start = np.zeros(int(np.prod(environment.observation_space.shape or ())))
        self._start[:2] = maze.unique_reset_locations[0]

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """Subtract the start, [S]."""
        return observation - self._start
