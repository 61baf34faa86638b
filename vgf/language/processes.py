"""Work on every core: processes of one thread each take jobs until none is left.

Two threads on a decoding of the usual size are little faster than one, two processes are twice as fast. On a GPU one
process does it all.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from vgf.config import Config
from vgf.cores import cores
from vgf.errors import UserError
from vgf.language.hub import first_line, quietly

__all__ = ["share_out", "useful_processes"]


def useful_processes(config: Config, device: torch.device, jobs: int) -> int:
    """One a core, as far as there are jobs; one on a GPU, and where ``threads`` says how cores are used."""
    if device.type != "cpu" or config.threads is not None:
        return 1
    return max(1, min(config.eval.processes, len(cores()), jobs))


def share_out(
    what: str, work: Callable[..., Iterable[Any]], arguments: tuple[Any, ...], jobs: int, processes: int
) -> Iterator[Any]:
    """Do jobs 0 to ``jobs - 1`` in several processes; results come as they are ready.

    Args:
        what: what errors call it.
        work: ``(*arguments, places)`` -> results of the jobs that it takes from the iterator ``places``; a function at
            the top of a module.
        arguments: can be pickled.

    Raises:
        UserError: what keeps a process from its work.
    """
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    taken = context.Value("i", 0)  # jobs that have been handed out, in order
    workers = [
        context.Process(target=_work, args=(what, work, arguments, jobs, taken, results), daemon=True)
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    try:
        going = processes
        while going:
            found = _next(what, results, workers)
            if found is None:
                going -= 1
            elif isinstance(found, str):
                raise UserError(found)
            else:
                yield found
        for worker in workers:
            worker.join(10)
    finally:
        for worker in workers:
            worker.kill()


def _work(
    what: str, work: Callable[..., Iterable[Any]], arguments: tuple[Any, ...], jobs: int, taken: Any, results: Any
) -> None:
    """A process: results while there are jobs, then None; a sentence in their place when it cannot go on."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent hears them and ends its processes
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    try:
        with quietly():
            for found in work(*arguments, _places(taken, jobs)):
                results.put(found)
        results.put(None)
    except UserError as error:
        results.put(str(error))
    except MemoryError:
        results.put(f"out of memory in {what}; lower text.batch, transport.particles or eval.processes")
    except Exception as error:  # a trace from another process says less than one line from this one
        results.put(f"{what} failed: {type(error).__name__}: {first_line(error)}")


def _places(taken: Any, jobs: int) -> Iterator[int]:
    """Jobs that no other process has, until there are none."""
    while True:
        with taken.get_lock():
            place, taken.value = taken.value, taken.value + 1
        if place >= jobs:
            return
        yield place


def _next(what: str, results: Any, workers: list[Any]) -> Any:
    """The next result; a process that has died without one is an error."""
    while True:
        with contextlib.suppress(queue.Empty):
            return results.get(timeout=5)
        if dead := [worker.exitcode for worker in workers if worker.exitcode not in (None, 0)]:
            raise UserError(
                f"a process of {what} ended with status {dead[0]}; where memory is short, lower eval.processes"
            )
