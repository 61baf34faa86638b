"""A finished run for the tests of its report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.made_rows import sweep, write_rows


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run: two checkpoints, three metrics, configuration and versions."""
    early = [replace(row, step=50) for row in sweep()]
    write_rows(tmp_path / "run", early + sweep())
    logged = {"flow/loss": 0.5, "critic/q_mean": -3, "odd": float("nan")}
    lines = [{"step": s, "seconds": s / 10, **logged} for s in range(1, 400)]
    (tmp_path / "run/metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 400, "flow/l')
    (tmp_path / "run/config.yaml").write_text("seed: 7\ntransport: {particles: 1, knob: size}\ntrain: {steps: 1000}\n")
    (tmp_path / "run/environment.txt").write_text("command: vgf task=ogbench\ndata: generated, seed 0\ntorch: 2.13.0\n")
    return tmp_path / "run"
