"""The over-optimisation panel: what the critic that moves believes it gains, what the judge sees, and what is true.

Critic and judge are in units of value. The score's gain over budget 0 has units of its own: it is scaled so that its
largest gain is as high as the critic's, and the panel says how much that is. Where the critic goes on rising and the
other two do not, the critic is being exploited (the proxy and gold curves of Gao et al. 2022, arXiv 2210.10760).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes

from vgf.report.cost import name_ends
from vgf.report.palette import INK, MUTED
from vgf.report.points import Point, known, number_text

__all__ = ["draw_overoptimisation"]


def draw_overoptimisation(ax: Axes, sweep: Sequence[Point], place: Callable[[float], float], colour: str) -> None:
    """Draw gains over budget 0 of one method's sweep.

    Args:
        ax: an empty panel.
        sweep: points of one method, budgets upwards, the first of them budget 0.
        place: budget -> its place on the x axis.
        colour: of the method.
    """
    xs = [place(point.budget) for point in sweep]
    lines = {"critic": ([point.value_gain for point in sweep], colour, "-")}
    if known(sweep, "judge_gain"):
        lines["judge"] = ([point.judge_gain for point in sweep], colour, "--")
    if known(sweep, "score"):
        name, gains = _true_gain(sweep, max(map(abs, filter(math.isfinite, lines["critic"][0]))))
        lines[name] = (gains, INK, ":")
    ax.axhline(0, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=0)
    for ys, shade, dashes in lines.values():
        ax.plot(xs, ys, dashes, color=shade, linewidth=1.8, marker="o", markersize=4)
    ax.margins(y=0.1)
    ends = ((ys[-1], name, shade) for name, (ys, shade, _) in lines.items())
    name_ends(ax, [end for end in ends if math.isfinite(end[0])])


def _true_gain(sweep: Sequence[Point], highest: float) -> tuple[str, list[float]]:
    """The score's gain over budget 0, its largest as high as ``highest``, and what that is called."""
    gains = [point.score - sweep[0].score for point in sweep]
    most = max(gains, key=abs)
    unit = f"{100 * most:+.0f} points" if sweep[0].success else f"{'+' * (most > 0)}{number_text(most)}"
    if most == 0:
        return "score, no change", gains
    return f"score, {unit}", [gain / abs(most) * (highest or 1.0) for gain in gains]
