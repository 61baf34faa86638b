"""The figure of a sweep: score, and distance from the reference, against the budget.

Panels depend on what was swept. One knob: score, travelled, and the values gained on held-out states against it (of
one method in one over-optimisation panel), and score against travelled, the currency methods have in common. Methods
with different knobs cannot share a budget axis: score against each knob, and against travelled. More than
three methods: score against travelled and against the milliseconds of an action.

Figures are built on ``Figure`` alone; pyplot and its global state stay untouched.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from vgf.report.budget_axis import KNOBS, budget_axis, budget_ticks
from vgf.report.cost import draw_cost, name_ends, percent_axis
from vgf.report.overoptimisation import draw_overoptimisation
from vgf.report.palette import INK, MUTED, PAPER, Style, bare, inline_svg, settings, styles
from vgf.report.points import Configured, Point, is_configured, known, latest, unswept
from vgf.report.text_labels import Mark, name_marks

__all__ = ["draw_curve", "panel_svgs", "swept_methods"]

_PANEL_INCHES = (4.9, 3.5)  # of curve.png
_INLINE_INCHES = (4.4, 3.3)  # of the page, where a phone shrinks them
_TRAVELLED = "travelled from the reference (RMS per action coordinate)"
_FEW_METHODS = 3
_MEASURED = {"travelled", "value_gain", "judge_gain"}  # fields that not every point has
_TITLES = {
    "travelled": "travelled (action units)",
    "value_gain": "value gained, by the critic that moves",
    "judge_gain": "value gained, by the judge",
    "gains": "gained: critic that moves, judge, truth",
}


@dataclass(frozen=True)
class _Panel:
    x: str  # a knob, "travelled" or "milliseconds"
    y: str  # "score", a field of a point, or "gains": the over-optimisation panel


def draw_curve(points: Sequence[Point], path: Path, *, title: str, configured: Configured) -> None:
    """Write the figure of the last step's points as a PNG, whatever the suffix of ``path``."""
    points = latest(points)
    panels, looks = _panels(points), styles(point.method for point in points)
    with settings():
        columns = len(panels) if len(panels) < 4 else 2
        rows = -(-len(panels) // columns)
        width, height = _PANEL_INCHES
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08, wspace=0.04)
        figure = Figure(figsize=(width * columns, height * rows + 0.5), layout=layout, facecolor=PAPER)
        title = textwrap.fill(title, 50 * columns)
        figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK)
        axes = [figure.add_subplot(rows, columns, number + 1) for number in range(len(panels))]
        _legend(figure, points, looks)
        drawn = [_draw(ax, panel, points, configured, looks) for ax, panel in zip(axes, panels, strict=True)]
        name_marks(figure, list(zip(axes, drawn, strict=True)))
        figure.savefig(path, format="png", dpi=160)


def panel_svgs(points: Sequence[Point], configured: Configured) -> list[str]:
    """The panels of the same figure as ``<svg>`` elements, without title and legend."""
    points = latest(points)
    looks = styles(point.method for point in points)
    pictures = []
    for number, panel in enumerate(_panels(points)):
        with settings():
            figure = Figure(figsize=_INLINE_INCHES, layout="constrained")
            ax = figure.add_subplot()
            name_marks(figure, [(ax, _draw(ax, panel, points, configured, looks))])
            pictures.append(inline_svg(figure, f"{panel.y} against {panel.x}; numbers in the table", f"panel{number}"))
    return pictures


def swept_methods(points: Sequence[Point]) -> list[str]:
    """The methods drawn as curves: those with a budget above 0, or all when none has one yet."""
    flat = unswept(points)
    names = list(dict.fromkeys(point.method for point in points))
    return [name for name in names if name not in flat] or names


