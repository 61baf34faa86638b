"""The report of a language run: a table for the terminal, ``curve.png`` and ``report.html``.

eval.csv, text.json -> text_rows -> text_points -> terminal table, text_curves, text_page <- samples.json
                                        text_claims ---^          config.yaml, metrics.jsonl, environment.txt ---^
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from vgf.files import atomic_path, atomic_write_text
from vgf.report.control_report import not_written
from vgf.report.table import aligned
from vgf.report.text_claims import claims
from vgf.report.text_curves import draw_text_curve
from vgf.report.text_estimates import (
    UNKNOWN,
    TextPoint,
    budget_text,
    estimate_text,
    has,
    prompts_of,
    prompts_text,
    remark,
)
from vgf.report.text_page import render_text_page
from vgf.report.text_points import summarise_text
from vgf.report.text_rows import TextRun, read_text_rows, read_text_run

__all__ = ["text_table", "write_text_report"]

_COLUMNS = {
    "proxy": ("proxy", "{:.2f}"),
    "gold": ("gold", "{:.2f}"),
    "second": ("second", "{:.2f}"),
    "NLL": ("nll", "{:.2f}"),
    "KL": ("kl", "{:.1f}"),
    "changed": ("tokens_changed", "{:.0%}"),
    "beat the data's": ("beats_chosen", "{:.0%}"),
    "gold sel.": ("gold_selected", "{:.2f}"),
    "s/prompt": ("seconds", "{:.3g}"),
}  # column -> field and how its mean is written


def write_text_report(run_dir: Path, *, title: str | None = None) -> str:
    """Write ``curve.png`` and ``report.html`` into the directory of a language run; return what the terminal shows.

    That is the table of the last step's points, the claims about the configured one, and warnings. A file that
    cannot be made is one warning line: no run stops for want of a report.

    Args:
        run_dir: holds ``eval.csv``; other files may be missing or cut off.
        title: of figure and page; by default reference model and method.

    Raises:
        UserError: ``eval.csv`` is missing or broken.
    """
    run_dir = Path(run_dir)
    run = read_text_run(run_dir)
    points = summarise_text(read_text_rows(run_dir), run)
    title = title or _title(run_dir, run)
    lines = [text_table(points), *(f"warning: {line}" for line in run.warnings)]
    jobs: dict[str, Callable[[], None]] = {
        "curve.png": partial(_write_curve, run_dir, points, title),
        "report.html": partial(_write_page, run_dir, points, run, title),
    }
    return "\n".join([*lines, *not_written(jobs)])


def _title(run_dir: Path, run: TextRun) -> str:
    if not run.method:
        return f"Language run {run_dir.name}"
    return f"{run.reference or 'Language model'} moved by {run.method}"


def _write_curve(run_dir: Path, points: Sequence[TextPoint], title: str) -> None:
    with atomic_path(run_dir / "curve.png") as path:
        draw_text_curve(points, path, title=title)


def _write_page(run_dir: Path, points: Sequence[TextPoint], run: TextRun, title: str) -> None:
    atomic_write_text(run_dir / "report.html", render_text_page(run_dir, points, run, title=title))


def text_table(points: Sequence[TextPoint]) -> str:
    """The points as aligned plain text, one line a method and budget, and the claims with their marks."""
    columns: dict[str, Callable[[TextPoint], str]] = {"method": lambda p: p.method, "budget": budget_text}
    for name, (field, form) in _COLUMNS.items():
        if has(points, field):
            columns[name] = partial(_mean, field=field, form=form)
        if name == "gold" and any(point.gains for point in points):
            columns["gold gain"] = lambda p: estimate_text(p.gains.get("gold", UNKNOWN), signed=True)
    if len({prompts_of(point) for point in points}) > 1:  # then levels of two lines are of different prompts
        columns["prompts"] = lambda p: f"{prompts_of(p)}"
    columns[""] = lambda p: f"{'<- ' if p.configured else ''}{remark(p, points)}"
    made = [f"[{'pass' if claim.passed else 'FAIL'}] {claim.sentence} ({claim.mark})" for claim in claims(points)]
    counted = f"step {points[0].step:,}, {prompts_text(points)} prompts"
    heading = f"{counted}; scores without selection, gains paired with the reference"
    return "\n".join([heading, *aligned(columns, points), *made])


def _mean(point: TextPoint, field: str, form: str) -> str:
    mean = point.means[field].mean
    return form.format(mean) if math.isfinite(mean) else "-"
