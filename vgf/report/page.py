"""The report page: one HTML file that needs nothing but itself.

Everything a run directory says (names, paths, configuration, versions) is escaped on its way into the
page, and a content security policy forbids scripts and requests altogether.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import yaml

from vgf.report.curves import panel_svgs, swept_methods
from vgf.report.facts import Facts, read_facts
from vgf.report.headline import headline, notes, reference_of
from vgf.report.page_style import STYLE
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
from vgf.report.training_curves import metric_svg, progress_svg

__all__ = ["render_page"]

_MOST_METRICS = 18
_CAPTION = (
    "Bars are 95 % intervals. Hollow: the reference, budget 0. Ringed: the configured budget. "
    "Dashed, with its interval as a band: a method without a budget."
)
_MEASURED = {
    "travelled": "travelled",
    "critic gain": "value_gain",
    "judge gain": "judge_gain",
    "W2": "w2",
    "MMD": "mmd",
    "W_inf at most": "w_inf_bound",
    "length": "length",
    "ms / decision": "milliseconds",
}  # column -> field of a point
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render_page(run_dir: Path, points: Sequence[Point], *, title: str, configured: Configured) -> str:
    """The whole page as text, from a run directory's files and the points of its evaluations."""
    facts = read_facts(run_dir)
    last = latest(points)
    words = escape(headline(points, configured, facts)).replace(" %", "&nbsp;%")
    panels = _legend(last) + _charts("panels", panel_svgs(last, configured)) + f'<p class="note">{_CAPTION}</p>'
    sections = [
        _section("Score against budget" if known(last, "score") else "Held-out states against budget", panels),
        _section(f"All budgets at step {last[0].step:,}", _table(last, configured) + _earlier(points, configured)),
        _section("Training", _training(points, configured, facts)),
        _section("How it was run", _how(run_dir, facts)),
        _section("Reading the numbers", _list(notes(points, configured, facts))),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n'
        "<body>\n<main>\n"
        f'<header>\n<h1>{escape(title)}</h1>\n<p class="headline">{words}</p>\n'
        f"{_tiles(last, configured)}</header>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def _section(name: str, body: str) -> str:
    return f"<section>\n<h2>{escape(name)}</h2>\n{body}\n</section>\n" if body else ""


def _charts(css: str, pictures: Sequence[str]) -> str:
    return f'<div class="{css}">' + "".join(f'<figure class="chart">{svg}</figure>' for svg in pictures) + "</div>"


def _tiles(last: Sequence[Point], configured: Configured) -> str:
    """The configured budget in four numbers; nothing when it was not evaluated."""
    chosen, reference = find(last, configured), reference_of(last, configured)
    if chosen is None or not known(last, "score"):
        return ""
    what = "success" if chosen.success else "return"
    tiles = [(score_text(chosen), f"{what} at the configured budget {interval_text(chosen)}")]
    if reference and reference != chosen:
        tiles.append((score_text(reference), f"{what} at budget 0 {interval_text(reference)}"))
    tiles.append((number_text(chosen.travelled), "travelled, RMS per action coordinate in [-1, 1]"))
    before = f" ({number_text(reference.milliseconds)} at budget 0)" if reference and reference != chosen else ""
    tiles.append((f"{number_text(chosen.milliseconds)} ms", f"per decision{before}"))
    cells = "".join(f'<div class="tile"><b>{escape(big)}</b><span>{escape(small)}</span></div>' for big, small in tiles)
    return f'<div class="tiles">{cells}</div>\n'


def _colour(point_or_method: Point | str, points: Sequence[Point]) -> str:
    method = point_or_method if isinstance(point_or_method, str) else point_or_method.method
    return as_variable(styles(point.method for point in points)[method].colour)


def _legend(last: Sequence[Point]) -> str:
    methods = swept_methods(last)
    if len(methods) < 2:
        return ""
    return '<div class="legend">' + "".join(f"<span>{_chip(m, last)}{escape(m)}</span>" for m in methods) + "</div>"


def _chip(method: str, points: Sequence[Point]) -> str:
    return f'<span class="chip" style="background:{_colour(method, points)}"></span>'


def _table(points: Sequence[Point], configured: Configured, *, with_step: bool = False) -> str:
    """All points, one row each; wider than a phone, so it scrolls in its own box."""
    bottom, top = min(point.low for point in points), max(point.high for point in points)
    scale = (0.0, 1.0) if points[0].success else (bottom, top)
    best = None if with_step else best_of_sweep(points, configured)
    measured = _MEASURED | ({"mean return": "return_mean"} if points[0].success else {}) | {"IQM return": "iqm"}
    columns: list[tuple[str, Callable[[Point], str]]] = [
        ("method", lambda p: _chip(p.method, points) + escape(p.method)),
        ("budget", lambda p: escape(budget_label(p)) + _small(remark(p, best, configured))),
        *(_score_columns(points, scale) if known(points, "score") else []),
        *((name, column_text(points, field)) for name, field in measured.items() if known(points, field)),
    ]
    if len({point.episodes for point in points}) > 1:
        columns.append(("episodes", lambda p: f"{p.episodes}"))
    if with_step:
        columns.insert(0, ("step", lambda p: f"{p.step:,}"))
    head = "".join(f"<th>{name}</th>" for name, _ in columns)
    body = ""
    for point in points:
        cells = "".join(f"<td>{cell(point)}</td>" for _, cell in columns)
        css = ' class="configured"' if is_configured(point, configured) else ""
        body += f"<tr{css}>{cells}</tr>\n"
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>'


def _score_columns(points: Sequence[Point], scale: tuple[float, float]) -> list[tuple[str, Callable[[Point], str]]]:
    return [
        ("success" if points[0].success else "return", lambda p: escape(f"{score_text(p)} {interval_text(p)}")),
        ("95 % interval", lambda p: _range(p, scale, _colour(p, points))),
    ]


def _small(text: str) -> str:
    return f"<small>{escape(text)}</small>" if text else ""


def _range(point: Point, scale: tuple[float, float], colour: str) -> str:
    """Interval and centre on one line, all rows to the same scale."""
    span = (scale[1] - scale[0]) or 1.0
    low, centre, high = (4 + 102 * (x - scale[0]) / span for x in (point.low, point.score, point.high))
    return (
        '<svg class="range" viewBox="0 0 110 14" aria-hidden="true"><path d="M4 7H106" stroke="var(--grid)"/>'
        f'<path d="M{low:.1f} 7H{high:.1f}" stroke="{colour}" stroke-width="4" stroke-linecap="round" opacity=".35"/>'
        f'<circle cx="{centre:.1f}" cy="7" r="3.5" fill="{colour}"/></svg>'
    )


def _earlier(points: Sequence[Point], configured: Configured) -> str:
    earlier = [point for point in points if point.step != latest(points)[0].step]
    if not earlier:
        return ""
    table = _table(earlier, configured, with_step=True)
    return f"<details><summary>Earlier checkpoints ({len(earlier)} points)</summary>{table}</details>"


def _training(points: Sequence[Point], configured: Configured, facts: Facts) -> str:
    """Small multiples: score over checkpoints, then one picture a metric."""
    shown = [curve for curve in facts.curves if curve.values][:_MOST_METRICS]
    pictures = [svg for svg in [progress_svg(points, configured), *map(metric_svg, shown)] if svg]
    remarks = [f"{c.name}: {c.not_finite} values were not finite" for c in facts.curves if c.not_finite]
    if (more := len([curve for curve in facts.curves if curve.values]) - len(shown)) > 0:
        remarks.append(f"{more} more metrics are in metrics.jsonl")
    if not pictures:
        return '<p class="muted">No metrics were logged.</p>'
    note = f'<p class="note">{escape("; ".join(remarks))}.</p>' if remarks else ""
    return _charts("multiples", pictures) + note


def _how(run_dir: Path, facts: Facts) -> str:
    transitions = facts.get("data.transitions")
    data = [facts.noted.get("data") or facts.get("data.path", "data.source")]
    data += [f"{transitions:,} transitions"] if isinstance(transitions, int) else []
    planned = facts.get("train.steps")
    reached = "" if facts.step is None else f"{facts.step:,}" + (f" of {planned:,}" if isinstance(planned, int) else "")
    entries = {
        "Command": facts.noted.get("command"),
        "Task": " ".join(str(part) for part in (facts.get("task"), facts.get("env")) if part),
        "Method": facts.get("method"),
        "Preset": facts.get("preset"),
        "Seed": facts.get("seed"),
        "Data": ", ".join(str(part) for part in data if part),
        "Training steps": reached,
        "Wall time of training": _duration(facts.seconds),
        "Evaluation": f"eval.seed {facts.get('eval.seed')}" if facts.get("eval.seed") is not None else "",
        "Run directory": run_dir,
    }
    rows = "".join(
        f"<dt>{name}</dt><dd>{escape(str(value))}</dd>\n" for name, value in entries.items() if value not in (None, "")
    )
    config = yaml.safe_dump(dict(facts.config), sort_keys=False, allow_unicode=True) if facts.config else ""
    texts = {"Versions (environment.txt)": facts.environment, "Configuration (config.yaml)": config}
    return f"<dl>\n{rows}</dl>" + "".join(
        f"<details><summary>{name}</summary><pre>{escape(text)}</pre></details>" for name, text in texts.items() if text
    )


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(math.floor(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _list(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"
