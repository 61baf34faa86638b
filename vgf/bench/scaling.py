"""How the cost of VGF's update grows with particles, moves, width and batch: slopes on log axes, and the chart of them.

A slope of 1 is cost in proportion; below 1, something does not grow. Ours is measured in eager mode (a compiled
function is another one at every point), the plain PyTorch reference beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from vgf.bench.item import Item, Row
from vgf.bench.problems import Case
from vgf.bench.timing import Side, Speed, Steps, Times, race
from vgf.bench.updates import ours, plain
from vgf.files import atomic_path
from vgf.report.palette import INK, MUTED, PAPER, bare, settings, styles

__all__ = ["draw", "scaling", "slope"]

_BASE = Case("vgf", hidden=256, layers=3, batch=64)
_AXES: dict[str, tuple[int, ...]] = {
    "particles": (2, 5, 10, 20, 40),
    "moves": (1, 2, 4, 8),
    "hidden": (64, 128, 256, 512),
    "batch": (16, 64, 256),
}
_TITLES = {"particles": "particles N", "moves": "moves", "hidden": "width", "batch": "batch"}
_WHO = ("ours, eager", "plain PyTorch")


def scaling(speed: Speed) -> Item:
    """Milliseconds an update along four axes, the others held at 3x256, batch 64, N 10, 3 moves."""
    rows, slopes = [], {}
    builders: list[tuple[str, Callable[..., Steps], tuple[str, ...]]]
    builders = [(_WHO[0], ours, ()), (_WHO[1], plain, ("torch",))]
    for axis, points in _AXES.items():
        cases = {point: _at(axis, point) for point in points}
        sides = [
            Side(build, ({f"{who} / {point}": case for point, case in cases.items()}, *more))
            for who, build, more in builders
        ]
        run = race(sides, replace(speed, seconds=speed.seconds / 2))
        for who in _WHO:
            found = {point: run.times[f"{who} / {point}"] for point in points}
            slopes[f"{_TITLES[axis]}, {who}"] = slope(points, [times.seconds for times in found.values()])
            rows += [_row(axis, point, who, times, run.times) for point, times in found.items()]
    at_base = {row.who: row for row in rows if row.what == f"particles N = {_BASE.particles}"}
    mine, other = (at_base[who] for who in _WHO)
    assert mine.value is not None
    assert other.value is not None
    what = f"{_BASE.label}, 1 thread"
    return Item(
        "milliseconds/update",
        "lower",
        mine.value,
        other.value,
        mine.ratio,
        f"{_WHO[0]}: {what}",
        f"{_WHO[1]}: {what}",
        rows,
        {"slopes": slopes},
    )


def _at(axis: str, point: int) -> Case:
    changed: dict[str, Any] = {axis: point}
    return replace(_BASE, **changed)


def _row(axis: str, point: int, who: str, times: Times, all_times: Mapping[str, Times]) -> Row:
    other = all_times[f"{_WHO[1]} / {point}"]
    ratio = other.times_faster(times) if who == _WHO[0] else None
    return Row(f"{_TITLES[axis]} = {point}", who, 1e3 * times.seconds, times.spread, ratio)


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Exponent of the power law that fits best: least squares on log axes."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def draw(item: Mapping, path: Path) -> None:
    """The chart: one panel an axis, both implementations, each line named by its slope."""
    looks = styles(["vgf", "best_of_n"])
    look = dict(zip(_WHO, looks.values(), strict=True))
    with settings(**{"font.size": 9}):
        figure = Figure(figsize=(9.6, 2.9), facecolor=PAPER, layout="constrained")
        panels = figure.subplots(1, len(_AXES), sharey=True)
        for ax, (axis, points) in zip(panels, _AXES.items(), strict=True):
            bare(ax)
            ax.set(xscale="log", yscale="log")
            ax.set_title(_TITLES[axis], fontsize=9.5, color=INK, loc="left")
            for who in _WHO:
                y = [row["value"] for point in points for row in item["rows"] if _is(row, axis, point, who)]
                ax.plot(points, y, color=look[who].colour, marker=look[who].marker, markersize=4.5, linewidth=1.6)
                rate = item["extra"]["slopes"][f"{_TITLES[axis]}, {who}"]
                line = 0.98 - 0.1 * _WHO.index(who)  # lines rise: the upper left corner is free
                ax.text(0.03, line, f"slope {rate:.2f}", transform=ax.transAxes, va="top", color=look[who].colour)
            ax.set_xticks(points, [str(point) for point in points])
            ax.xaxis.set_minor_locator(ticker.NullLocator())
            ax.margins(x=0.12, y=0.25)
        panels[0].set_ylabel("milliseconds an update", color=MUTED)
        panels[0].yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        panels[0].yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        panels[0].yaxis.set_minor_locator(ticker.NullLocator())
        handles = list(panels[0].get_lines())
        figure.legend(handles, _WHO, loc="outside upper left", ncols=2, frameon=False, labelcolor=INK, fontsize=9)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=160, facecolor=PAPER)


def _is(row: Mapping, axis: str, point: int, who: str) -> bool:
    return row["what"] == f"{_TITLES[axis]} = {point}" and row["who"] == who
