"""One exception for everything a user can put right.

``vgf.run`` prints its message as a single line and exits with status 2; no traceback. Whoever
raises it says *what* is wrong, *where*, and *what to do*.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["UserError", "did_you_mean"]


class UserError(ValueError):
    """Bad input or a failed environment, described in one line for the person at the terminal."""


def did_you_mean(name: str, valid: Iterable[str], count: int = 3) -> str:
    """Return ``" Did you mean 'a', 'b'?"`` for the nearest valid names, or ``""`` when none is near."""
    near = difflib.get_close_matches(name, list(valid), n=count, cutoff=0.5)
    return f" Did you mean {', '.join(repr(n) for n in near)}?" if near else ""
