"""The figure of ``python -m vgf.data info``: histograms of returns, lengths and every action dimension."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from vgf.data.recording import Recording
from vgf.report.palette import INK, MUTED, PAPER, bare, settings, styles

__all__ = ["MOST_ACTIONS", "draw_histograms"]

MOST_ACTIONS = 12  # dimensions drawn
_COLUMNS = 4
_MOST_BINS = 40
_LOOKS = styles(["qgf", "vgf", "qpilots_u"])


def draw_histograms(recording: Recording, path: Path, *, title: str) -> None:
    """Write the figure as a PNG: returns and lengths in the first row, actions below (12 dimensions at most)."""
    sizes = min(recording.actions.shape[1], MOST_ACTIONS)
    rows = 1 + -(-sizes // _COLUMNS)
    with settings():
        layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
        figure = Figure(figsize=(10.4, 1.0 + 2.1 * rows), layout=layout, facecolor=PAPER)
        figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK)
        grid = figure.add_gridspec(rows, _COLUMNS)
        half = _COLUMNS // 2
        with np.errstate(invalid="ignore"):  # of infinities
            returns = recording.returns
        _draw(figure.add_subplot(grid[0, :half]), returns, "return of an episode", "episodes", "qgf")
        _draw(figure.add_subplot(grid[0, half:]), recording.lengths, "length of an episode", "episodes", "vgf")
        for i in range(sizes):
            ax = figure.add_subplot(grid[1 + i // _COLUMNS, i % _COLUMNS])
            first = i % _COLUMNS == 0
            _draw(ax, recording.actions[:, i], f"action {i}", "transitions" if first else "", "qpilots_u")
        figure.savefig(path, format="png", dpi=140)


def _draw(ax: Axes, numbers: np.ndarray, title: str, unit: str, look: str) -> None:
    bare(ax)
    numbers = numbers[np.isfinite(numbers)]
    counts, edges = np.histogram(numbers, _edges(numbers))
    ax.stairs(counts, edges, fill=True, color=_LOOKS[look].colour, alpha=0.85)
    ax.set_title(title, loc="left", fontsize=9, color=INK, fontweight="bold")
    ax.set_ylabel(unit, color=MUTED, fontsize=8.5)
    ax.set_ylim(0, None if counts.any() else 1)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def _edges(numbers: np.ndarray) -> np.ndarray:
    """Edges of the bins: for few whole numbers, one bin each, so that no bin has twice the numbers of its neighbour."""
    if not numbers.size:
        return np.array([0.0, 1.0])
    low, high = float(numbers.min()), float(numbers.max())
    bins = int(np.clip(2 * np.sqrt(len(numbers)), 8, _MOST_BINS))
    if high - low < _MOST_BINS and (numbers == np.round(numbers)).all():
        return np.arange(low - 0.5, high + 1.0)
    return np.linspace(low, high, bins + 1) if low < high else np.array([low - 0.5, low + 0.5])
