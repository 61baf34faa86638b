"""The figure of a language run: ``curve.png`` and the same panels for the page.

Gains of proxy and gold over the reference against the budget (where gold falls while proxy rises, the proxy is
being exploited) and against the distance from the reference; gold against NLL for all methods; gold of the
selected completion against seconds. A panel whose data are absent is left out.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from vgf.report.budget_axis import KNOBS, budget_axis, budget_ticks
from vgf.report.cost import name_ends
from vgf.report.palette import INK, MUTED, PAPER, Style, bare, inline_svg, settings, styles
from vgf.report.text_estimates import (
    Estimate,
    TextPoint,
    candidates_of,
    prompts_text,
    reference_point,
    sweep_of,
)
from vgf.report.text_labels import Mark, name_marks

__all__ = ["draw_text_curve", "text_panel_svgs"]

_PANEL_INCHES = (6.0, 4.3)
_INLINE_INCHES = (5.0, 3.7)
_DISTANCES = {
    "kl": "KL from the reference (nats a completion)",
    "travelled": "travelled (RMS distance of token embeddings from the twin's, in SDs)",
    "tokens_changed": "share of tokens changed",
}  # in order of preference
_FAR_APART = 5  # proxy and gold share plain units unless one gains this many times as much as the other
_LINES = {"proxy": (0, (4, 2)), "gold": "-"}

_Draw = Callable[[Axes], list[Mark]]  # draws a panel, and returns its marks with the names they are to get


def draw_text_curve(points: Sequence[TextPoint], path: Path, *, title: str) -> None:
    """Write the figure as a PNG, whatever the suffix of ``path``."""
    panels = _panels(points)
    with settings():
        columns = min(len(panels), 2) or 1
        rows = -(-len(panels) // columns) or 1
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, wspace=0.04, hspace=0.04)
        size = _PANEL_INCHES[0] * columns, _PANEL_INCHES[1] * rows + 0.4
        figure = Figure(figsize=size, layout=layout, facecolor=PAPER)
        title = textwrap.fill(title, 55 * columns)
        figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK)
        axes = [figure.add_subplot(rows, columns, number + 1) for number in range(len(panels))]
        name_marks(figure, [(ax, draw(ax)) for ax, draw in zip(axes, panels.values(), strict=True)])
        figure.savefig(path, format="png", dpi=130)


def text_panel_svgs(points: Sequence[TextPoint]) -> list[str]:
    """The panels as ``<svg>`` elements."""
    pictures = []
    for number, (what, draw) in enumerate(_panels(points).items()):
        with settings():
            figure = Figure(figsize=_INLINE_INCHES, layout="constrained")
            ax = figure.add_subplot()
            name_marks(figure, [(ax, draw(ax))])
            pictures.append(inline_svg(figure, f"{what}; numbers in the table", f"text{number}"))
    return pictures


def _panels(points: Sequence[TextPoint]) -> dict[str, _Draw]:
    """What a panel shows -> how to draw it."""
    looks = styles(point.method for point in points)
    sweep, start = _sweep(points), reference_point(points)
    panels: dict[str, _Draw] = {}
    if start and any(point.budget > 0 for point in sweep):
        panels["gain against budget"] = lambda ax: _gains(ax, sweep, start, "budget", looks)
        measured = (field for field in _DISTANCES if sum(math.isfinite(_at(p, field)) for p in sweep[1:]) > 0)
        if distance := next(measured, None):
            panels[f"gain against {distance}"] = lambda ax: _gains(ax, sweep, start, distance, looks)
    if any(_known(point, "nll", "gold") for point in points):
        panels["gold against NLL"] = lambda ax: _plane(ax, points, "nll", "gold", looks)
    if any(_known(point, "seconds", "gold_selected") for point in points):
        panels["selected gold against seconds"] = lambda ax: _plane(ax, points, "seconds", "gold_selected", looks)
    return panels


def _sweep(points: Sequence[TextPoint]) -> list[TextPoint]:
    """The configured method's budgets upwards, from the reference on."""
    start = reference_point(points)
    moved = [point for point in sweep_of(points) if point.budget > 0 and point != start]
    moved = [point for point in moved if "gold" in point.gains and math.isfinite(point.gains["gold"].mean)]
    return [start, *moved] if start else moved


def _at(point: TextPoint, field: str) -> float:
    """Place on the x axis; the reference has not gone anywhere."""
    if point.method == "reference" or point.budget == 0:
        return 0.0
    return point.budget if field == "budget" else point.means[field].mean


