"""``eval.csv`` of a language run: written as batches come, beside the rows that earlier calls have left.

Rows stay while they were made with the same model, prompts, sampling and rewards: methods are compared prompt by prompt
and seed by seed. Those of a method stay while it moves as it did, at whatever value of its knob. Those of a point that
is evaluated anew are replaced one after another, so that a call that is interrupted loses none; once it is through, the
point has the rows of this call alone.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from vgf.config import Config, MethodConfig
from vgf.files import atomic_write_text
from vgf.language.evaluation import TEXT_COLUMNS
from vgf.language.loading import note_parts, text_json
from vgf.language.rules import TEXT_RULES
from vgf.methods import load_method, method_names

__all__ = ["EvalTable"]

# Of text.*: which rows are made, or how fast, and not what is in them.
_FREE = (
    "batch", "cache", "seeds", "sweep_seeds", "sweep_prompts", "auto_prompts", "controls", "candidates", "sharper",
)  # fmt: skip
_OF_THE_METHOD = ("random", "length")  # controls that move as the configured method does

Cells = dict[str, str]


class EvalTable:
    """The file of one call.

    Args:
        run_dir: holds ``eval.csv``, and ``text.json``, which says what the rows there were made with.
        config: of this call.
    """

    def __init__(self, run_dir: Path, config: Config) -> None:
        self.path = run_dir / "eval.csv"
        self.rows: list[Cells] = []
        self.earlier = self._earlier(run_dir, config)

    def _earlier(self, run_dir: Path, config: Config) -> list[Cells]:
        settings, moves = _settings_sha256(config), _moves(config)
        before = json.loads(text_json(run_dir).read_text()) if text_json(run_dir).is_file() else {}
        rows: list[Cells] = []
        if self.path.is_file() and before.get("evaluation") == settings:
            with self.path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if _is_whole(row)]
        elif self.path.is_file():
            print(f"{self.path} was made with other models, prompts or sampling: its rows are replaced")
            self.path.unlink()  # before text.json speaks of the new ones
        known: dict[str, str] = before.get("moves", {})
        other = {name for name, how in moves.items() if known.get(name) != how}
        if gone := sorted(other & {row["method"] for row in rows}):
            print(f"{self.path}: {', '.join(gone)} moved otherwise before: those rows are replaced")
            rows = [row for row in rows if row["method"] not in other]
            _write(self.path, rows)  # before text.json speaks of the new ones
        note_parts(run_dir, evaluation=settings, moves=known | moves)
        return rows

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write rows beside the earlier ones of other points, prompts and seeds."""
        self.rows += [{name: _cell((row | {"step": 0}).get(name)) for name in TEXT_COLUMNS} for row in rows]
        self._replace(lambda row: (row["method"], row["budget"], row["seed"], row["prompt"]))

    def close(self) -> None:
        """Drop what earlier calls have left of the points of this one."""
        self._replace(lambda row: (row["method"], row["budget"]))

    def _replace(self, place: Callable[[Cells], tuple[str, ...]]) -> None:
        taken = {place(row) for row in self.rows}
        _write(self.path, [*(row for row in self.earlier if place(row) not in taken), *self.rows])


def _write(path: Path, rows: Iterable[Cells]) -> None:
    file = io.StringIO()
    writer = csv.DictWriter(file, TEXT_COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=_order))
    atomic_write_text(path, file.getvalue())


def _order(row: Mapping[str, str]) -> tuple[str, float, int, int]:
    return row["method"], float(row["budget"]), int(row["seed"]), int(row["prompt"])


def _is_whole(row: Cells) -> bool:
    """False for what somebody has cut off or written into the file."""
    try:
        _order(row)
    except (KeyError, TypeError, ValueError):
        return False
    return None not in row and None not in row.values()


def _settings_sha256(config: Config) -> str:
    """Hash of what rows of one table share; noise is in their column of seeds."""
    text = dataclasses.asdict(config.text)
    shared = {key: value for key, value in text.items() if key not in _FREE}
    shared |= {"seed": config.seed, "particles": config.transport.particles, "trainer": config.trainer}
    return _sha256(shared)


def _moves(config: Config) -> dict[str, str]:
    """Hash of how each method of a call moves, at whatever value of its knob."""
    controls = set(config.text.controls) & set(method_names(TEXT_RULES))
    moves = {name: _move_sha256(load_method(name)) for name in controls}
    return moves | dict.fromkeys([config.method, *_OF_THE_METHOD], _move_sha256(config))


def _move_sha256(method: MethodConfig) -> str:
    knob = method.transport.knob
    how = {key: value for key, value in dataclasses.asdict(method.transport).items() if key != "particles"}
    budget = {key: value for key, value in dataclasses.asdict(method.budget).items() if key not in (knob, "auto")}
    return _sha256({"method": method.method, "transport": how, "budget": budget})


def _sha256(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.6g}"
    return "" if value is None else str(value)
