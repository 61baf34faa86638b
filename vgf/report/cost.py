"""What methods cost: score against the milliseconds of an action, one mark a method.

The mark is the method's own configured budget, fixed before anything was evaluated; the bar is its 95 % interval,
and the thin line spans the scores of its whole sweep.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from vgf.methods import knob_of, load_method, method_names
from vgf.report.palette import INK, MUTED, Style
from vgf.report.points import Point, is_configured

__all__ = ["draw_cost", "name_ends", "percent_axis"]


def draw_cost(ax: Axes, points: Sequence[Point], looks: dict[str, Style]) -> None:
    """Draw the panel; methods whose configured budget was not evaluated are marked at their first one."""
    success = points[0].success
    unit = 100 if success else 1
    shown = []
    for method in dict.fromkeys(point.method for point in points):
        sweep = [point for point in points if point.method == method]
        own = (method, knob_of(load_method(method))) if method in method_names() else None
        point = next((p for p in sweep if is_configured(p, own)), sweep[0])
        colour, marker = looks[method].colour, looks[method].marker
        scores = [p.score * unit for p in sweep]
        ax.vlines(point.milliseconds, min(scores), max(scores), colors=colour, linewidth=0.9, alpha=0.6)
        ax.vlines(point.milliseconds, point.low * unit, point.high * unit, colors=colour, linewidth=4, alpha=0.22)
        ax.plot(point.milliseconds, point.score * unit, marker, color=colour, markersize=7, zorder=3)
        shown.append((point.milliseconds, point.score * unit, method, colour))
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.margins(x=0.12)
    if success:
        percent_axis(ax)
    name_ends(ax, [(score, method, colour) for _, score, method, colour in shown])
    title = "success" if success else "return"
    ax.set_title(f"{title} at each method's own budget", loc="left", color=INK, fontsize=10, fontweight="bold", pad=8)
    ax.set_xlabel("milliseconds of an action (log scale)", color=MUTED, fontsize=9)


def percent_axis(ax: Axes) -> None:
    """A y axis of percentages."""
    ax.set_ylim(-4, 104)
    ax.set_yticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"])


def name_ends(ax: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write names right of the panel at their lines' height, kept apart when lines are close."""
    bottom, top = ax.get_ylim()
    room = 0.065 * (top - bottom)
    height = -math.inf
    for y, name, colour in sorted(ends):
        height = max(y, height + room)
        short = name if len(name) <= 24 else f"{name[:22]}..."
        ax.annotate(
            short, (1, height), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points",
            color=colour, fontsize=9, va="center", annotation_clip=False,
        )  # fmt: skip
