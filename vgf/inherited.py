"""Environment variables for processes that are about to be started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["inherited"]


@contextmanager
def inherited(**values: str) -> Iterator[None]:
    """Processes started in the block find these variables; afterwards ours are what they were before.

    Libraries read such variables while they are loaded, and a spawned process loads them before it runs a line of ours:
    it cannot set them itself.
    """
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
