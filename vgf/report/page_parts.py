"""What report pages are put together from: the document with its policy, sections, tables, lists, folded texts.

Whatever a run says is escaped here or by the caller, as each function says; a content security policy forbids
scripts and requests altogether.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TypeVar

import yaml

from vgf.report.facts import Facts
from vgf.report.page_style import STYLE
from vgf.report.training_curves import metric_svg

__all__ = [
    "bullets", "charts", "chip", "definitions", "document", "duration", "folded", "range_svg", "section", "small",
    "table", "texts", "tiles", "training",
]  # fmt: skip

T = TypeVar("T")

_MOST_METRICS = 18
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def document(title: str, header: str, sections: Sequence[str], style: str = "") -> str:
    """The whole page; ``header`` and ``sections`` are HTML, ``style`` is added to the style sheet of all reports."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n'
        f"<body>\n<main>\n<header>\n<h1>{escape(title)}</h1>\n{header}</header>\n{''.join(sections)}</main>\n"
        "</body>\n</html>\n"
    )


def section(name: str, body: str) -> str:
    """A card with HTML in it; nothing when that is empty."""
    return f"<section>\n<h2>{escape(name)}</h2>\n{body}\n</section>\n" if body else ""


def charts(css: str, pictures: Sequence[str]) -> str:
    """SVG elements in a grid of the class ``css``: ``panels`` or ``multiples``."""
    return f'<div class="{css}">' + "".join(f'<figure class="chart">{svg}</figure>' for svg in pictures) + "</div>"


def tiles(shown: Sequence[tuple[str, str]]) -> str:
    """Large numbers in boxes, each with what it is; plain text."""
    cells = "".join(f'<div class="tile"><b>{escape(big)}</b><span>{escape(what)}</span></div>' for big, what in shown)
    return f'<div class="tiles">{cells}</div>\n'


def chip(colour: str) -> str:
    """A dot of a CSS colour."""
    return f'<span class="chip" style="background:{colour}"></span>'


def small(text: str) -> str:
    """Plain text on a small line of its own."""
    return f"<small>{escape(text)}</small>" if text else ""


def table(
    columns: Mapping[str, Callable[[T], str]], rows: Sequence[T], marked: Callable[[T], bool] = lambda _: False
) -> str:
    """One row each, in a box that scrolls by itself: a table is wider than a phone.

    Args:
        columns: heading (plain text) -> the HTML of a row's cell.
        rows: what the cells are made of.
        marked: which rows stand out.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = ""
    for row in rows:
        cells = "".join(f"<td>{cell(row)}</td>" for cell in columns.values())
        css = ' class="configured"' if marked(row) else ""
        body += f"<tr{css}>{cells}</tr>\n"
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>'


def range_svg(interval: tuple[float, float, float], scale: tuple[float, float], colour: str) -> str:
    """Low, centre and high on one line, all rows to the same scale."""
    span = (scale[1] - scale[0]) or 1.0
    low, centre, high = (4 + 102 * (x - scale[0]) / span for x in interval)
    return (
        '<svg class="range" viewBox="0 0 110 14" aria-hidden="true"><path d="M4 7H106" stroke="var(--grid)"/>'
        f'<path d="M{low:.1f} 7H{high:.1f}" stroke="{colour}" stroke-width="4" stroke-linecap="round" opacity=".35"/>'
        f'<circle cx="{centre:.1f}" cy="7" r="3.5" fill="{colour}"/></svg>'
    )


def training(facts: Facts, first: Sequence[str] = ()) -> str:
    """Small multiples: the pictures of ``first``, then one a metric that was logged."""
    logged = [curve for curve in facts.curves if curve.values]
    shown = logged[:_MOST_METRICS]
    pictures = [svg for svg in [*first, *map(metric_svg, shown)] if svg]
    remarks = [f"{c.name}: {c.not_finite} values were not finite" for c in facts.curves if c.not_finite]
    if (more := len(logged) - len(shown)) > 0:
        remarks.append(f"{more} more metrics are in metrics.jsonl")
    if not pictures:
        return '<p class="muted">No metrics were logged.</p>'
    note = f'<p class="note">{escape("; ".join(remarks))}.</p>' if remarks else ""
    return charts("multiples", pictures) + note


def definitions(entries: Mapping[str, object]) -> str:
    """Names and values as plain text; those without a value are left out."""
    return "<dl>\n" + "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>\n"
        for name, value in entries.items()
        if value not in (None, "")
    ) + "</dl>"  # fmt: skip


def texts(facts: Facts) -> str:
    """Versions and configuration of a run, folded."""
    config = yaml.safe_dump(dict(facts.config), sort_keys=False, allow_unicode=True) if facts.config else ""
    named = {"Versions (environment.txt)": facts.environment, "Configuration (config.yaml)": config}
    return "".join(folded(name, f"<pre>{escape(text)}</pre>") for name, text in named.items() if text)


def folded(name: str, body: str) -> str:
    """HTML behind a line to click on."""
    return f"<details><summary>{escape(name)}</summary>{body}</details>"


def duration(seconds: float | None) -> str:
    """Such as ``1 h 20 min``; empty when unknown."""
    if seconds is None:
        return ""
    minutes, rest = divmod(math.floor(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def bullets(sentences: Sequence[str]) -> str:
    """A list of plain sentences."""
    return "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"
