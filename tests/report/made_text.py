"""Made-up language runs: rows of every prompt and seed whose means and gains are known by hand."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

from vgf.report.text_estimates import TextPoint
from vgf.report.text_points import summarise_text
from vgf.report.text_rows import COLUMNS, read_text_rows, read_text_run

PROMPTS, SEEDS = 8, 2
HIDDEN = {"method": "hidden", "knob": "steps", "budget": 4, "picked": "before"}


def base(prompt: int, seed: int) -> float:
    """Gold of the reference: mean 1.75 + 0.25 = 2 over 8 prompts and 2 seeds."""
    return prompt / 2 + seed / 2


def rows_of(method: str, budget: float, gain: float = 0.0, *, prompts: int = PROMPTS, **more: object) -> list[dict]:
    """Every prompt and seed; gold gains ``gain`` -0.1 or +0.1 by the prompt's parity, proxy twice as much."""
    rows = []
    for prompt in range(prompts):
        for seed in range(SEEDS):
            own = gain and gain + (0.1 if prompt % 2 else -0.1)
            level = base(prompt, seed)
            row = {"step": 10, "method": method, "budget": budget, "seed": seed, "prompt": prompt}
            row |= {"proxy": level + 2 * own, "gold": level + own, "second": level / 10}
            row |= {"proxy_selected": level + 1, "gold_selected": level + own, "nll": 2.5 + own, "kl": own * 3}
            row |= {"tokens_changed": min(abs(own), 1), "seconds": 0.2, "candidates": 16}
            rows.append(row | more)
    return rows


def a_run() -> list[dict]:
    """Gains by hand: gold +0.4, +0.6, +0.2 at 2, 4 and 8 steps; random 0 at 4; temperature +0.5; length 0."""
    best_of = [
        row | {"gold_selected": base(row["prompt"], row["seed"]) + math.log2(n) / 10}
        for n in (8, 16, 32)
        for row in rows_of("best_of_n", n, seconds=n * 0.0125, candidates=n)
    ]
    sweep = [row for steps, gain in ((2, 0.4), (4, 0.6), (8, 0.2)) for row in rows_of("hidden", steps, gain)]
    return [
        *rows_of("reference", 0, candidates=8, seconds=0.1), *sweep, *rows_of("random", 4), *rows_of("length", 4),
        *rows_of("temperature", 0.7, 0.5), *best_of,
    ]  # fmt: skip


def write_run(run_dir: Path, rows: list[dict], text: object = None) -> Path:
    run_dir.mkdir(parents=True, exist_ok=True)
    with open(run_dir / "eval.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]), restval="")
        writer.writeheader()
        writer.writerows(rows)
    if text is not None:
        (run_dir / "text.json").write_text(json.dumps(text))
    return run_dir


def points_of(run_dir: Path) -> dict[tuple[str, float], TextPoint]:
    return {point.key: point for point in summarise_text(read_text_rows(run_dir), read_text_run(run_dir))}
