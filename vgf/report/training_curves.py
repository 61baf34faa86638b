"""Small pictures of a training run for the report: one a logged metric, and the score over checkpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from vgf.report.facts import Curve
from vgf.report.palette import INK, MUTED, bare, inline_svg, settings, styles
from vgf.report.points import Configured, Point, is_configured

__all__ = ["metric_svg", "progress_svg"]

_SMALL_INCHES = (2.8, 1.75)
# Room for tick labels of eight characters. Measuring each picture would take as long as drawing it, and align no two.
_MARGINS = {"left": 0.23, "right": 0.95, "bottom": 0.16, "top": 0.86}
_LABELLED = 0.7  # right margin beside which names of lines are written
_MOST_BINS = 150


def metric_svg(curve: Curve) -> str:
    """One metric against the training step, as an ``<svg>`` element.

    Of more than 150 values the line is the mean of consecutive ones, and a band spans their range.
    """
    with settings():
        figure, ax = _small(curve.name)
        colour = styles(["qgf"])["qgf"].colour
        size = math.ceil(len(curve.values) / _MOST_BINS) or 1
        bins = [np.asarray(curve.values[i : i + size]) for i in range(0, len(curve.values), size)]
        steps = [float(np.mean(curve.steps[i : i + size])) for i in range(0, len(curve.steps), size)]
        if size > 1:
            lows, highs = [float(b.min()) for b in bins], [float(b.max()) for b in bins]
            ax.fill_between(steps, lows, highs, color=colour, alpha=0.18, linewidth=0)
        ax.plot(steps, [float(b.mean()) for b in bins], ".-" if len(bins) == 1 else "-", color=colour, linewidth=1.4)
        if min(curve.values) > 0 and max(curve.values) > 100 * min(curve.values):
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(numticks=5))
            ax.yaxis.set_minor_locator(NullLocator())
        else:
            ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.yaxis.set_major_formatter(FuncFormatter(_plain))  # a logarithmic axis brings one of its own
        ax.set_xlim(left=0)
        return inline_svg(figure, f"{curve.name} during training", f"metric-{curve.name}")


def progress_svg(points: Sequence[Point], configured: Configured) -> str:
    """Score of the configured budget and of its reference against the training step; empty with one checkpoint."""
    shown = {
        "configured": [point for point in points if is_configured(point, configured)],
        "reference": [point for point in points if configured and point.method == configured[0] and point.budget == 0],
    }
    if len(shown["configured"]) < 2 or configured is None:
        return ""
    with settings():
        unit = 100 if points[0].success else 1
        figure, ax = _small("success, %" if points[0].success else "return")
        figure.subplots_adjust(right=_LABELLED)
        colours = {"configured": styles([configured[0]])[configured[0]].colour, "reference": MUTED}
        for name, line in shown.items():
            steps = [point.step for point in line]
            lows, highs = [point.low * unit for point in line], [point.high * unit for point in line]
            ax.vlines(steps, lows, highs, colors=colours[name], alpha=0.4)
            ax.plot(steps, [point.score * unit for point in line], ".-", color=colours[name], linewidth=1.4)
            if line and (name == "configured" or configured[1] != 0):
                ax.annotate(
                    name, (1, line[-1].score * unit), xycoords=("axes fraction", "data"), xytext=(4, 0),
                    textcoords="offset points", color=colours[name], fontsize=9, va="center", annotation_clip=False,
                )  # fmt: skip
        ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.yaxis.set_major_formatter(FuncFormatter(_plain))
        ax.set_xlim(left=0)
        return inline_svg(figure, "score of each evaluated checkpoint; numbers in the table", "progress")


def _plain(value: float, _: int | None) -> str:
    """A tick's own number: no factor above the axis, where the title is."""
    return f"{value:.7g}".replace("-", "\N{MINUS SIGN}")


def _small(name: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SMALL_INCHES)
    figure.subplots_adjust(**_MARGINS)
    ax = figure.add_subplot()
    bare(ax)
    ax.tick_params(labelsize=9)
    ax.set_title(name, loc="left", color=INK, fontsize=9.5, fontweight="bold")
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    return figure, ax
