"""The pictures of the page: drawn from the recorded values alone, or copied from a run whose numbers are recorded."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from matplotlib.ticker import StrMethodFormatter

from vgf.errors import UserError, did_you_mean
from vgf.files import atomic_path
from vgf.report.cost import percent_axis
from vgf.report.palette import GRID, INK, MUTED, PAPER, bare, settings, spare_styles
from vgf.results.experiment import Experiment, Figure
from vgf.results.grid import measures_of
from vgf.results.text import cells_of

__all__ = ["copy_figures", "write_figures"]


def write_figures(experiment: Experiment, docs: Path) -> list[Path]:
    """Draw those of an experiment's figures that no run has drawn, and say which.

    Raises:
        UserError: a figure of a measure without a value.
    """
    drawn = [figure for figure in experiment.figures if figure.source is None]
    for figure in drawn:
        with settings(), atomic_path(docs / figure.file) as path:
            _drawn(experiment, figure).savefig(path, format="png", dpi=160)
    return [docs / figure.file for figure in drawn]


def copy_figures(experiment: Experiment, docs: Path, folder: Path, runs: Collection[str]) -> list[Path]:
    """Copy those of an experiment's figures that these runs have drawn, and say which.

    Args:
        docs: where figures go.
        folder: holds the run directories.
        runs: those whose numbers are recorded.
    """
    copied = []
    for figure in experiment.figures:
        picture = folder / (figure.source or "")
        if picture.is_file() and str(picture.parent.relative_to(folder)) in runs:
            with atomic_path(docs / figure.file) as path:
                shutil.copyfile(picture, path)
            copied.append(docs / figure.file)
    return copied


def _drawn(experiment: Experiment, figure: Figure) -> Picture:
    """Lines over a number where the measures' columns are numbers, else a dot and its interval for each measure."""
    values = experiment.expected.values if experiment.expected else {}
    for name in figure.measures:
        if name not in values:
            raise UserError(
                f"{experiment.name}.yaml, {figure.file}: {name!r} has no value.{did_you_mean(name, values)}"
            )
    lines = all(cells_of(name)[1].replace(".", "", 1).isdigit() for name in figure.measures)
    size = (6.4, 3.8) if lines else (6.4, 0.9 + 0.27 * len(figure.measures))
    picture = Picture(figsize=size, layout="constrained", facecolor=PAPER)
    axes = picture.add_subplot()
    bare(axes)
    scale = 100.0 if measures_of(experiment)[figure.measures[0]].field == "success" else 1.0
    points = [[scale * x for x in _with_ends(values[name])] for name in figure.measures]
    if lines:
        _draw_lines(axes, figure.measures, points, percent=scale == 100)
        # Below the axes: where lines leave room inside, their intervals may not.
        names = axes.get_legend_handles_labels()
        picture.legend(*names, loc="outside lower left", ncols=4, frameon=False, fontsize=9, labelcolor=INK)
    else:
        _draw_dots(axes, figure.measures, points, percent=scale == 100)
    axes.set_title(experiment.title, loc="left", color=INK, fontsize=10, fontweight="bold", pad=8)
    axes.set_xlabel(figure.axis, color=MUTED, fontsize=9)
    return picture


def _with_ends(numbers: Sequence[float]) -> Sequence[float]:
    """Value and ends of its interval; of a value without one, the value itself."""
    return numbers if len(numbers) == 3 else [numbers[0]] * 3


def _draw_lines(axes: Axes, names: Sequence[str], points: Sequence[Sequence[float]], *, percent: bool) -> None:
    rows = list(dict.fromkeys(cells_of(name)[0] for name in names))
    for row, style in zip(rows, spare_styles(len(rows)), strict=True):
        mine = [(_place(name), point) for name, point in zip(names, points, strict=True) if cells_of(name)[0] == row]
        xs = [x for x, _ in mine]
        axes.vlines(xs, [p[1] for _, p in mine], [p[2] for _, p in mine], color=style.colour, alpha=0.5, linewidth=1.6)
        axes.plot(xs, [p[0] for _, p in mine], marker=style.marker, color=style.colour, markersize=5, label=row)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    if percent:
        percent_axis(axes)
    axes.set_xticks(sorted({_place(name) for name in names}))  # the columns of the experiment's table


def _place(name: str) -> float:
    return float(cells_of(name)[1])


def _draw_dots(axes: Axes, names: Sequence[str], points: Sequence[Sequence[float]], *, percent: bool) -> None:
    places = range(len(names), 0, -1)
    (style,) = spare_styles(1)
    for place, (value, low, high) in zip(places, points, strict=True):
        axes.plot([low, high], [place, place], color=style.colour, linewidth=1.6, alpha=0.5)
        axes.plot(value, place, "o", color=style.colour, markersize=5)
    axes.set_yticks(list(places), list(names), color=INK, fontsize=9)
    axes.grid(axis="x", color=GRID)
    if percent:
        axes.set_xlim(-3, 103)
        axes.set_xticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.tick_params(axis="x", labelcolor=MUTED)
