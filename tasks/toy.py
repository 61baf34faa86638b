"""The papers' low-dimensional problems, every rule on each of them, in seconds.

``demonstrate`` writes ``toy.csv`` and ``toy.png``. Problems and what is known about them: ``toy_problems.py``; their
exact reference flows: ``toy_mixture.py``; the picture: ``toy_figure.py``.

Every row of ``vgf.transport.RULES`` runs whose options can be given without a trained network; where a rule would
need one it gets the exact object (``a_vgf`` the exact gradient, ``robust_q`` the exact E[Q(x_1) | x_t] where there
is one). Budgets are fixed in the problems, and every one of them is reported.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from vgf.files import atomic_path, atomic_write_text
from vgf.tasks.toy_figure import draw_toy
from vgf.tasks.toy_problems import Problem, bandit, gaussian, trimodal
from vgf.tasks.toy_results import Outcome, run_problem, run_rule, runnable_rules
from vgf.transport import RULES, Budget

__all__ = ["SWEEP", "demonstrate", "sweep_weights"]

SWEEP = (0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_COLUMNS = ("problem", "rule", "budget", "true_value", "learned_value", "travelled", "best_mode", "w2")
_HEADINGS = ("rule", "budget", "true value", "learned", "travelled", "best mode", "W2 to tilt")
_TITLES = {
    "bandit": "bandit: two reward bumps, learned critic; the best particle of 16 acts",
    "trimodal": "trimodal: Q = -(a - a*)^2 is known; all particles act, best_of_n keeps one of 8",
    "gaussian": "gaussian: quadratic Q; inside rules follow the schedule of QPILOTS, Prop. 1",
}


def demonstrate(seed: int, folder: Path) -> str:
    """Run every rule on every problem and write ``toy.csv`` and ``toy.png`` into ``folder``.

    The same seed gives the same ``toy.csv``. It holds the table's rows and, as problem ``trimodal sweep``, the
    rules inside the flow over the weights of ``SWEEP``.

    Args:
        seed: of data, critic and particles, >= 0.
        folder: made when missing.

    Returns:
        The results as a table for the terminal, and where the files are.

    Raises:
        UserError: the files cannot be written.
    """
    problems = [bandit(seed), trimodal(seed), gaussian(seed)]
    outcomes = [outcome for problem in problems for outcome in run_problem(problem)]
    sweep = sweep_weights(problems[1], _inside(problems[1]), SWEEP)
    atomic_write_text(folder / "toy.csv", _as_csv([*outcomes, *sweep]))
    with atomic_path(folder / "toy.png") as path:
        draw_toy(problems, outcomes, sweep, path)
    return f"{_as_table(outcomes)}\n\nfigure: {folder / 'toy.png'}\ntable:  {folder / 'toy.csv'}"


def sweep_weights(problem: Problem, rules: Iterable[str], weights: Sequence[float]) -> list[Outcome]:
    """Rules inside the flow at every weight (the alpha of norm-matched rules)."""
    points = [run_rule(problem, name, Budget(size=weight)) for name in rules for weight in weights]
    return [replace(outcome, problem=f"{problem.name} sweep") for outcome in points]


def _inside(problem: Problem) -> list[str]:
    return [name for name in runnable_rules(problem) if RULES[name].where == "inside"]


def _as_csv(outcomes: Iterable[Outcome]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for outcome in outcomes:
        cells = (getattr(outcome, column) for column in _COLUMNS)
        writer.writerow(f"{cell:.6g}" if isinstance(cell, float) else cell for cell in cells)
    return file.getvalue()


def _as_table(outcomes: Iterable[Outcome]) -> str:
    lines = []
    last = ""
    for outcome in outcomes:
        if outcome.problem != last:
            last = outcome.problem
            lines += ["", _TITLES[last], _line(_HEADINGS)]
        share = None if outcome.best_mode is None else f"{outcome.best_mode:.0%}"
        numbers = (outcome.true_value, outcome.learned_value, outcome.travelled)
        cells = [None if number is None else f"{number:.3f}" for number in numbers]
        distance = None if outcome.w2 is None else f"{outcome.w2:.3f}"
        lines.append(_line((outcome.rule, outcome.budget, *cells, share, distance)))
    return "\n".join(lines[1:])


def _line(cells: Iterable[str | None]) -> str:
    rule, budget, *numbers = (cell or "" for cell in cells)
    return f"{rule:<14}{budget:<18}{''.join(f'{number:>12}' for number in numbers)}".rstrip()
