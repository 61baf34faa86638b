"""What methods cost: score against the milliseconds of an action, one mark a method.

The mark is the method's own configured budget, fixed before anything was evaluated, or one that its name tells; the
bar is its 95 % interval, and the thin line spans the scores of its whole sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from vgf.methods import knob_of, load_method, method_names
from vgf.report.palette import INK, MUTED, Style
from vgf.report.points import Configured, Point, find
from vgf.report.text_labels import Mark

__all__ = ["draw_cost", "name_ends", "percent_axis", "spread"]


def draw_cost(ax: Axes, points: Sequence[Point], looks: dict[str, Style], configured: Configured = None) -> list[Mark]:
    """Draw the panel and return its marks, whose names are still to be written.

    A method whose own budget was not played is marked at the largest one that was, and named with it.
    """
    success = points[0].success
    unit = 100 if success else 1
    marks = []
    for method in dict.fromkeys(point.method for point in points):
        sweep = [point for point in points if point.method == method]
        own = find(sweep, _own_budget(method, configured))
        point = own or sweep[-1]
        colour, marker = looks[method].colour, looks[method].marker
        scores = [p.score * unit for p in sweep]
        ax.vlines(point.milliseconds, min(scores), max(scores), colors=colour, linewidth=0.9, alpha=0.6)
        ax.vlines(point.milliseconds, point.low * unit, point.high * unit, colors=colour, linewidth=4, alpha=0.22)
        ax.plot(point.milliseconds, point.score * unit, marker, color=colour, markersize=7, zorder=3)
        name = _short(method) if own else f"{_short(method)} at {point.budget:g}"
        marks.append(Mark(point.milliseconds, point.score * unit, name, colour))
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.margins(x=0.12)
    if success:
        percent_axis(ax)
    named = ", or at the one named" if any(" at " in mark.name for mark in marks) else ""
    title = f"{'success' if success else 'return'} at its own budget{named}"
    ax.set_title(title, loc="left", color=INK, fontsize=10, fontweight="bold", pad=8)
    ax.set_xlabel("milliseconds of an action (log scale)", color=MUTED, fontsize=9)
    return marks


def _own_budget(method: str, configured: Configured) -> Configured:
    """The budget a method is configured to act with: by the run, else by its file."""
    if configured and configured[0] == method:
        return configured
    return (method, knob_of(load_method(method))) if method in method_names() else None


def percent_axis(ax: Axes) -> None:
    """A y axis of percentages."""
    ax.set_ylim(-4, 104)
    ax.set_yticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"])


def name_ends(ax: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write names right of the panel at their lines' height, kept apart when lines are close and within the panel."""
    heights = spread([y for y, _, _ in ends], *ax.get_ylim())
    for height, (_, name, colour) in zip(heights, ends, strict=True):
        ax.annotate(
            _short(name), (1, height), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points",
            color=colour, fontsize=9, va="center", annotation_clip=False,
        )  # fmt: skip


def spread(places: Sequence[float], bottom: float, top: float) -> list[float]:
    """Heights as near to these places as lines of text of a panel can stand that do not overlap and do not leave it.

    Neighbours that are too close are pushed apart from their common middle (pooled, as in isotonic regression).
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    room = min(0.065 * (top - bottom), (top - bottom) / max(len(places), 1))
    pools: list[list[float]] = []  # of heights less the room that those below take up
    for rank, i in enumerate(order):
        pools.append([places[i] - rank * room])
        while len(pools) > 1 and fmean(pools[-2]) >= fmean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    levels = [fmean(pool) for pool in pools for _ in pool]
    highest = top - room / 2 - (len(places) - 1) * room
    heights = [0.0] * len(places)
    for rank, i in enumerate(order):
        heights[i] = min(max(levels[rank], bottom + room / 2), highest) + rank * room
    return heights


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:22]}..."
