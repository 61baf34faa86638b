"""Completions before and after the move, side by side, with the tokens that changed marked."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

from vgf.report.page_parts import small, table
from vgf.report.text_rows import Sample

__all__ = ["SAMPLE_STYLE", "samples_table"]

SAMPLE_STYLE = """
.samples td,.samples th{text-align:left;vertical-align:top;white-space:normal}
.samples td:nth-child(n+2):nth-child(-n+4){white-space:pre-wrap;overflow-wrap:anywhere;min-width:13rem}
.samples td:nth-child(n+5){white-space:nowrap}
mark{background:#ffe3a3;color:#1c2128;border-radius:3px;padding:0 1px}
"""
_MOST = 40  # rows; the file has the others


def samples_table(samples: Sequence[Sample], configured: tuple[str, float | None]) -> str:
    """HTML of the completions, those of the configured method and budget first; empty without any.

    Args:
        samples: in the order of the file.
        configured: method and budget.
    """
    if not samples:
        return ""
    ordered = sorted(samples, key=lambda sample: (sample.method, sample.budget) != configured)
    columns = {
        "method": lambda s: escape(s.method) + small(f"{s.budget:g}, seed {s.seed}"),
        "prompt": lambda s: escape(s.prompt),
        "before (same noise, no move)": lambda s: escape("".join(s.before)),
        "after": lambda s: _marked(s),
        "proxy": lambda s: _change(s.proxy_before, s.proxy_after),
        "gold": lambda s: _change(s.gold_before, s.gold_after),
    }
    more = len(ordered) - _MOST
    note = f'<p class="note">{more} more are in samples.json.</p>' if more > 0 else ""
    return f'<div class="samples">{table(columns, ordered[:_MOST])}</div>{note}'


def _marked(sample: Sample) -> str:
    """The moved completion; neighbours that changed share one mark, which begins at the first letter."""
    words = ""
    for token, changed in zip(sample.after, sample.changed, strict=True):
        word = token.lstrip()
        space = token[: len(token) - len(word)]
        words += escape(space) + (f"<mark>{escape(word)}</mark>" if changed and word else escape(word))
    return re.sub(r"</mark>(\s*)<mark>", r"\1", words)


def _change(before: float, after: float) -> str:
    both = [f"{value:.2f}" if math.isfinite(value) else "-" for value in (before, after)]
    return " \N{RIGHTWARDS ARROW} ".join(both)
