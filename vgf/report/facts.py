"""What a run directory says about how it was run: configuration, training metrics, versions.

Readers for the report. A run that was interrupted leaves files out or cuts them off, and a report of
what is there is worth more than an error: what cannot be read comes back empty.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Curve", "Facts", "flatten", "read_facts"]

# Shown first, in this order; all other metrics follow by name.
_FIRST = ("flow/loss", "critic/loss", "value/loss", "critic/q_mean", "critic/action_gradient_norm", "steps_per_second")


@dataclass(frozen=True)
class Curve:
    """One metric over training.

    Attributes:
        name: its key in ``metrics.jsonl``.
        steps, values: where it was logged and what it was, finite values only.
        not_finite: how many values were left out because they were NaN or infinite.
    """

    name: str
    steps: list[float]
    values: list[float]
    not_finite: int


@dataclass(frozen=True)
class Facts:
    """Everything but the scores.

    Attributes:
        config: resolved configuration, nested; empty when unreadable.
        environment: text of ``environment.txt``; empty when missing.
        noted: its lines of the form ``name: value``, names in lower case, such as ``command`` and ``data``.
        curves: one a metric.
        step: last training step that was logged, None without metrics.
        seconds: wall time of training so far, None without metrics.
    """

    config: Mapping[str, Any]
    environment: str
    noted: Mapping[str, str]
    curves: list[Curve]
    step: int | None
    seconds: float | None

    def get(self, *paths: str) -> Any:
        """The first of these dotted configuration keys that holds a plain value, else None."""
        plain = flatten(self.config)
        return next((plain[path] for path in paths if plain.get(path) is not None), None)


def read_facts(run_dir: Path) -> Facts:
    """Read ``config.yaml``, ``environment.txt`` and ``metrics.jsonl``; never raises for what they hold."""
    environment = _text(run_dir / "environment.txt").strip()
    noted = re.findall(r"^([\w ]+): *(.+)$", environment, re.MULTILINE)
    records = list(_records(_text(run_dir / "metrics.jsonl")))
    last = records[-1] if records else {}
    return Facts(
        config=_config(_text(run_dir / "config.yaml")),
        environment=environment,
        noted={name.strip().lower(): value.strip() for name, value in noted},
        curves=_curves(records),
        step=int(last["step"]) if last else None,
        seconds=_finite(last.get("seconds")),
    )


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested configuration as dotted keys: ``{"budget": {"size": 1}}`` -> ``{"budget.size": 1}``."""
    plain: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            plain.update(flatten(value, f"{prefix}{key}."))
        else:
            plain[f"{prefix}{key}"] = value
    return plain


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _config(text: str) -> Mapping[str, Any]:
    try:
        config = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return {}
    return config if isinstance(config, Mapping) else {}


def _records(text: str) -> Iterator[dict[str, Any]]:
    """Lines that are objects with a step; a torn line is none."""
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and _finite(record.get("step")) is not None:
            yield record


def _finite(value: Any) -> float | None:
    return float(value) if _is_number(value) and math.isfinite(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _curves(records: list[dict[str, Any]]) -> list[Curve]:
    by_step: dict[float, dict[str, Any]] = {}
    for record in records:  # a resumed run logs some steps again, and a step may be logged in parts
        by_step.setdefault(float(record["step"]), {}).update(record)
    names = {key for record in records for key in record if _is_number(record[key])} - {"step", "seconds"}
    ordered = [name for name in _FIRST if name in names] + sorted(names - set(_FIRST))
    return [_curve(name, by_step) for name in ordered]


def _curve(name: str, by_step: Mapping[float, Mapping[str, Any]]) -> Curve:
    logged = [(step, by_step[step][name]) for step in sorted(by_step) if name in by_step[step]]
    finite = [(step, value) for step, logged_value in logged if (value := _finite(logged_value)) is not None]
    return Curve(name, [step for step, _ in finite], [value for _, value in finite], len(logged) - len(finite))
