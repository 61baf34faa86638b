"""What is pushed names the files of this machine, and does not say where they are."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

__all__ = ["last_part", "without_home", "without_paths"]

_WORD = re.compile(r"[^\s,]+")


def last_part(text: str) -> str:
    """The last part of a path of this machine, absolute or there to be found; anything else as it is."""
    path = os.path.expanduser(text)  # any text will do, as for os.path.exists; pathlib raises at some
    return Path(path).name or text if os.path.isabs(path) or os.path.exists(path) else text


def without_home(text: str) -> str:
    """A text in which the home directory is ``~``."""
    home = str(Path.home())
    return text.replace(f"{home}/", "~/") if len(home) > 1 else text


def without_paths(value: Any) -> Any:
    """JSON values, nested ones as well, in which every path is its last part: whole strings and words of sentences."""
    if isinstance(value, dict):
        return {key: without_paths(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_paths(one) for one in value]
    if not isinstance(value, str):
        return value
    whole = last_part(value)  # before its words: a path may hold spaces
    return without_home(_WORD.sub(lambda word: last_part(word[0]), whole))
