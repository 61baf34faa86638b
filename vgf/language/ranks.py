"""Several processes of one run, as ``accelerate launch`` starts them: who does what only one should do.

TRL's trainers use all processes. Everything else (fetching models, fitting value heads, measuring, evaluating, every
file of the run) is done by the first process; the others wait, and then find it done.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch

from vgf.language.hub import extra

__all__ = ["first_first", "from_first", "is_first", "join", "leave", "processes"]

T = TypeVar("T")

_PATIENCE = timedelta(hours=6)  # of processes that wait while the first one samples, fits and measures


def processes() -> int:
    """How many processes this run has."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one that writes files and evaluates."""
    return int(os.environ.get("RANK", "0")) == 0


def join(device: torch.device) -> None:
    """Meet the other processes, and take this process's own GPU; nothing where there is only one process."""
    if processes() > 1:
        extra("accelerate").PartialState(cpu=device.type == "cpu", timeout=_PATIENCE)


def leave() -> None:
    """Say goodbye: from here on no process waits for another."""
    if processes() > 1:
        _state().wait_for_everyone()
        _state().destroy_process_group()


@contextlib.contextmanager
def first_first() -> Iterator[None]:
    """The first process goes through the block while the others wait before it. Blocks must not be nested."""
    if processes() == 1:
        yield
        return
    with _state().main_process_first():
        yield


def from_first(make: Callable[[], T]) -> T:
    """What ``make`` gives in the first process, in all of them; the others do not call it."""
    if processes() == 1:
        return make()
    box: list[Any] = [make() if is_first() else None]
    extra("accelerate.utils").broadcast_object_list(box)
    found: T = box[0]
    return found


def _state() -> Any:
    return extra("accelerate").PartialState()
