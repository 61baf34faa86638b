"""A summary over training seeds: one line a method and budget that every seed was evaluated at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vgf.played import read_played
from vgf.report.episodes import read_evaluations
from vgf.report.points import Point, budget_label, column_text, interval_text, latest, score_text, summarise, with_knobs
from vgf.report.table import aligned

__all__ = ["seeds_table"]


def seeds_table(run_dirs: Sequence[Path], *, knobs: dict[str, str] | None = None) -> str:
    """Means over the last checkpoints of runs that differ in their seed, as aligned plain text.

    The 95 % interval is that of a single run, over the episodes of all seeds together; beside it stand the lowest and
    the highest seed, which is what another training seed could do.

    Args:
        run_dirs: one a seed, evaluated.
        knobs: method name -> knob, where it was not kept what a point was played with; else the method's file's.

    Raises:
        UserError: a run's ``eval.csv`` is missing or broken.
    """
    rows = []
    for run_dir in run_dirs:
        own = read_evaluations(run_dir)
        last = max(row.step for row in own)
        rows.append([row for row in own if row.step == last])
    singles = [{(p.method, p.budget): p for p in summarise(own, knobs=knobs)} for own in rows]
    pooled = with_knobs(summarise([row for own in rows for row in own], knobs=knobs), read_played(run_dirs[0]))
    points = [p for p in latest(pooled) if all((p.method, p.budget) in single for single in singles)]

    def seed_range(point: Point) -> str:
        scores = sorted((single[point.method, point.budget] for single in singles), key=lambda p: p.score)
        return f"{score_text(scores[0])} to {score_text(scores[-1])}"

    columns: dict[str, Callable[[Point], str]] = {
        "method": lambda p: p.method,
        "budget": budget_label,
        "success" if points[0].success else "return": score_text,
        "95 % interval": interval_text,
        "lowest to highest seed": seed_range,
        "travelled": column_text(points, "travelled"),
    }
    told = f"{len(run_dirs)} seeds, {points[0].episodes} episodes a line in all; step {points[0].step:,}"
    return "\n".join([told, *aligned(columns, points)])
