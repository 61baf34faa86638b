"""The figure of the toy problems, one row a problem. Built on ``Figure`` alone; pyplot stays untouched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from vgf.report.palette import GRID, INK, MUTED, PAPER, Style, bare, settings, styles
from vgf.tasks.toy_problems import BETTER, TARGET, Problem
from vgf.tasks.toy_results import Outcome
from vgf.transport import RULES

__all__ = ["draw_toy"]

_MAPS = (("best_of_n", 0), ("grad_step", 0), ("vgf", 0), ("vgf", -1), ("qgf", -1), ("bptt", -1))  # rule, which budget
_BINS = np.linspace(-1.0, 1.0, 61)
_OVERSHOOT = 7.0  # weight from which the Euler steps of qfql overshoot, see toy_problems.py
_DASHED = (0, (4, 2))


def draw_toy(
    problems: Sequence[Problem], outcomes: Sequence[Outcome], sweep: Sequence[Outcome], path: Path
) -> None:  # fmt: skip
    """Write the figure as a PNG of 1600 pixels width.

    Args:
        problems: bandit, trimodal and gaussian.
        outcomes: of all of them.
        sweep: trimodal over the weights, rules inside the flow.
        path: where to.
    """
    looks = styles(outcome.rule for outcome in outcomes)
    of = {problem.name: [o for o in outcomes if o.problem == problem.name] for problem in problems}
    bandit, trimodal, gaussian = problems
    with settings():
        figure = Figure(figsize=(12.5, 12.2), layout="constrained", facecolor=PAPER)
        ratios = (1.3, 1.0, 0.85)
        rows = np.asarray(figure.subfigures(3, 1, height_ratios=ratios, hspace=0.03), dtype=object)
        for row in rows:
            row.set_facecolor(PAPER)
        _draw_bandit(rows[0], bandit, of[bandit.name], looks)
        _draw_trimodal(rows[1], trimodal, of[trimodal.name], sweep, looks)
        _draw_gaussian(rows[2], gaussian, of[gaussian.name], looks)
        figure.savefig(path, format="png", dpi=128)


# --- bandit ---------------------------------------------------------------------------------------


def _draw_bandit(row: SubFigure, problem: Problem, outcomes: Sequence[Outcome], looks: dict[str, Style]) -> None:
    _head(
        row,
        "Two-bump bandit, learned critic: best-of-N stays in the data; moved particles reach the better top or pass it",
    )
    grid = row.add_gridspec(2, 4, width_ratios=[1, 1, 1, 1.75])
    rules = {name: [o for o in outcomes if o.rule == name] for name, _ in _MAPS}
    shown = [rules[name][which] for name, which in _MAPS if rules[name]]
    for number, outcome in enumerate(shown):
        _draw_map(row.add_subplot(grid[number // 3, number % 3]), problem, outcome, looks[outcome.rule])
    _draw_honesty(row.add_subplot(grid[:, 3]), outcomes, looks)


def _draw_map(ax: Axes, problem: Problem, outcome: Outcome, look: Style) -> None:
    line = torch.linspace(problem.low, problem.high, 81, dtype=torch.float64)
    reward = problem.truth(torch.cartesian_prod(line, line)).view(81, 81).T
    ax.contour(line, line, reward, levels=[0.2, 0.4, 0.55, 0.8, 0.95], colors=MUTED, linewidths=0.6, alpha=0.6)
    assert problem.samples is not None
    ax.scatter(
        problem.samples[:, 0], problem.samples[:, 1], s=2, color=MUTED, alpha=0.25, linewidths=0, rasterized=True
    )
    ax.plot(*BETTER, "+", color=INK, markersize=7, markeredgewidth=1.2, zorder=5)
    for before, after in zip(outcome.before.tolist(), outcome.acting.tolist(), strict=True):
        ax.plot(*zip(before, after, strict=True), color=look.colour, linewidth=0.8, alpha=0.5)
    ax.scatter(outcome.acting[:, 0], outcome.acting[:, 1], s=14, color=look.colour, zorder=4, linewidths=0)
    ax.set(xlim=(-1, 1), ylim=(-0.9, 1), xticks=[], yticks=[], aspect="equal")
    ax.set_facecolor("none")
    for spine in ax.spines.values():
        spine.set_color(GRID)
    ax.set_title(
        f"{outcome.rule}, {outcome.budget}", loc="left", fontsize=8.5, color=look.colour, fontweight="bold", pad=3
    )
    ax.annotate(
        f"reward {outcome.true_value:.2f}, learned {outcome.learned_value:.2f}", (0.97, 0.04), xycoords="axes fraction",
        ha="right", fontsize=7.5, color=INK,
    )  # fmt: skip


def _draw_honesty(ax: Axes, outcomes: Sequence[Outcome], looks: dict[str, Style]) -> None:
    """True reward against learned value: below the diagonal the learned critic is exploited."""
    bare(ax)
    low = min(0.2, *(o.true_value - 0.05 for o in outcomes))
    high = max(1.25, *((o.learned_value or 0.0) + 0.05 for o in outcomes))
    ax.plot([low, high], [low, high], color=MUTED, linewidth=0.9, linestyle=_DASHED)
    ax.fill_between([low, high], [low, high], low, color=GRID, alpha=0.45, linewidth=0, zorder=0)
    for name in dict.fromkeys(o.rule for o in outcomes):
        points = [o for o in outcomes if o.rule == name]
        xs, ys = [o.learned_value or 0.0 for o in points], [o.true_value for o in points]
        look = looks[name]
        ax.plot(xs, ys, color=look.colour, linewidth=1.0, alpha=0.6)
        ax.plot(xs[:-1], ys[:-1], look.marker, color=look.colour, markerfacecolor=PAPER, markersize=6, linestyle="")
        ax.plot(xs[-1], ys[-1], look.marker, color=look.colour, markersize=7, linestyle="", label=name)
    ax.annotate("critic exploited", (high - 0.02, low + 0.03), ha="right", fontsize=8.5, color=MUTED, style="italic")
    ax.annotate("value = reward", (0.49, 0.67), fontsize=8.5, color=MUTED, style="italic")
    ax.set(xlim=(min(0.48, *(o.learned_value - 0.05 for o in outcomes if o.learned_value)), high), ylim=(low, 1.05))
    ax.set_xlabel("learned value of the acting particle", color=MUTED, fontsize=8.5)
    _title(ax, "true reward (hollow: small budget, filled: large)")
    ax.legend(loc="lower left", ncols=2, frameon=False, fontsize=8, labelcolor=INK)


# --- trimodal -------------------------------------------------------------------------------------


def _draw_trimodal(
    row: SubFigure, problem: Problem, outcomes: Sequence[Outcome], sweep: Sequence[Outcome], looks: dict[str, Style]
) -> None:  # fmt: skip
    _head(row, "Three modes, known Q = -(a - a*)²: the gradient at the noisy particle (qfql) leads away from a*")
    left, right = row.subplots(1, 2, width_ratios=[1.25, 1])
    _draw_ridges(left, problem, outcomes, looks)
    _draw_landing(right, sweep, looks)


def _draw_ridges(ax: Axes, problem: Problem, outcomes: Sequence[Outcome], looks: dict[str, Style]) -> None:
    """One histogram a rule at its larger budget, below the data."""
    bare(ax)
    ax.grid(visible=False)
    last = {o.rule: o for o in outcomes}  # the larger budget comes later
    line = torch.linspace(problem.low, problem.high, 401, dtype=torch.float64)
    top = len(last)
    density = problem.data.density(line[:, None])
    ax.fill_between(line, top, top + 0.85 * density / density.max(), color=MUTED, alpha=0.35, linewidth=0)
    for height, outcome in zip(range(top - 1, -1, -1), last.values(), strict=True):
        counts, _ = np.histogram(outcome.acting.flatten().numpy(), _BINS)
        look = looks[outcome.rule]
        ax.stairs(
            height + 0.85 * counts / counts.max(), _BINS, baseline=height, fill=True, color=look.colour, alpha=0.85
        )
        ax.axhline(height, color=GRID, linewidth=0.7, zorder=0)
        ax.annotate(
            f"{outcome.best_mode:.0%}", (1.03, height + 0.12), annotation_clip=False, fontsize=8, color=look.colour
        )
    ax.axvline(TARGET, color=INK, linewidth=0.9, linestyle=_DASHED)
    labels = ["data", *(f"{o.rule}, {o.budget.removeprefix('size=')}" for o in last.values())]
    ax.set_yticks([top + 0.25 - i for i in range(top + 1)], labels, fontsize=8)
    for label, name in zip(ax.get_yticklabels()[1:], last, strict=True):
        label.set_color(looks[name].colour)
    ax.set(xlim=(-1.0, 1.0), ylim=(-0.1, top + 1.0), xticks=[-1, -0.5, 0, TARGET, 1])
    ax.set_xticklabels(["-1", "-0.5", "0", "a*", "1"])
    _title(ax, "where the particles end, and share at a*")


def _draw_landing(ax: Axes, sweep: Sequence[Outcome], looks: dict[str, Style]) -> None:
    bare(ax)
    for name in dict.fromkeys(o.rule for o in sweep):
        points = [o for o in sweep if o.rule == name]
        strong = name in ("qfql", "qgf", "bptt")
        ax.plot(
            [o.size for o in points], [100 * (o.best_mode or 0.0) for o in points], label=name,
            color=looks[name].colour, marker=looks[name].marker, alpha=1.0 if strong else 0.7,
            linewidth=2.2 if strong else 1.0, markersize=6 if strong else 4, zorder=3 if strong else 2,
        )  # fmt: skip
    ax.axvspan(_OVERSHOOT, 10.5, color=GRID, alpha=0.5, linewidth=0, zorder=0)
    ax.annotate(
        "Euler steps of\nqfql overshoot", (_OVERSHOOT * 0.97, 27), ha="right", fontsize=8, color=MUTED, style="italic"
    )
    ax.set_xscale("log")
    ax.set_xticks([0.1, 0.3, 1, 3, 10], ["0.1", "0.3", "1", "3", "10"])
    ax.minorticks_off()
    ax.set(xlim=(0.09, 10.5), ylim=(-4, 104))
    ax.set_yticks([0, 50, 100], ["0 %", "50 %", "100 %"])
    ax.set_xlabel("guidance weight (norm-matched rules: part of the velocity)", color=MUTED, fontsize=8.5)
    _title(ax, "share that lands at a*")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8, labelcolor=INK)


# --- gaussian -------------------------------------------------------------------------------------


def _draw_gaussian(row: SubFigure, problem: Problem, outcomes: Sequence[Outcome], looks: dict[str, Style]) -> None:
    _head(
        row,
        "Gaussian data, quadratic Q: only the gradient of the posterior expectation (qpilots_m) ends in the exact tilt",
    )
    left, right = row.subplots(1, 2, width_ratios=[1.25, 1])
    _draw_densities(left, problem, outcomes, looks)
    _draw_distances(right, outcomes, looks)


def _draw_densities(ax: Axes, problem: Problem, outcomes: Sequence[Outcome], looks: dict[str, Style]) -> None:
    """Gaussian densities with each rule's moments: the ODEs are linear, so these are the laws themselves."""
    bare(ax)
    line = np.linspace(-2.0, 2.2, 400)
    assert problem.tilted is not None
    exact = _normal(line, *problem.tilted)
    ax.fill_between(line, exact, color=INK, alpha=0.14, linewidth=0)
    reference = _normal(line, problem.data.means.item(), problem.data.stds.item())
    ax.plot(line, reference, color=MUTED, linewidth=1.4, linestyle=_DASHED)
    for name, aside in (("qpilots_m", 26), ("qpilots_u", -30), ("grad_step", 0)):
        for outcome in [o for o in outcomes if o.rule == name][:1]:
            density = _normal(line, outcome.acting.mean().item(), outcome.acting.std().item())
            ax.plot(line, density, color=looks[name].colour, linewidth=2.0)
            peak = int(density.argmax())
            ax.annotate(
                f"{name}, {outcome.budget}" if RULES[name].where == "after" else name, (line[peak], density[peak]),
                xytext=(aside, 4), textcoords="offset points", ha="center", fontsize=8.5, fontweight="bold",
                color=looks[name].colour,
            )  # fmt: skip
    ax.annotate("reference", (0.75, 0.66), xytext=(4, 2), textcoords="offset points", fontsize=8.5, color=MUTED)
    ax.annotate("exact\ntilt", (problem.tilted[0] - 0.2, 0.4), ha="center", fontsize=8.5, color=INK)
    ax.set(yticks=[], ylim=(0, None))
    _title(ax, "law of the final particles")


