"""An experiment of a pilot and three runs, to be written into a registry."""

from __future__ import annotations

from pathlib import Path

import yaml

PILOT = {
    "name": "pilot", "pilot": True, "command": 'python -m vgf.run "eval.baselines=[qgf@0.1,qgf@0.3]" run_dir=pilot',
}  # fmt: skip
SEEDS = {
    "grid": {"seed": [0, 1, 2]},
    "command": 'python -m vgf.run seed={seed} "eval.baselines=[{chosen}]" run_dir=s{seed}',
}


def written(folder: Path, *runs: dict, measures: list[dict] | None = None) -> None:
    whole = {"name": "e", "title": "e", "question": "?", "status": "not run", "group": "Control", "runs": list(runs)}
    whole["measures"] = measures or []
    (folder / "e.yaml").write_text(yaml.safe_dump(whole))
