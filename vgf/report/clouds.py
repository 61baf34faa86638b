"""Particles before and after the move at a few held-out states: ``particles.npz`` of a run, and its figure."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vgf.files import atomic_path
from vgf.report.palette import GRID, INK, MUTED, PAPER, inline_svg, settings, styles

__all__ = ["Clouds", "cloud_svgs", "read_clouds", "write_clouds"]

_INCHES = (2.9, 2.9)


@dataclass(frozen=True)
class Clouds:
    """Particles of one method at one budget.

    Attributes:
        method, budget, step: what moved them; budget is a value of the method's knob.
        states: numbers of the states in the run's probe, [S].
        particles, twins: moved and unmoved, in action units, [S, N, D].
    """

    method: str
    budget: float
    step: int
    states: np.ndarray
    particles: np.ndarray
    twins: np.ndarray


def write_clouds(run_dir: Path, clouds: Clouds) -> None:
    """Write ``particles.npz``."""
    with atomic_path(run_dir / "particles.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **vars(clouds))


def read_clouds(run_dir: Path) -> Clouds | None:
    """What ``particles.npz`` holds; None where there is none, or none that can be read."""
    try:
        with np.load(run_dir / "particles.npz", allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in ("states", "particles", "twins")}
            told = str(stored["method"]), float(stored["budget"]), int(stored["step"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    shape = arrays["particles"].shape
    if len(shape) != 3 or 0 in shape or arrays["twins"].shape != shape or arrays["states"].shape != shape[:1]:
        return None
    return Clouds(*told, **arrays) if all(np.isfinite(array).all() for array in arrays.values()) else None


def cloud_svgs(clouds: Clouds) -> list[str]:
    """One picture a state, all to the same scale: twins hollow, particles filled, a line from one to the other."""
    planes = [_plane(twins, particles) for twins, particles in zip(clouds.twins, clouds.particles, strict=True)]
    reach = max(float(np.ptp(np.concatenate(plane[:2]), axis=0).max()) for plane in planes) * 0.55 or 1.0
    return [_picture(clouds, row, plane, reach) for row, plane in enumerate(planes)]


def _plane(twins: np.ndarray, particles: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Twins and particles [N, D] in two dimensions, and what the axes are.

    Two coordinates are shown as they are; of more, the two principal components of both clouds together.
    """
    size = twins.shape[1]
    if size <= 2:
        pad = np.zeros((len(twins), 2 - size))
        names = [f"action {i}" for i in range(size)] + [""] * (2 - size)
        return np.hstack([twins, pad]), np.hstack([particles, pad]), names
    both = np.concatenate([twins, particles])
    centre = both.mean(0)
    _, lengths, axes = np.linalg.svd(both - centre, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2, np.abs(axes[:2]).argmax(1)].diagonal())[:, None]  # [2, D], signs pinned
    shares = lengths**2 / max(float((lengths**2).sum()), 1e-30)
    names = [f"component {i + 1} ({shares[i]:.0%})" for i in range(2)]
    return (twins - centre) @ axes.T, (particles - centre) @ axes.T, names


def _picture(clouds: Clouds, row: int, plane: tuple[np.ndarray, np.ndarray, list[str]], reach: float) -> str:
    twins, particles, names = plane
    colour = styles([clouds.method])[clouds.method].colour
    moved = float(np.sqrt(((clouds.particles[row] - clouds.twins[row]) ** 2).mean(-1)).mean())
    with settings():
        figure = Figure(figsize=_INCHES, layout="constrained")
        ax = figure.add_subplot()
        ax.set_facecolor("none")
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(GRID)
        ax.tick_params(colors=MUTED, labelsize=8, length=0)
        ax.add_collection(
            LineCollection(list(np.stack([twins, particles], 1)), colors=MUTED, linewidths=0.6, alpha=0.7)
        )
        ax.plot(*twins.T, "o", color=INK, markerfacecolor=PAPER, markersize=3.5, markeredgewidth=0.8)
        ax.plot(*particles.T, "o", color=colour, markersize=3.5, markeredgewidth=0)
        middle = (twins.mean(0) + particles.mean(0)) / 2
        ax.set_xlim(middle[0] - reach, middle[0] + reach)
        ax.set_ylim(middle[1] - reach, middle[1] + reach)
        ax.set_aspect("equal")
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.set_xlabel(names[0], color=MUTED, fontsize=8)
        ax.set_ylabel(names[1], color=MUTED, fontsize=8)
        title = f"state {clouds.states[row]}: travelled {moved:.3g}"
        ax.set_title(title, loc="left", color=INK, fontsize=9, fontweight="bold")
        return inline_svg(figure, f"particles before and after, {title}", f"cloud{row}")
