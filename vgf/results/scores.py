"""What one run scored, read from its ``eval.csv``: one number an episode, in language a prompt and noise seed.

They are numbered, and a number means the same seeds for every method: differences are paired.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vgf.errors import UserError
from vgf.report.episodes import Row, read_evaluations
from vgf.report.text_rows import FIELDS, TextRow, read_text_rows

__all__ = ["Evaluated", "Scores", "read_scores"]

Scores = dict[tuple[int, int], float]  # (episode, 0) or (prompt, seed) -> value
Points = dict[tuple[int, str], dict[float, dict[str, Scores]]]  # (step, method) -> budget -> field -> scores
_COLUMNS = {"return": "episode_return"}  # columns of eval.csv that a row calls otherwise
_OF_EPISODES = ("success", "return", "length", "travelled", "value", "milliseconds", "judge")


@dataclass(frozen=True)
class Evaluated:
    """All rows of a run.

    Attributes:
        path: its run directory.
        points: (step, method) -> budget -> field -> scores.
    """

    path: Path
    points: Points

    def methods(self) -> list[str]:
        """Those evaluated at the last step, by name."""
        last = max(step for step, _ in self.points)
        return sorted(method for step, method in self.points if step == last)

    def budgets(self, method: str, step: int | None) -> Mapping[float, Mapping[str, Scores]]:
        """Budget -> field -> scores of a method, at a step or the last one.

        Raises:
            UserError: it was not evaluated.
        """
        steps = sorted({each for each, _ in self.points})
        at = steps[-1] if step is None else step
        if (at, method) not in self.points:
            there = ", ".join(dict.fromkeys(name for each, name in self.points if each == at)) or f"steps {steps}"
            raise UserError(f"{self.path / 'eval.csv'} holds no row of {method} at step {at}; it has {there}")
        return self.points[at, method]


def read_scores(run_dir: Path) -> Evaluated:
    """Read a run directory.

    Raises:
        UserError: it was not evaluated, or ``eval.csv`` is broken.
    """
    if (run_dir / "text.json").is_file():
        return Evaluated(run_dir, _of_prompts(read_text_rows(run_dir)))
    return Evaluated(run_dir, _of_episodes(read_evaluations(run_dir)))


def _of_episodes(rows: list[Row]) -> Points:
    points: Points = {}
    for row in rows:
        fields = points.setdefault((row.step, row.method), {}).setdefault(row.budget, {})
        for name in _OF_EPISODES:
            value = getattr(row, _COLUMNS.get(name, name))
            if value is not None and math.isfinite(value):
                fields.setdefault(name, {})[row.episode, 0] = value
    return points


def _of_prompts(rows: list[TextRow]) -> Points:
    points: Points = {}
    for row in rows:
        fields = points.setdefault((row.step, row.method), {}).setdefault(row.budget, {})
        for name in FIELDS:
            if math.isfinite(row.values[name]):
                fields.setdefault(name, {})[row.prompt, row.seed] = row.values[name]
    return points
