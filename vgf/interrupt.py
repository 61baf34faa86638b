"""Ctrl-C and SIGTERM that wait for a good moment: an update is finished before training stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["StopRequest", "deferred_interrupt"]


@dataclass
class StopRequest:
    """Whether somebody asked to stop."""

    asked: bool = False


@contextmanager
def deferred_interrupt() -> Iterator[StopRequest]:
    """Note the first SIGINT or SIGTERM instead of raising; raise KeyboardInterrupt at the end of the block.

    A second signal raises at once. Outside the main thread, where signals do not arrive, this does nothing.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: Any) -> None:
        if request.asked:
            raise KeyboardInterrupt
        request.asked = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if request.asked:
        raise KeyboardInterrupt
