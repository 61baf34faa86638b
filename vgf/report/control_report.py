"""The report of a run: a table for the terminal, ``curve.png`` and ``report.html``, from the run directory's files.

eval.csv -> episodes -> points -> terminal_table, draw_curve, write_html
      config.yaml, metrics.jsonl, environment.txt, evaluations.json ---^
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from vgf.files import atomic_path, atomic_write_text
from vgf.played import read_played
from vgf.report.conditions import COMMON_EPISODES, episodes_note, settings_notes
from vgf.report.curves import draw_curve
from vgf.report.episodes import read_evaluations
from vgf.report.measurements import read_measurements
from vgf.report.page import render_page
from vgf.report.points import (
    Configured,
    Point,
    best_of_sweep,
    budget_label,
    column_text,
    episodes_text,
    interval_text,
    is_configured,
    known,
    latest,
    remark,
    score_text,
    summarise,
    unplayed,
    with_knobs,
    with_measurements,
    with_scale,
)
from vgf.report.table import aligned
from vgf.scale import read_scale

__all__ = [
    "Point", "draw_curve", "not_written", "read_evaluations", "summarise", "terminal_table", "write_html",
    "write_report",
]  # fmt: skip

_OFFLINE = {"critic gain": "value_gain", "judge gain": "judge_gain", "W2": "w2"}  # on held-out states


def write_report(
    run_dir: Path, *, title: str, configured: Configured, knob: str | None = None, played: bool = True
) -> str:
    """Write ``curve.png`` and ``report.html`` into a run directory and return the table for the terminal.

    A picture that cannot be drawn or a file that cannot be written is one warning line under the
    table: no training run stops for want of a report.

    Args:
        run_dir: holds ``eval.csv``; other files may be missing or cut off.
        title: of figure and page.
        configured: method and budget the run acts with, None when it has none.
        knob: what that budget is a value of, ``size`` or ``steps``; None: as the method's file says. Points of which it
            was kept have their own.
        played: False for a run without an environment: the report is what was measured on held-out states.

    Raises:
        UserError: ``eval.csv`` (``offline.csv`` of a run that is not played) is missing or broken.
    """
    run_dir = Path(run_dir)
    knobs = {configured[0]: knob} if configured and knob else None
    if played:
        summary = with_knobs(summarise(read_evaluations(run_dir), knobs=knobs), read_played(run_dir))
        points = with_measurements(with_scale(summary, read_scale(run_dir)), read_measurements(run_dir))
    else:
        points = unplayed(read_measurements(run_dir), knobs=knobs)
    lines = [terminal_table(points, configured=configured), *_warnings(latest(points), run_dir, configured)]
    jobs: dict[str, Callable[[], None]] = {
        "curve.png": partial(_write_curve, run_dir, points, title=title, configured=configured),
        "report.html": partial(write_html, run_dir, points, title=title, configured=configured),
    }
    return "\n".join([*lines, *not_written(jobs)])


def not_written(jobs: Mapping[str, Callable[[], None]]) -> Iterator[str]:
    """Write files (name -> what writes it), with a line of warning for each that cannot be."""
    for name, job in jobs.items():
        try:
            job()
        except Exception as error:  # whatever a drawing library may raise; the numbers are safe in eval.csv
            reason = " ".join(str(error).split()) or "no reason given"
            yield f"warning: {name} was not written ({type(error).__name__}: {reason})"


def _warnings(points: Sequence[Point], run_dir: Path, configured: Configured) -> list[str]:
    """What keeps the lines of the table from being compared with one another."""
    conditions = read_played(run_dir)
    episodes = episodes_note(points, conditions)
    differing = [] if episodes == COMMON_EPISODES else [episodes]
    return [f"note: {text}" for text in (*differing, *settings_notes(points, conditions, configured))]


def _write_curve(run_dir: Path, points: Sequence[Point], *, title: str, configured: Configured) -> None:
    with atomic_path(run_dir / "curve.png") as path:
        draw_curve(points, path, title=title, configured=configured)


def write_html(run_dir: Path, points: Sequence[Point], *, title: str, configured: Configured) -> None:
    """Write ``report.html``: one file, no external requests, with what else the run directory tells.

    Raises:
        UserError: the file cannot be written.
    """
    atomic_write_text(run_dir / "report.html", render_page(run_dir, points, title=title, configured=configured))


def terminal_table(points: Sequence[Point], *, configured: Configured) -> str:
    """The last checkpoint's points as aligned plain text, one line a method and budget."""
    points = latest(points)
    best = best_of_sweep(points, configured)
    columns: dict[str, Callable[[Point], str]] = {
        "method": lambda p: p.method,
        "budget": budget_label,
        **(_scores(points) if known(points, "score") else {}),
        "travelled": column_text(points, "travelled"),
        **{name: column_text(points, field) for name, field in _OFFLINE.items() if known(points, field)},
        **({"ms/decision": column_text(points, "milliseconds")} if known(points, "milliseconds") else {}),
        "": lambda p: f"{'<- ' if is_configured(p, configured) else ''}{remark(p, best, configured)}",
    }
    told = f"{episodes_text(points)} episodes a line" if known(points, "score") else "held-out states, nothing played"
    return "\n".join([f"step {points[0].step:,}, {told}", *aligned(columns, points)])


def _scores(points: Sequence[Point]) -> dict[str, Callable[[Point], str]]:
    name = "success" if points[0].success else "return"
    normalised = {"normalised": column_text(points, "normalised")} if known(points, "normalised") else {}
    return {name: score_text, "95 % interval": interval_text, **normalised, "IQM return": column_text(points, "iqm")}
