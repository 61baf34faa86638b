"""The model card: what a run is, what it scores, the command that made it, and how to load it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from vgf.config import Config
from vgf.errors import UserError
from vgf.language.adapters import adapter_path
from vgf.methods import knob_of
from vgf.played import read_played
from vgf.report.episodes import read_evaluations
from vgf.report.facts import read_facts
from vgf.report.points import interval_text, latest, number_text, score_text, summarise, with_knobs
from vgf.report.text_estimates import TextPoint
from vgf.report.text_points import summarise_text
from vgf.report.text_rows import read_text_rows, read_text_run

__all__ = ["model_card"]

_CONTROL = """from vgf import Budget, load

policy = load("{name}")
action = policy.act(obs, budget=Budget({knob}={value:g}), seed=0)  # {zero} is the reference"""
_TEXT = """from vgf import Budget, load

policy = load("{name}")
policy.generate(["..."], budget=Budget({knob}={value:g}), seed=0)  # {zero}: best of N samples of {source}"""


def model_card(run_dir: Path, config: Config, repo: str, licence: str) -> str:
    """README.md of a run that is pushed.

    Args:
        run_dir: of the run.
        config: as it is pushed.
        repo: its name on the hub.
        licence: one of the hub's names.
    """
    is_text, name = config.task == "llm_reward", repo.split("/")[-1]
    facts = read_facts(run_dir)
    table, metrics = _text_scores(run_dir) if is_text else _scores(run_dir)
    subject = config.text.model if is_text else str(config.env or config.task)
    code = (_TEXT if is_text else _CONTROL).format(
        name=name,
        knob=config.transport.knob,
        value=knob_of(config),
        zero=f"Budget({config.transport.knob}=0)",
        source="the adapted model" if adapter_path(run_dir).is_dir() else "the reference",
    )
    versions = "\n".join(line for line in facts.environment.splitlines() if not line.startswith("command: "))
    curve = "![score against the budget](curve.png)\n\n" if (run_dir / "curve.png").is_file() else ""
    return f"""---
{yaml.safe_dump(_metadata(config, is_text, licence, subject, metrics), sort_keys=False).strip()}
---

# {name}

A reference ({subject}) whose samples value gradients move; method `{config.method}`, and a transport budget that says
how far, given with every call. Trained and evaluated with vgf.

## Scores

{table}

{curve}## Use

```bash
vgf pull {repo}
```

```python
{code}
```

## How it was made

```bash
{facts.noted.get("command", "(not recorded)")}
```

```
{versions or "(not recorded)"}
```

Settings: [config.yaml](config.yaml). Licence: {licence}, as chosen by whoever pushed this.
"""


def _metadata(
    config: Config, is_text: bool, licence: str, subject: str, metrics: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    kind = "text-generation" if is_text else "reinforcement-learning"
    found: dict[str, Any] = {
        "license": licence, "library_name": "vgf", "pipeline_tag": kind,
        "tags": ["vgf", "value-gradient", config.method, config.task],
    }  # fmt: skip
    if is_text and subject != "reference":
        found["base_model"] = subject
    if metrics:
        data = {"name": str(config.env or config.text.prompts), "type": str(config.env or config.text.prompts)}
        result = {"task": {"type": kind}, "dataset": data, "metrics": list(metrics)}
        found["model-index"] = [{"name": config.method, "results": [result]}]
    return found


def _scores(run_dir: Path) -> tuple[str, list[dict[str, Any]]]:
    try:
        points = latest(with_knobs(summarise(read_evaluations(run_dir)), read_played(run_dir)))
    except UserError:
        return "Not played in an environment.", []
    rows = [
        [p.method, f"{p.knob} {p.budget:g}", score_text(p), interval_text(p), number_text(p.travelled)] for p in points
    ]
    name = "success" if points[0].success else "return"
    table = _table(["method", "budget", f"{name}, {points[0].episodes} episodes", "95 % interval", "travelled"], rows)
    return table, [_metric(f"{name}, {p.method} at {p.knob} {p.budget:g}", p.score) for p in points]


def _text_scores(run_dir: Path) -> tuple[str, list[dict[str, Any]]]:
    try:
        points: list[TextPoint] = summarise_text(read_text_rows(run_dir), read_text_run(run_dir))
    except UserError:
        return "Not evaluated.", []
    columns = [c for c in ("proxy", "gold", "second", "nll", "kl") if math.isfinite(points[0].means[c].mean)]
    rows = [[p.method, f"{p.budget:g}", *(number_text(p.means[c].mean) for c in columns)] for p in points]
    gold = [p for p in points if math.isfinite(p.means["gold"].mean)]
    return _table(["method", "budget", *columns], rows), [
        _metric(f"gold reward, {p.method} at {p.budget:g}", p.means["gold"].mean) for p in gold
    ]


def _metric(name: str, value: float) -> dict[str, Any]:
    return {"type": name.split(",")[0].replace(" ", "-"), "name": name, "value": round(float(value), 4)}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
