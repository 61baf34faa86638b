"""The episodes of the report page: GIFs of the run's folder ``videos``, inside the page itself."""

from __future__ import annotations

import base64
import json
from html import escape
from pathlib import Path
from typing import Any

from vgf.report.points import number_text

__all__ = ["films"]

_MOST_BYTES = 8_000_000  # of all films on a page; the others stay in their folder


def films(run_dir: Path) -> str:
    """The films with what is on them, as HTML; empty without any that can be read."""
    figures, left = [], _MOST_BYTES
    for entry in _index(run_dir / "videos"):
        try:
            content = (run_dir / "videos" / Path(str(entry["file"])).name).read_bytes()
            words = _words(entry)
        except (OSError, KeyError, TypeError, ValueError):
            continue
        if not content.startswith(b"GIF8") or (left := left - len(content)) < 0:
            continue
        source = f"data:image/gif;base64,{base64.b64encode(content).decode()}"
        figures.append(
            f'<figure><img src="{source}" alt="{escape(words)}"><figcaption>{escape(words)}</figcaption></figure>'
        )
    return f'<div class="films">{"".join(figures)}</div>' if figures else ""


def _index(folder: Path) -> list[dict[str, Any]]:
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return [entry for entry in index if isinstance(entry, dict)] if isinstance(index, list) else []


def _words(entry: dict[str, Any]) -> str:
    """Such as ``qgf at 0.02, episode 0: success after 57 steps``."""
    budget = float(entry["budget"])
    where = f"{entry['method']} at {budget:g}" if budget else f"{entry['method']} at 0 (unmoved)"
    if entry["success"] is None:
        ended = f"return {number_text(float(entry['return']))}"
    else:
        ended = "success" if entry["success"] else "failure"
    return f"{where}, episode {entry['episode']}: {ended} after {entry['length']} steps"
