"""Kept scores say what was scored and not where it lay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vgf.results.grid import OneRun
from vgf.results.keep import keep


@pytest.mark.parametrize(("path", "kept"), [("/somewhere/of/mine/reward-1", "reward-1"), (None, None)])
def test_a_path_becomes_its_name(path: str | None, kept: str | None, tmp_path: Path):
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    (run / "eval.csv").write_text("success\n1\n")
    (run / "text.json").write_text(json.dumps({"proxy": "model:score", "reward_path": path}))
    done = keep([OneRun("main", {}, (), "a", None, False)], tmp_path / "runs", tmp_path / "kept")
    assert done == {"a"}
    found = json.loads((tmp_path / "kept" / "a" / "text.json").read_text())
    assert found == {"proxy": "model:score", "reward_path": kept}