def _panels(points: Sequence[Point]) -> list[_Panel]:
    methods = swept_methods(points)
    played = known(points, "score")
    if len(methods) > _FEW_METHODS and played:
        return [_Panel("travelled", "score"), _Panel("milliseconds", "score")]
    knobs = list(dict.fromkeys(point.knob for point in points if point.method in methods))
    panels = [_Panel(knob, "score") for knob in knobs] if played else []
    if any(point.budget > 0 and math.isfinite(point.travelled) for point in points):
        panels += [_Panel(knobs[0], "travelled")] if len(knobs) == 1 else []
        panels += [_Panel("travelled", "score")] if played else []
        gains = [field for field in ("value_gain", "judge_gain") if known(points, field)]
        if gains and len(methods) == 1 and any(p.budget == 0 and p.method == methods[0] for p in points):
            gains = ["gains"]
        panels += [_Panel(knobs[0], field) for field in gains] if len(knobs) == 1 else []
    return panels


def _draw(
    ax: Axes, panel: _Panel, points: Sequence[Point], configured: Configured, looks: dict[str, Style]
) -> list[Mark]:
    """Draw a panel and return the marks whose names are to be written once the figure is laid out."""
    bare(ax)
    if panel.x == "milliseconds":
        return draw_cost(ax, points, looks, configured)
    swept = swept_methods(points)
    shown = [p for p in points if p.method in swept and panel.x in (p.knob, "travelled") and _known(p, panel)]
    methods = list(dict.fromkeys(point.method for point in shown))
    if panel.y == "gains":
        _draw_gains(ax, shown, configured, looks[methods[0]].colour)
        return []
    lines = dict.fromkeys((point.method, point.knob) for point in shown)  # calls may have turned different knobs
    curves = [[point for point in shown if (point.method, point.knob) == line] for line in lines]
    budgets = sorted({point.budget for point in shown})
    axis = budget_axis(budgets)
    shared = len({_interval(curve[0], panel) for curve in curves if curve[0].budget == 0}) == 1

    for number, curve in enumerate(curves):
        aside = 0.011 * axis.span(budgets) * (number - (len(curves) - 1) / 2)  # intervals side by side
        xs = [
            p.travelled if panel.x == "travelled" else axis.at(p.budget) + (0.0 if shared and p.budget == 0 else aside)
            for p in curve
        ]
        _draw_series(ax, xs, curve, panel, looks[curve[0].method], axis.log and panel.x != "travelled", shared)
        _ring(ax, xs, curve, panel, configured)
    last = curves[0][-1] if len(curves) == 1 and panel.y == "score" else None  # several curves have a legend
    ends = [(_interval(last, panel)[0], last.method, looks[last.method].colour)] if last else []
    if panel.y == "score":
        ends += [_draw_baseline(ax, p, panel, looks[p.method]) for p in points if p.method not in swept]

    if panel.x == "travelled":
        _travelled_axis(ax, wide=len(methods) > _FEW_METHODS)
    else:
        budget_ticks(ax, axis, budgets, configured[1] if configured and configured[0] in methods else None)
    _score_or_distance(ax, panel, points[0].success)
    ax.set_xlabel(KNOBS.get(panel.x, _TRAVELLED), color=MUTED, fontsize=9)
    name_ends(ax, ends)
    return []


def _draw_gains(ax: Axes, sweep: Sequence[Point], configured: Configured, colour: str) -> None:
    budgets = [point.budget for point in sweep]
    axis = budget_axis(budgets)
    budget_ticks(ax, axis, budgets, configured[1] if configured and configured[0] == sweep[0].method else None)
    draw_overoptimisation(ax, sweep, axis.at, colour)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel(KNOBS.get(sweep[0].knob, sweep[0].knob), color=MUTED, fontsize=9)
    ax.set_title(_TITLES["gains"], loc="left", color=INK, fontsize=10, fontweight="bold", pad=8)


def _known(point: Point, panel: _Panel) -> bool:
    y = "value_gain" if panel.y == "gains" else panel.y
    return all(math.isfinite(getattr(point, field)) for field in {panel.x, y} & _MEASURED)


