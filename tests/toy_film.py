"""An environment that draws itself, for the tests of films; spawned workers import it by this name."""

from __future__ import annotations

import numpy as np

from tests.toy_env import Walk


class Drawn(Walk):
    """A white column where the point is, on black."""

    render_mode = None

    def render(self) -> np.ndarray | None:
        if self.render_mode != "rgb_array":
            return None
        picture = np.zeros((32, 400, 3), np.uint8)
        picture[:, int(np.clip(200 + 100 * self.x, 0, 399))] = 255
        return picture


class Undrawable(Walk):
    """One whose renderer fails."""

    render_mode = None

    def render(self) -> np.ndarray:
        raise OSError("no display")
