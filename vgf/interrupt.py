"""Ctrl-C and SIGTERM that wait for a good moment: an update is finished before training stops.

Both end in a KeyboardInterrupt; SIGTERM's is :class:`Terminated`, so that the command line can answer each with the
exit status that shells and schedulers expect (130 and 143).
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["StopRequest", "Terminated", "deferred_interrupt", "ended_by_signal", "raise_on_sigterm"]


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM, as schedulers do."""


class StopRequest:
    """Whether somebody asked to stop, and whether they may wait."""

    def __init__(self) -> None:
        self.asked: KeyboardInterrupt | None = None
        self._waits = True

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within the block a signal interrupts instead of being noted: for what takes long and can be done again."""
        self._waits = False
        try:
            if self.asked:
                raise self.asked
            yield
        finally:
            self._waits = True

    def note(self, number: int, frame: Any) -> None:
        """The signal handler."""
        again, self.asked = self.asked, _interrupt(number)
        if again or not self._waits:
            raise self.asked


@contextmanager
def deferred_interrupt() -> Iterator[StopRequest]:
    """Note the first SIGINT or SIGTERM instead of raising; raise it at the end of the block.

    A second signal raises at once. Outside the main thread, where signals do not arrive, this does nothing.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if request.asked:
        raise request.asked


def raise_on_sigterm() -> None:
    """Have SIGTERM raise :class:`Terminated` wherever it is not deferred."""

    def end(number: int, frame: Any) -> None:
        raise _interrupt(number)

    signal.signal(signal.SIGTERM, end)


@contextmanager
def ended_by_signal() -> Iterator[None]:
    """End the process with one line on stderr where Ctrl-C (status 130) or SIGTERM (143) stops the block."""
    try:
        yield
    except KeyboardInterrupt as stop:
        print("vgf: stopped", file=sys.stderr)
        sys.exit(128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT))


def _interrupt(number: int) -> KeyboardInterrupt:
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
