"""Draws ``idea.svg``, the idea in one picture: ``python docs/draw_idea.py``.

Everything is computed: the reference flow has the closed-form velocity of a mixture of two Gaussians, the particles are
moved by ``vgf.transport("qgf", ...)``, and the critic that moves them is wrong where there are no data.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import torch
from torch import Tensor

from vgf import Budget, Moved, transport
from vgf.tasks.toy_mixture import Mixture

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

__all__ = ["draw"]

DATA = Mixture([0.6, 0.4], [[-0.35, -0.25], [0.15, 0.35]], [0.13, 0.13])
SIZES = (0.0, 0.6, 3.0)
TITLES = (
    "size 0: the reference, exactly",
    "size 0.6: more value, still near the data",
    "size 3: the critic is exploited",
)
BLUE, RED, GREY = "#2a6fbb", "#c2452d", "#8a8f98"


def truth(x: Tensor) -> Tensor:
    """What an action is worth: best at the upper right edge of the data. [..., 2] -> [...]."""
    return -(x - x.new_tensor([0.35, 0.45])).square().sum(-1)


def critic(context: Tensor, x: Tensor) -> Tensor:
    """What the critic has learned of it: right among the data, too high far from them. [K, 2] -> [1, K]."""
    return (truth(x) + 0.5 * x.sum(-1).relu().square()).unsqueeze(0)


def moved(size: float, count: int) -> Moved:
    """``count`` particles under a budget; the noise is the same for every size."""
    noise = torch.randn(1, count, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    context = torch.zeros(1, 1, dtype=torch.float64)
    return transport("qgf", context, noise, budget=Budget(size=size), critic=critic, velocity=DATA.velocity)


def draw(path: Path) -> None:
    """Three budgets side by side, and the score against the distance travelled."""
    plt.rcParams.update({"svg.hashsalt": "vgf", "svg.fonttype": "path", "font.size": 9})
    figure, panels = plt.subplots(2, 2, figsize=(6.4, 6.4), layout="constrained")
    for panel, size, title in zip(panels.flat, SIZES, TITLES, strict=False):
        _particles(panel, moved(size, 24))
        panel.set_title(title, fontsize=10)
    _scores(panels[1, 1])
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _particles(panel: Axes, result: Moved) -> None:
    side = torch.linspace(-1, 1, 81, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(side, side, indexing="xy"), -1)  # [81, 81, 2]
    panel.contourf(side, side, DATA.density(grid.view(-1, 2)).view(81, 81), levels=10, cmap="Blues", alpha=0.55)
    panel.contour(side, side, critic(grid, grid)[0], levels=9, colors=GREY, linewidths=0.5)
    assert result.twins is not None
    twins, ends = result.twins[0], result.particles[0]
    for start, end in zip(twins.tolist(), ends.tolist(), strict=True):
        panel.plot(*zip(start, end, strict=True), color=RED, linewidth=0.7, alpha=0.8)
    panel.scatter(*twins.T, s=14, facecolors="white", edgecolors=BLUE, linewidths=1, zorder=3, label="twin")
    panel.scatter(*ends.T, s=14, color=RED, zorder=4, label="particle")
    panel.set(xlim=(-1, 1), ylim=(-1, 1), xticks=[], yticks=[], aspect="equal")
    panel.legend(loc="lower right", fontsize=8, framealpha=0.9)


def _scores(panel: Axes) -> None:
    results = [moved(size, 400) for size in torch.linspace(0, SIZES[-1] ** 0.5, 23).square().tolist()]
    distance = [float(result.travelled.mean()) for result in results]
    panel.plot(distance, [float(result.values.mean()) for result in results], color=RED, label="the critic that moves")
    panel.plot(
        distance, [float(truth(r.particles).mean()) for r in results], color=BLUE, label="what it is worth (a judge)"
    )
    for size in SIZES:
        result = moved(size, 400)
        at = float(result.travelled.mean())
        panel.scatter(
            [at, at], [float(result.values.mean()), float(truth(result.particles).mean())], color="black", s=16
        )
        panel.annotate(
            f"{size:g}", (at, float(result.values.mean())), xytext=(-4, 6), textcoords="offset points", ha="right"
        )
    panel.set_title("mean value against distance travelled, by size", fontsize=10)
    panel.set(xlabel="travelled: RMS distance from the twin", yticks=[])
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(loc="upper left", fontsize=8, frameon=False)


if __name__ == "__main__":
    draw(Path(__file__).with_name("idea.svg"))
