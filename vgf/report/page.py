"""The report page: one HTML file that needs nothing but itself.

Everything a run directory says (names, paths, configuration, versions) is escaped on its way into the page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from vgf.played import read_played
from vgf.report.clouds import cloud_svgs, read_clouds
from vgf.report.conditions import seeds_text
from vgf.report.curves import panel_svgs, swept_methods
from vgf.report.facts import Facts, read_facts
from vgf.report.films import films
from vgf.report.headline import headline, notes, reference_of
from vgf.report.page_parts import (
    bullets,
    charts,
    chip,
    definitions,
    document,
    duration,
    folded,
    range_svg,
    section,
    small,
    table,
    texts,
    tiles,
    training,
)
from vgf.report.palette import as_variable, styles
from vgf.report.points import (
    Configured,
    Point,
    best_of_sweep,
    budget_label,
    column_text,
    find,
    interval_text,
    is_configured,
    known,
    latest,
    number_text,
    remark,
    score_text,
)
from vgf.report.training_curves import progress_svg
from vgf.scale import read_scale

__all__ = ["render_page"]

_CAPTION = (
    "Bars are 95 % intervals. Hollow: the reference, budget 0. Ringed: the configured budget. "
    "Dashed, with its interval as a band: a method without a budget."
)
_GAINS = (
    " Gains are over budget 0, critic and judge in units of value; the score's gain has units of its own and is drawn "
    "as high as the critic's."
)
_MEASURED = {
    "normalised": "normalised",
    "travelled": "travelled",
    "critic gain": "value_gain",
    "judge gain": "judge_gain",
    "W2": "w2",
    "MMD": "mmd",
    "W_inf at most": "w_inf_bound",
    "length": "length",
    "ms / decision": "milliseconds",
}  # column -> field of a point


def render_page(run_dir: Path, points: Sequence[Point], *, title: str, configured: Configured) -> str:
    """The whole page as text, from a run directory's files and the points of its evaluations."""
    facts, conditions = read_facts(run_dir), read_played(run_dir)
    last = latest(points)
    words = escape(headline(points, configured, facts)).replace(" %", "&nbsp;%")
    caption = _CAPTION + (_GAINS if known(last, "judge_gain") else "")
    panels = _legend(last) + charts("panels", panel_svgs(last, configured)) + f'<p class="note">{caption}</p>'
    sections = [
        section("Score against budget" if known(last, "score") else "Held-out states against budget", panels),
        section(f"All budgets at step {last[0].step:,}", _table(last, configured) + _earlier(points, configured)),
        section("Particles before and after", _particles(run_dir)),
        section("Episodes", films(run_dir)),
        section("Training", training(facts, [progress_svg(points, configured)])),
        section("How it was run", _how(run_dir, facts, seeds_text(last, conditions, facts))),
        section("Reading the numbers", bullets(notes(points, configured, facts, conditions))),
    ]
    header = f'<p class="headline">{words}</p>\n{_tiles(last, configured)}'
    return document(title, header, sections)


def _tiles(last: Sequence[Point], configured: Configured) -> str:
    """The configured budget in four numbers; nothing when it was not evaluated."""
    chosen, reference = find(last, configured), reference_of(last, configured)
    if chosen is None or not known(last, "score"):
        return ""
    what = "success" if chosen.success else "return"
    shown = [(score_text(chosen), f"{what} at the configured budget {interval_text(chosen)}")]
    if reference and reference != chosen:
        shown.append((score_text(reference), f"{what} at budget 0 {interval_text(reference)}"))
    shown.append((number_text(chosen.travelled), "travelled, RMS per action coordinate in [-1, 1]"))
    before = f" ({number_text(reference.milliseconds)} at budget 0)" if reference and reference != chosen else ""
    shown.append((f"{number_text(chosen.milliseconds)} ms", f"per decision{before}"))
    return tiles(shown)