def _gains(ax: Axes, sweep: Sequence[TextPoint], start: TextPoint, x: str, looks: dict[str, Style]) -> list[Mark]:
    """Proxy and gold of the sweep, less the reference's: lines with bands."""
    bare(ax)
    colour = looks[sweep[-1].method].colour
    shown = [point for point in sweep if math.isfinite(_at(point, x))]
    axis = budget_axis([_at(point, x) for point in shown]) if x == "budget" else None
    xs = [axis.at(_at(point, x)) if axis else _at(point, x) for point in shown]
    units = _units(shown, start)
    ends = []
    for field, line in _LINES.items():
        gains = [point.gains[field] for point in shown]
        if not math.isfinite(gains[-1].mean):
            continue
        ys, lows, highs = ([getattr(g, end) / units[field] for g in gains] for end in ("mean", "low", "high"))
        ax.fill_between(xs, lows, highs, color=colour, alpha=0.16, linewidth=0)
        off_scale = 1 if axis and axis.log else 0  # the reference has no place on a logarithmic axis
        ax.plot(xs[: off_scale + 1], ys[: off_scale + 1], color=colour, linewidth=1.4, linestyle=":")
        ax.plot(xs[off_scale:], ys[off_scale:], color=colour, linewidth=1.8, linestyle=line)
        ax.plot(xs, ys, "o", color=colour, markersize=5.5, markerfacecolor=colour if line == "-" else PAPER, zorder=3)
        ends.append((ys[-1], field, colour))
        for at, y, point in zip(xs, ys, shown, strict=True):
            if point.configured and field == "gold":
                ax.plot(at, y, "o", color=INK, markerfacecolor="none", markersize=13, zorder=4)
    ax.axhline(0, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=0)
    ax.margins(y=0.1)
    ax.yaxis.set_major_locator(MaxNLocator(6))
    configured = next((point.budget for point in shown if point.configured), None)
    if axis:
        budget_ticks(ax, axis, [point.budget for point in shown], configured)
        method, knob = sweep[-1].method, sweep[-1].knob
        _titles(ax, _gain_title(units), f"{KNOBS.get(knob, knob)}, method {method}")
    else:
        ax.set_xlim(left=min(0.0, ax.get_xlim()[0]))
        ax.xaxis.set_major_locator(MaxNLocator(6))
        _titles(ax, _gain_title(units), _DISTANCES[x])
    name_ends(ax, ends)
    return []


def _units(shown: Sequence[TextPoint], start: TextPoint) -> dict[str, float]:
    """What gains are divided by: 1, or where rewards have very different units, the reference's spread."""
    largest = {field: max(abs(point.gains[field].mean) for point in shown) for field in _LINES}
    spreads = {field: start.spreads[field] for field in _LINES}
    usable = all(math.isfinite(spread) and spread > 0 for spread in spreads.values())
    apart = max(largest.values()) > _FAR_APART * min(largest.values())
    spread_apart = usable and max(spreads.values()) > _FAR_APART * min(spreads.values())
    return spreads if apart and spread_apart else dict.fromkeys(_LINES, 1.0)


def _gain_title(units: dict[str, float]) -> str:
    plain = set(units.values()) == {1.0}
    return "gain over the reference, no selection" + (
        "" if plain else "\n(in SDs of the reference over prompts and seeds)"
    )


def _known(point: TextPoint, *fields: str) -> bool:
    return all(math.isfinite(point.means[field].mean) for field in fields)


def _plane(ax: Axes, points: Sequence[TextPoint], x: str, y: str, looks: dict[str, Style]) -> list[Mark]:
    """All methods with both error bars; budgets of a method are joined."""
    bare(ax)
    shown = [point for point in points if _known(point, x, y)]
    sweep = sweep_of(points)
    marks = []
    for method in dict.fromkeys(point.method for point in shown):
        curve = [point for point in shown if point.method == method]
        colour, marker = looks[method].colour, looks[method].marker
        ax.plot([_mean(p, x) for p in curve], [_mean(p, y) for p in curve], color=colour, linewidth=1.1, alpha=0.7)
        for point in curve:
            name = _name(point, sweep, selected=y == "gold_selected")
            mark = Mark(_mean(point, x), _mean(point, y), name, colour)
            ax.hlines(mark.y, *_ends(point.means[x]), colors=colour, linewidth=1.4, alpha=0.45)
            ax.vlines(mark.x, *_ends(point.means[y]), colors=colour, linewidth=1.4, alpha=0.45)
            face = PAPER if method == "reference" else colour
            ax.plot(mark.x, mark.y, marker, color=colour, markerfacecolor=face, markersize=6.5, zorder=3)
            if point.configured:
                ax.plot(mark.x, mark.y, "o", color=INK, markerfacecolor="none", markersize=13, zorder=4)
            marks.append(mark)
    prompts = prompts_text(shown)
    counted = f"\n({prompts} prompts a point)" if " to " in prompts else ""
    ax.margins(0.12)
    ax.yaxis.set_major_locator(MaxNLocator(6))
    if x == "seconds":
        _time_axis(ax, [mark.x for mark in marks])
        _titles(ax, f"gold of the selected completion{counted}", "seconds a prompt, all particles and scoring")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(6))
        _titles(ax, f"gold, no selection{counted}", "NLL under the reference (nats a token)")
    first = {mark.name: mark for mark in marks}  # of several marks with one name the last gets it
    return list(first.values())


def _mean(point: TextPoint, field: str) -> float:
    return point.means[field].mean


def _ends(estimate: Estimate) -> tuple[float, float]:
    return (estimate.low, estimate.high) if math.isfinite(estimate.low) else (estimate.mean, estimate.mean)


def _name(point: TextPoint, sweep: Sequence[TextPoint], *, selected: bool) -> str:
    """With the budget for the configured sweep and temperatures; a name a method leaves room for all of them.

    Best_of_n is its candidates where something is selected; elsewhere it is only the reference again.
    """
    if point.method == "best_of_n":
        return f"best of {candidates_of(point):.0f}" if selected else "best_of_n"
    name = point.method if len(point.method) <= 18 else f"{point.method[:16]}..."
    own = point.budget > 0 and (point in sweep or point.method == "temperature")
    return f"{name} {point.budget:g}" if own else name


def _time_axis(ax: Axes, seconds: Sequence[float]) -> None:
    """Logarithmic where times differ much."""
    if min(seconds) > 0 and max(seconds) > 3 * min(seconds):
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(6))


def _titles(ax: Axes, title: str, below: str) -> None:
    ax.set_title(title, loc="left", color=INK, fontsize=10, fontweight="bold", pad=8)
    ax.set_xlabel(below, color=MUTED, fontsize=9)
