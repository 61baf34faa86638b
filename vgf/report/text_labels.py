"""Names beside marks, placed so that they cover neither each other nor the marks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

__all__ = ["Mark", "name_marks"]

_DIRECTIONS = ((1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
_DISTANCES = (8, 15, 24, 36)  # points
_NEAR = 15  # points; a name further away is joined to its mark
_BEAD = 4  # pixels from one to the next
_ANCHORS = {-1: "right", 0: "center", 1: "left"}
_LEVELS = {-1: "top", 0: "center", 1: "bottom"}


@dataclass(frozen=True)
class Mark:
    """A mark of a scatter panel, in data units, with the name to write beside it and that name's colour."""

    x: float
    y: float
    name: str
    colour: str


def name_marks(figure: Figure, panels: Sequence[tuple[Axes, Sequence[Mark]]]) -> None:
    """Write the names of all panels, after everything else of the figure has been drawn.

    Of the places around a mark the first that is free is taken, else the one that covers least; a thin line joins a
    name that stands far from its mark.
    """
    FigureCanvasAgg(figure)  # it measures text; saving chooses a canvas of its own
    figure.draw_without_rendering()  # the layout is settled only now,
    figure.set_layout_engine("none")  # and stays: names take no part in it
    for ax, marks in panels:
        taken = list(_covered(ax))
        for mark in marks:
            text = ax.annotate(
                mark.name, (mark.x, mark.y), xytext=(0, 0), textcoords="offset points", color=mark.colour,
                fontsize=8.5, annotation_clip=False,
            )  # fmt: skip
            text.set_in_layout(False)
            extent = text.get_window_extent()
            places = [(dx, dy, d) for d in _DISTANCES for dx, dy in _DIRECTIONS]
            boxes = [_box(ax, mark, place, extent) for place in places]
            costs = [_cost(box, taken, ax.get_window_extent()) for box in boxes]
            best = costs.index(min(costs))
            dx, dy, d = places[best]
            text.set(ha=_ANCHORS[dx], va=_LEVELS[dy])
            text.set_position((dx * d, dy * d))
            taken.append(boxes[best])
            if d > _NEAR:
                ax.annotate(
                    "", (mark.x, mark.y), xytext=(dx * d, dy * d), textcoords="offset points", annotation_clip=False,
                    arrowprops={"arrowstyle": "-", "color": mark.colour, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 4},
                ).set_in_layout(False)  # fmt: skip


def _covered(ax: Axes) -> Iterator[Bbox]:
    """What marks, lines and error bars cover, in pixels; lines as beads."""
    for line in ax.lines:
        vertices = ax.transData.transform(line.get_xydata())
        if line.get_linestyle() != "None":
            yield from _beads(vertices)
        if line.get_marker() not in ("None", None):
            half = line.get_markersize() * ax.figure.dpi / 144
            yield from (Bbox.from_extents(x - half, y - half, x + half, y + half) for x, y in vertices)
    for bars in (bundle for bundle in ax.collections if isinstance(bundle, LineCollection)):
        for bar in bars.get_segments():
            yield from _beads(ax.transData.transform(bar))


def _beads(vertices: NDArray[np.float64]) -> Iterator[Bbox]:
    """Small boxes along a polygon of pixels."""
    for start, end in pairwise(vertices):
        for share in np.linspace(0, 1, 2 + int(np.hypot(*(end - start)) / _BEAD)):
            x, y = start + share * (end - start)
            yield Bbox.from_extents(x - 1.5, y - 1.5, x + 1.5, y + 1.5)


def _box(ax: Axes, mark: Mark, place: tuple[int, int, int], extent: Bbox) -> Bbox:
    """Where a name of this extent would stand, in pixels."""
    dx, dy, d = place
    offset = d * ax.figure.dpi / 72
    x, y = ax.transData.transform((mark.x, mark.y))
    left = x + dx * offset + (dx - 1) / 2 * extent.width
    bottom = y + dy * offset + (dy - 1) / 2 * extent.height
    return Bbox.from_bounds(left, bottom, extent.width, extent.height)


def _cost(box: Bbox, taken: Sequence[Bbox], frame: Bbox) -> float:
    """Pixels of what is taken that a name would cover, and of itself outside the panel."""
    inside = _common(box, frame)
    return sum(_common(box, other) for other in taken) + 2 * (box.width * box.height - inside)


def _common(one: Bbox, other: Bbox) -> float:
    """Pixels that two boxes share."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(width, 0.0) * max(height, 0.0)