def _draw_distances(ax: Axes, outcomes: Sequence[Outcome], looks: dict[str, Style]) -> None:
    bare(ax)
    ax.grid(visible=False)
    ordered = sorted(outcomes, key=lambda o: -(o.w2 or 0.0))
    limit = 1.0
    for height, outcome in enumerate(ordered):
        distance = outcome.w2 or 0.0
        ax.barh(height, min(distance, limit), height=0.66, color=looks[outcome.rule].colour)
        ax.annotate(
            f"{distance:.2f}" + (" (off the scale)" if distance > limit else ""),
            (min(distance, limit), height), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8,
        )  # fmt: skip
    names = [o.rule if o.budget == "size=1" else f"{o.rule}, {o.budget}" for o in ordered]
    ax.set_yticks(range(len(ordered)), names, fontsize=8)
    ax.set(xlim=(0, 1.25 * limit), xticks=[0, 0.5, 1.0])
    _title(ax, "W2 to the exact tilt")


def _normal(x: np.ndarray, mean: float, std: float) -> np.ndarray:
    return np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))


def _title(ax: Axes, text: str) -> None:
    ax.set_title(text, loc="left", fontsize=9, color=INK, fontweight="bold")


def _head(row: SubFigure, text: str) -> None:
    row.suptitle(text, x=0.006, ha="left", fontsize=11, fontweight="bold", color=INK)