def _interval(point: Point, panel: _Panel) -> tuple[float, float, float]:
    """Centre, low and high of what the panel shows on its y axis."""
    if panel.y == "travelled":
        return point.travelled, point.travelled_low, point.travelled_high
    if panel.y != "score":
        return (getattr(point, panel.y),) * 3
    unit = 100 if point.success else 1
    return point.score * unit, point.low * unit, point.high * unit


def _draw_series(
    ax: Axes, xs: list[float], curve: Sequence[Point], panel: _Panel, style: Style, off_scale: bool, shared: bool
) -> None:  # fmt: skip
    """A line with a marker and an interval a point.

    The reference is hollow, joined dotted when it stands off a log scale, and nobody's colour when shared.
    """
    ys, lows, highs = (list(column) for column in zip(*(_interval(point, panel) for point in curve), strict=True))
    ax.vlines(xs, lows, highs, colors=style.colour, linewidth=1.5, alpha=0.4)
    moved = 1 if curve[0].budget == 0 else 0
    ax.plot(xs[moved:], ys[moved:], color=style.colour, linewidth=1.8)
    if panel.y.endswith("_gain"):
        ax.axhline(0, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=0)
    if moved:
        ax.plot(xs[:2], ys[:2], color=style.colour, linewidth=1.4, linestyle=":" if off_scale else "-")
    for x, y, point in zip(xs, ys, curve, strict=True):
        edge, marker = (INK, "o") if shared and point.budget == 0 else (style.colour, style.marker)
        face = PAPER if point.budget == 0 else edge
        ax.plot(x, y, marker, color=edge, markerfacecolor=face, markersize=6, zorder=3, clip_on=False)


def _ring(ax: Axes, xs: list[float], curve: Sequence[Point], panel: _Panel, configured: Configured) -> None:
    for x, point in zip(xs, curve, strict=True):
        if is_configured(point, configured):
            y = _interval(point, panel)[0]
            ax.plot(x, y, "o", color=INK, markerfacecolor="none", markersize=13, zorder=4, clip_on=False)


def _draw_baseline(ax: Axes, point: Point, panel: _Panel, style: Style) -> tuple[float, str, str]:
    """A method without a sweep: a dashed line and a light band across the panel."""
    y, low, high = _interval(point, panel)
    ax.axhspan(low, high, color=style.colour, alpha=0.10, linewidth=0, zorder=0)
    ax.axhline(y, color=style.colour, linewidth=1.4, linestyle=(0, (5, 3)), zorder=1)
    return y, point.method, style.colour


def _travelled_axis(ax: Axes, *, wide: bool) -> None:
    """Linear; for many methods logarithmic beyond 0.01, where some have gone a hundred times as far as others."""
    if wide:
        ax.set_xscale("symlog", linthresh=0.01)
        ax.set_xticks([0, 0.01, 0.03, 0.1, 0.3, 1], ["0", "0.01", "0.03", "0.1", "0.3", "1"])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlim(-0.0015, 1.2)
    else:
        ax.set_xlim(left=min(0.0, ax.get_xlim()[0]))
        ax.xaxis.set_major_locator(MaxNLocator(5))


def _score_or_distance(ax: Axes, panel: _Panel, success: bool) -> None:
    if panel.y == "score" and success:
        percent_axis(ax)
    else:
        ax.margins(y=0.1)
        if panel.y == "travelled":
            ax.set_ylim(bottom=-0.04 * ax.get_ylim()[1])
        ax.yaxis.set_major_locator(MaxNLocator(5))
    label = _TITLES.get(panel.y, "success" if success else "return")
    ax.set_title(label, loc="left", color=INK, fontsize=10, fontweight="bold", pad=8)


def _legend(figure: Figure, points: Sequence[Point], looks: dict[str, Style]) -> None:
    methods = swept_methods(points)
    if len(methods) < 2:
        return
    handles = [Line2D([], [], color=looks[name].colour, marker=looks[name].marker, markersize=6) for name in methods]
    figure.legend(handles, methods, loc="outside lower left", ncols=8, frameon=False, fontsize=9, labelcolor=INK)
