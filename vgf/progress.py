"""Progress bars: lively on a terminal; in a log file a line now and then, never thousands."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

__all__ = ["progress_bar"]

_SECONDS_BETWEEN_LOG_LINES = 15.0


def progress_bar(description: str, total: int | None, unit: str, **settings: Any) -> tqdm:
    """Return a bar on stderr with rate and time left.

    Args:
        description: what is going on.
        total: how many there will be; None when unknown.
        unit: of what, in the singular.
        **settings: passed on to tqdm.
    """
    on_terminal = sys.stderr.isatty()
    pace = {"mininterval": 0.2} if on_terminal else {"mininterval": _SECONDS_BETWEEN_LOG_LINES, "ncols": 100}
    return tqdm(desc=description, total=total, unit=unit, **(pace | settings))
