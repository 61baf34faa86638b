"""A registry that tests may write in, and runs that are not run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from vgf.results import registry, runner


@pytest.fixture
def experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: list[str]) -> Path:
    """A registry of two: ``tiny`` trains, ``more`` evaluates its run again."""
    folder = tmp_path / "registry"
    folder.mkdir()
    overrides = [word for word in tiny if not word.startswith(("eval.budgets", "budget.size"))]
    points = '"eval.budgets=[0]" method=reference "eval.baselines=[qgf@0.1]" eval.videos=0'
    for name, runs in {
        "tiny": [{"command": f"python -m vgf.run {' '.join(overrides)} {points} run_dir=a"}],
        "more": [
            {"command": 'python -m vgf.run mode=eval run=b method=qgf "eval.budgets=[0.3]"', "copy": "tiny/a"},
        ],
    }.items():
        whole = {"name": name, "title": name, "question": "?", "status": "not run", "group": "Control", "runs": runs}
        budget = 0.1 if name == "tiny" else 0.3
        whole["measures"] = [
            {"name": "far", "method": "qgf", "budget": budget, "field": "travelled", "statistic": "mean"}
        ]
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
    monkeypatch.setattr(registry, "folder", lambda: folder)
    return folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commands that would have been run, each of which leaves scores behind; one that says ``fail`` fails."""
    commands: list[str] = []

    def pretend(words: list[str], folder: Path) -> int:
        commands.append(" ".join(words[3:]))
        run = folder / dict(word.split("=", 1) for word in words if "=" in word)["run_dir"]
        run.mkdir(parents=True, exist_ok=True)
        (run / "config.yaml").write_text("method: reference\n")
        rows = [f"1,qgf,{b},{e},0,{s},1,0.1,0,1,0" for b, s in ((0.1, 0), (0.3, 1)) for e in range(4)]
        header = "step,method,budget,episode,return,success,length,travelled,value,milliseconds,judge"
        (run / "eval.csv").write_text("\n".join([header, *rows, ""]))
        return 3 if "fail" in commands[-1] else 0

    monkeypatch.setattr(runner, "_ended", pretend)
    return commands
