"""``vgf compare RUN RUN ...``: several runs in one figure and one page, with intervals.

Runs that differ in nothing but the seed are one curve (:mod:`vgf.report.series`). Against the budget, and against the
distance travelled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from vgf.commands import Parser
from vgf.files import atomic_path, atomic_write_text
from vgf.report.budget_axis import KNOBS, budget_axis, budget_ticks
from vgf.report.cost import percent_axis
from vgf.report.page_parts import bullets, charts, chip, definitions, document, range_svg, section, small, table
from vgf.report.palette import INK, MUTED, PAPER, Style, as_variable, bare, inline_svg, settings, spare_styles, styles
from vgf.report.points import number_text
from vgf.report.series import Mark, Series, make_series
from vgf.report.several import Group, group_runs, read_run

__all__ = ["run"]

_UNITS = {"success": "success", "return": "return", "gold": "gold reward, nothing selected"}
_INCHES = (4.9, 3.6)


def run(arguments: Sequence[str]) -> None:
    """Write ``compare.png`` and ``compare.html`` into a folder and print the table.

    Raises:
        UserError: a folder that is no run, runs with different scores, or too many curves.
    """
    parser = Parser("compare")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where to write; default: here")
    parser.add_argument("--methods", default="", metavar="A,B", help="only these; default: all that were evaluated")
    parser.add_argument("--title", default="", help="of figure and page; default: the environment")
    given = parser.parse_args(list(arguments))
    groups = group_runs([read_run(path) for path in given.runs])
    series = make_series(groups, [name for name in given.methods.split(",") if name])
    envs = dict.fromkeys(r.task for group in groups for r in group.runs)
    title = given.title or ", ".join(envs)
    with atomic_path(given.out / "compare.png") as path:
        _draw_png(series, title, path)
    atomic_write_text(given.out / "compare.html", _page(series, groups, title))
    print("\n".join(_lines(series)))
    print(f"\npage:   {given.out / 'compare.html'}\nfigure: {given.out / 'compare.png'}")


# --- figures -----------------------------------------------------------------------------------------


def _axes(series: Sequence[Series]) -> list[str]:
    """What the panels' x axes are: every knob that was turned, and travelled where it was measured."""
    swept = [one for one in series if not one.flat]
    knobs = list(dict.fromkeys(one.knob for one in swept))
    measured = any(math.isfinite(mark.travelled) and mark.budget > 0 for one in swept for mark in one.marks)
    return [*(knobs or ["budget"]), *(["travelled"] if measured else [])]


def _looks(series: Sequence[Series]) -> dict[str, Style]:
    """Methods look as in every figure; several series of one method look as they come."""
    known = styles(one.method for one in series)
    looks = known.values() if len(known) == len(series) else spare_styles(len(series))
    return dict(zip((one.name for one in series), looks, strict=True))


def _draw_png(series: Sequence[Series], title: str, path: Path) -> None:
    axes, looks = _axes(series), _looks(series)
    with settings():
        size = (_INCHES[0] * len(axes), _INCHES[1] + 0.5 + 0.2 * len(series))
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08)
        figure = Figure(figsize=size, layout=layout, facecolor=PAPER)
        figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK)
        for number, x in enumerate(axes):
            _draw(figure.add_subplot(1, len(axes), number + 1), series, x, looks)
        handles = [
            Line2D([], [], color=looks[s.name].colour, marker=looks[s.name].marker, linestyle="--" if s.flat else "-")
            for s in series
        ]
        names = [one.name for one in series]
        figure.legend(handles, names, loc="outside lower left", ncols=1, frameon=False, fontsize=9, labelcolor=INK)
        figure.savefig(path, format="png", dpi=160)


def _svgs(series: Sequence[Series]) -> list[str]:
    looks, pictures = _looks(series), []
    for number, x in enumerate(_axes(series)):
        with settings():
            figure = Figure(figsize=(4.4, 3.3), layout="constrained")
            _draw(figure.add_subplot(), series, x, looks)
            pictures.append(inline_svg(figure, f"scores against {x}; numbers in the table", f"panel{number}"))
    return pictures


def _draw(ax: Axes, series: Sequence[Series], x: str, looks: dict[str, Style]) -> None:
    bare(ax)
    unit = series[0].unit
    scale = 100 if unit == "success" else 1
    shown = [one for one in series if not one.flat and x in (one.knob, "travelled")]
    budgets = sorted({mark.budget for one in shown for mark in one.marks})
    axis = budget_axis(budgets)
    place: Callable[[Mark], float] = (lambda m: m.travelled) if x == "travelled" else (lambda m: axis.at(m.budget))
    for number, one in enumerate(shown):
        marks = [mark for mark in one.marks if x != "travelled" or math.isfinite(mark.travelled)]
        aside = 0.0 if x == "travelled" else 0.012 * axis.span(budgets) * (number - (len(shown) - 1) / 2)
        _draw_line(ax, [place(mark) + aside for mark in marks], marks, looks[one.name], scale)
    for one in (one for one in series if one.flat):
        (mark,) = one.marks
        ax.axhspan(mark.low * scale, mark.high * scale, color=looks[one.name].colour, alpha=0.08, linewidth=0, zorder=0)
        ax.axhline(mark.score * scale, color=looks[one.name].colour, linewidth=1.4, linestyle=(0, (5, 3)), zorder=1)
    if x == "travelled":
        ax.set_xlim(left=min(0.0, ax.get_xlim()[0]))
        ax.xaxis.set_major_locator(MaxNLocator(5))
    else:
        budget_ticks(ax, axis, budgets, None)
    if unit == "success":
        percent_axis(ax)
    else:
        ax.margins(y=0.1)
        ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set_title(_UNITS[unit], loc="left", color=INK, fontsize=10, fontweight="bold", pad=8)
    label = "travelled from the reference" if x == "travelled" else KNOBS.get(x, x)
    ax.set_xlabel(label, color=MUTED, fontsize=9)


