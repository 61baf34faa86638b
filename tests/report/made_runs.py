"""Made-up run directories: a configuration and an ``eval.csv`` each."""

from __future__ import annotations

import csv
from pathlib import Path

from vgf.report.episodes import COLUMNS


def make_run(
    folder: Path,
    rates: dict[tuple[str, float], float],
    *,
    episodes: int = 10,
    success: bool = True,
    **changes: object,
) -> Path:
    """A run of qgf at 0.02 in which (method, budget) succeeds in a share of its episodes; ``changes`` are its keys."""
    settings = {
        "task": "ogbench",
        "env": "maze-v0",
        "method": "qgf",
        "trainer": "offline",
        "seed": 0,
        "run_dir": str(folder),
    } | changes
    folder.mkdir(parents=True)
    lines = [f"{key}: {value}" for key, value in settings.items()]
    (folder / "config.yaml").write_text("\n".join([*lines, "transport: {knob: size}", "budget: {size: 0.02}", ""]))
    with (folder / "eval.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for (method, budget), rate in rates.items():
            for e in range(episodes):
                won = int(e < round(rate * episodes))
                told = (-50.0 + 40 * won, won if success else "", 50, budget, 1.5, 2.0)
                writer.writerow([100, method, budget, e, *told])
    return folder


SWEEP = {("qgf", 0.0): 0.1, ("qgf", 0.02): 0.8, ("qgf", 0.1): 0.5, ("best_of_n", 0.0): 0.3}
