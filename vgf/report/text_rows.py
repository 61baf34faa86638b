"""What a language run writes: ``eval.csv`` (one row a prompt and seed), ``text.json`` and ``samples.json``.

Scores are checked strictly, as they are the result. The two JSON files only describe: what cannot be read of
them comes back empty, with a warning in words.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vgf.report.csv_rows import measured, method_name, number, read_rows, whole

__all__ = ["COLUMNS", "FIELDS", "Sample", "TextRow", "TextRun", "read_samples", "read_text_rows", "read_text_run"]

_MEASURED = (
    "proxy", "gold", "second", "proxy_selected", "gold_selected", "second_selected", "nll", "kl", "length",
    "distinct2", "tokens_changed", "travelled", "seconds", "candidates",
)  # fmt: skip
COLUMNS = ("step", "method", "budget", "seed", "prompt", *_MEASURED)  # that a file must have
FIELDS = (*_MEASURED, "beats_chosen")  # which files of earlier versions lack


@dataclass(frozen=True)
class TextRow:
    """One prompt, sampled with one seed by one method at one budget.

    Attributes:
        step: training step of the checkpoint.
        method: ``reference``, a value-gradient method, a baseline, or a name of one's own.
        budget: value of the method's own knob, >= 0.
        seed: of the noise; the same seed and prompt mean the same noise for every method.
        prompt: number of the held-out prompt.
        values: field of :data:`FIELDS` -> value, NaN where nothing was measured. ``proxy`` (the reward that
            guides), ``gold`` (a judge that never guides) and ``second`` (another judge) are means over the moved
            particles, without selection; ``*_selected`` belong to the completion that the proxy likes best among
            ``candidates``. ``nll``: nats a token under the reference; ``kl``: nats a completion from it;
            ``length``: tokens; ``distinct2``, ``tokens_changed``: shares; ``travelled``: RMS distance of token
            embeddings from the twin's, in standard deviations of an embedding's entry; ``seconds``: a prompt;
            ``beats_chosen``: share of completions that the judge scores above the data set's own.
    """

    step: int
    method: str
    budget: float
    seed: int
    prompt: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class TextRun:
    """``text.json``: what was configured, and how the run calls its models.

    Attributes:
        method, budget: what the run is configured to move with; empty and None when it did not say.
        knob: what ``budget`` counts: ``size``, ``steps``, or ``budget`` when unknown.
        picked: ``before`` evaluation, by ``auto``, or ``after`` the fact; empty when unknown.
        particles, seeds, prompts: how many; None when unknown.
        proxy, gold, second, reference: names of the models.
        warnings: lines for the reader, such as those of null-answer probes.
        facts: label -> text or number, shown under how it was run.
    """

    method: str = ""
    budget: float | None = None
    knob: str = "budget"
    picked: str = ""
    particles: int | None = None
    seeds: int | None = None
    prompts: int | None = None
    proxy: str = ""
    gold: str = ""
    second: str = ""
    reference: str = ""
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """A completion and its twin, the same noise without a move.

    Attributes:
        method, budget, seed: what moved it; NaN and empty where unknown.
        prompt: its text.
        before, after: tokens of the unmoved and of the moved completion.
        changed: a flag a token of ``after``.
        proxy_before, proxy_after, gold_before, gold_after: rewards of the two; NaN when unknown.
    """

    method: str
    budget: float
    seed: str
    prompt: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    changed: tuple[bool, ...]
    proxy_before: float
    proxy_after: float
    gold_before: float
    gold_after: float


def read_text_rows(run_dir: Path) -> list[TextRow]:
    """Rows of ``eval.csv``, sorted by step, method, budget, seed and prompt.

    Raises:
        UserError: the file is missing, unreadable or empty, lacks a column, or a row is broken.
    """
    return read_rows(run_dir, COLUMNS, _row, key=lambda row: (row.step, row.method, row.budget, row.seed, row.prompt))


def _row(cells: Mapping[str, str]) -> TextRow:
    row = TextRow(
        step=whole(cells, "step"),
        method=method_name(cells),
        budget=number(cells, "budget"),
        seed=whole(cells, "seed"),
        prompt=whole(cells, "prompt"),
        values={name: measured(cells, name) for name in FIELDS},
    )
    if row.budget < 0:
        raise ValueError(f"budget={row.budget:g} is below 0")
    return row


def read_text_run(run_dir: Path) -> TextRun:
    """``text.json``; a run that did not finish may have none, and then nothing is configured."""
    content, warnings = _json(run_dir / "text.json")
    if content is None:
        return TextRun(warnings=warnings)
    if not isinstance(content, Mapping):
        return TextRun(warnings=("text.json holds no object; what was configured is unknown",))
    told, facts, budget = content.get("warnings"), content.get("facts"), _number(content.get("budget"))
    return TextRun(
        method=_word(content.get("method")),
        budget=budget if math.isfinite(budget) else None,
        knob=_word(content.get("knob")) or "budget",
        picked=_word(content.get("picked")),
        particles=_count(content.get("particles")),
        seeds=_count(content.get("seeds")),
        prompts=_count(content.get("prompts")),
        proxy=_word(content.get("proxy")),
        gold=_word(content.get("gold")),
        second=_word(content.get("second")),
        reference=_word(content.get("reference")),
        warnings=tuple(map(str, told)) if isinstance(told, list) else (),
        facts=facts if isinstance(facts, Mapping) else {},
    )


def read_samples(run_dir: Path) -> tuple[list[Sample], tuple[str, ...]]:
    """Completions of ``samples.json``, and warnings about what of it could not be read."""
    content, warnings = _json(run_dir / "samples.json")
    entries = content if isinstance(content, list) else []
    samples = [_sample(entry) for entry in entries if isinstance(entry, Mapping)]
    if lost := len(entries) - len(samples) + (content is not None and not isinstance(content, list)):
        warnings = (*warnings, f"samples.json: {lost} of its entries is no completion")
    return samples, warnings


def _sample(entry: Mapping[str, Any]) -> Sample:
    before, after = _tokens(entry.get("before")), _tokens(entry.get("after"))
    flags = entry.get("changed")
    flags = [bool(flag) for flag in flags] if isinstance(flags, list) else []
    return Sample(
        method=_word(entry.get("method")),
        budget=_number(entry.get("budget")),
        seed=_word(entry.get("seed")),
        prompt=_word(entry.get("prompt")),
        before=before,
        after=after,
        changed=tuple([*flags, *[False] * len(after)][: len(after)]),
        **{name: _number(entry.get(name)) for name in ("proxy_before", "proxy_after", "gold_before", "gold_after")},
    )


def _json(path: Path) -> tuple[Any, tuple[str, ...]]:
    try:
        return json.loads(path.read_text(encoding="utf-8")), ()
    except FileNotFoundError:
        return None, ()
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        return None, (f"{path.name} cannot be read ({reason}); the report is without it",)


def _word(value: Any) -> str:
    return "" if value is None else str(value)


def _tokens(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else tuple(_word(value))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