def _draw_line(ax: Axes, xs: list[float], marks: Sequence[Mark], look: Style, scale: float) -> None:
    """A line with a marker and an interval a budget; the reference is hollow, the configured budget ringed."""
    ax.vlines(xs, [m.low * scale for m in marks], [m.high * scale for m in marks], colors=look.colour, alpha=0.4)
    ax.plot(xs, [m.score * scale for m in marks], color=look.colour, linewidth=1.7)
    for x, mark in zip(xs, marks, strict=True):
        face = PAPER if mark.budget == 0 else look.colour
        ax.plot(x, mark.score * scale, look.marker, color=look.colour, markerfacecolor=face, markersize=6, zorder=3)
        if _chosen(mark):
            ax.plot(x, mark.score * scale, "o", color=INK, markerfacecolor="none", markersize=12, zorder=4)


# --- texts -------------------------------------------------------------------------------------------


def _score(mark: Mark, unit: str) -> tuple[str, str]:
    if unit == "success":
        return f"{100 * mark.score:.0f} %", f"[{100 * mark.low:.0f}, {100 * mark.high:.0f}]"
    return number_text(mark.score), f"[{number_text(mark.low)}, {number_text(mark.high)}]"


def _budget(one: Series, mark: Mark) -> str:
    return "-" if one.flat else f"{one.knob} {mark.budget:g}"


def _chosen(mark: Mark) -> bool:
    """Whether it is a configured budget that moves; budget 0 is the reference, whatever is configured."""
    return mark.configured and mark.budget > 0


def _lines(series: Sequence[Series]) -> list[str]:
    """The table for the terminal."""
    unit = series[0].unit
    rows = [("", "budget", unit, "95 % interval", "travelled", "scores")]
    rows += [
        (
            one.name,
            _budget(one, mark) + " (configured)" * _chosen(mark),
            *_score(mark, unit),
            number_text(mark.travelled),
            f"{mark.count}",
        )
        for one in series
        for mark in one.marks
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _page(series: Sequence[Series], groups: Sequence[Group], title: str) -> str:
    looks, unit = _looks(series), series[0].unit
    rows = [(one, mark) for one in series for mark in one.marks]
    ends = [end for _, mark in rows for end in (mark.low, mark.high)]
    scale = (0.0, 1.0) if unit == "success" else (min(ends), max(ends))

    def coloured(name: str) -> str:
        return chip(as_variable(looks[name].colour)) + escape(name)

    legend = '<div class="legend">' + "".join(f"<span>{coloured(one.name)}</span>" for one in series) + "</div>"
    shown = table(
        {
            "": lambda row: coloured(row[0].name),
            "budget": lambda row: escape(_budget(*row)) + small("configured" if _chosen(row[1]) else ""),
            unit: lambda row: escape(_score(row[1], unit)[0]) + small(_score(row[1], unit)[1]),
            "95 % interval": lambda row: range_svg(
                (row[1].low, row[1].score, row[1].high), scale, as_variable(looks[row[0].name].colour)
            ),
            "travelled": lambda row: number_text(row[1].travelled),
            "scores": lambda row: f"{row[1].count}",
        },
        rows,
        lambda row: _chosen(row[1]),
    )
    runs = {group.name: ", ".join(str(each.path) for each in group.runs) for group in groups}
    return document(
        title,
        "",
        [
            section("Scores", legend + charts("panels", _svgs(series))),
            section("All budgets", shown),
            section("Runs", definitions(runs)),
            section("Reading the numbers", bullets(_notes(unit))),
        ],
    )


def _notes(unit: str) -> list[str]:
    interval = "Wilson score intervals" if unit == "success" else "bootstrap intervals, stratified by run"
    return [
        "Runs that differ in nothing but the seed are one curve: the mean of all their episodes (or prompts).",
        f"Bars are 95 % {interval}. They tell how far other episodes could move a number; vgf collect has intervals "
        "over training seeds.",
        "Hollow: the reference, budget 0. Ringed: the configured budget. Dashed: a method without a budget.",
        "Travelled is the mean distance of what was played from what the same noise gives without a move.",
    ]