def _colour(point_or_method: Point | str, points: Sequence[Point]) -> str:
    method = point_or_method if isinstance(point_or_method, str) else point_or_method.method
    return as_variable(styles(point.method for point in points)[method].colour)


def _legend(last: Sequence[Point]) -> str:
    methods = swept_methods(last)
    if len(methods) < 2:
        return ""
    return '<div class="legend">' + "".join(f"<span>{_chip(m, last)}{escape(m)}</span>" for m in methods) + "</div>"


def _chip(method: str, points: Sequence[Point]) -> str:
    return chip(_colour(method, points))


def _table(points: Sequence[Point], configured: Configured, *, with_step: bool = False) -> str:
    """All points, one row each."""
    bottom, top = min(point.low for point in points), max(point.high for point in points)
    scale = (0.0, 1.0) if points[0].success else (bottom, top)
    best = None if with_step else best_of_sweep(points, configured)
    measured = _MEASURED | ({"mean return": "return_mean"} if points[0].success else {}) | {"IQM return": "iqm"}
    columns: dict[str, Callable[[Point], str]] = {
        **({"step": lambda p: f"{p.step:,}"} if with_step else {}),
        "method": lambda p: _chip(p.method, points) + escape(p.method),
        "budget": lambda p: escape(budget_label(p)) + small(remark(p, best, configured)),
        **(_score_columns(points, scale) if known(points, "score") else {}),
        **{name: column_text(points, field) for name, field in measured.items() if known(points, field)},
    }
    if len({point.episodes for point in points}) > 1:
        columns["episodes"] = lambda p: f"{p.episodes}"
    return table(columns, points, lambda p: is_configured(p, configured))


def _score_columns(points: Sequence[Point], scale: tuple[float, float]) -> dict[str, Callable[[Point], str]]:
    return {
        "success" if points[0].success else "return": lambda p: escape(f"{score_text(p)} {interval_text(p)}"),
        "95 % interval": lambda p: range_svg((p.low, p.score, p.high), scale, _colour(p, points)),
    }


def _earlier(points: Sequence[Point], configured: Configured) -> str:
    earlier = [point for point in points if point.step != latest(points)[0].step]
    if not earlier:
        return ""
    return folded(f"Earlier checkpoints ({len(earlier)} points)", _table(earlier, configured, with_step=True))


def _particles(run_dir: Path) -> str:
    clouds = read_clouds(run_dir)
    if clouds is None:
        return ""
    where = f"{clouds.method} at budget {clouds.budget:g}, at {len(clouds.states)}"
    note = (
        f"{clouds.particles.shape[1]} particles of {where} held-out states whose particles moved from little to much. "
        "Hollow: the unmoved twin, the same noise carried by the reference alone; filled: the moved particle. Of more "
        "than two action coordinates, the two principal components and their share of the spread. All pictures have "
        "one scale."
    )
    return charts("multiples", cloud_svgs(clouds)) + f'<p class="note">{escape(note)}</p>'


def _how(run_dir: Path, facts: Facts, evaluation: str) -> str:
    transitions = facts.get("data.transitions")
    data = [facts.noted.get("data") or facts.get("data.path", "data.source")]
    data += [f"{transitions:,} transitions"] if isinstance(transitions, int) else []
    planned = facts.get("train.steps")
    reached = "" if facts.step is None else f"{facts.step:,}" + (f" of {planned:,}" if isinstance(planned, int) else "")
    entries = {
        "Command": facts.noted.get("command"),
        "Last evaluation": facts.noted.get("last evaluation"),
        "Task": " ".join(str(part) for part in (facts.get("task"), facts.get("env")) if part),
        "Method": facts.get("method"),
        "Preset": facts.get("preset"),
        "Seed": facts.get("seed"),
        "Data": ", ".join(str(part) for part in data if part),
        "Training steps": reached,
        "Wall time of training": duration(facts.seconds),
        "Evaluation": evaluation,
        "Normalised score": scale.source if (scale := read_scale(run_dir)) else "",
        "Run directory": run_dir,
    }
    return definitions(entries) + texts(facts)
