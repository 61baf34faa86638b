"""Independent pieces of work on threads of our own, instead of threads inside every operation.

An update of small networks is thousands of operations of microseconds. OpenMP would wake its threads for each of them,
which costs more than it gains as soon as something else uses the cores. Here a thread takes a whole piece (a loss with
its backward pass, a share of the rows) and computes it alone: PyTorch lets go of Python's lock inside operations. The
results are those of one piece after the other, bit for bit, because no sum is divided between threads.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["evenly", "set_side_threads", "side_by_side", "side_threads"]

T = TypeVar("T")

_threads = 1  # pieces at the same time, the caller's included
_pool: ThreadPoolExecutor | None = None  # the others; made when first needed


def set_side_threads(threads: int) -> None:
    """How many pieces :func:`side_by_side` works on at the same time, >= 1; 1, the default, is a plain loop."""
    global _threads
    if threads != _threads:
        _forget_pool(wait=True)
    _threads = threads


def side_threads() -> int:
    """What :func:`set_side_threads` has set."""
    return _threads


def side_by_side(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Results of all jobs, in order; jobs must not write to the same tensors.

    The caller works too and always takes the first job, so put the one that calls ``side_by_side`` itself there: the
    caller never waits for a thread that has not begun, which makes such nesting safe. Jobs run with the caller's
    gradient mode, autocast and number of threads inside an operation. Traced by a compiler, they are a plain loop.

    Raises:
        The exception of the earliest job that raised one, as a plain loop would, once no job is running any more.
    """
    if _threads == 1 or len(jobs) < 2 or torch.compiler.is_compiling():
        return [job() for job in jobs]
    pending = deque(enumerate(jobs))
    results: dict[int, T] = {}
    failures: dict[int, BaseException] = {}

    def do(number: int, job: Callable[[], T]) -> None:
        try:
            results[number] = job()
        except BaseException as error:  # handed to the caller, whose loop it ends
            failures[number] = error

    def work() -> None:
        while not failures:
            try:
                number, job = pending.popleft()
            except IndexError:
                return
            do(number, job)

    first = pending.popleft()
    helpers = _submit(_in_the_mode_of_the_caller(work), min(_threads, len(jobs)) - 1)
    try:
        do(*first)
        work()
        _finish(helpers)
    except BaseException as error:  # Ctrl-C outside a job
        failures[-1] = error
        _finish(helpers)
    if failures:
        raise failures[min(failures)]
    return [results[number] for number in range(len(jobs))]


def evenly(tensors: Iterable[Tensor], parts: int) -> list[list[Tensor]]:
    """Tensors in at most that many parts with about as many entries each."""
    divided: list[list[Tensor]] = [[] for _ in range(parts)]
    entries = [0] * parts
    for tensor in sorted(tensors, key=Tensor.numel, reverse=True):
        least = entries.index(min(entries))
        divided[least].append(tensor)
        entries[least] += tensor.numel()
    return [part for part in divided if part]


def _submit(work: Callable[[], None], count: int) -> list[Future[None]]:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(_threads - 1, thread_name_prefix="vgf-side-by-side")
    return [_pool.submit(work) for _ in range(count)]


def _finish(helpers: list[Future[None]]) -> None:
    """Wait for those that have begun; the caller has left nothing for the others to do."""
    wait([helper for helper in helpers if not helper.cancel()])


def _in_the_mode_of_the_caller(work: Callable[[], None]) -> Callable[[], None]:
    """PyTorch keeps these settings for each thread."""
    gradients, inside = torch.is_grad_enabled(), torch.get_num_threads()
    casts, kind = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def run() -> None:
        if torch.get_num_threads() != inside:
            torch.set_num_threads(inside)
        # Autocast's cache is one for all threads, each of which empties it when it is done.
        with torch.set_grad_enabled(gradients), torch.autocast("cpu", kind, casts, cache_enabled=False):
            work()

    return run


def _forget_pool(wait: bool = False) -> None:
    """Threads do not survive a fork, and a pool has as many as when it was made."""
    global _pool
    if _pool is not None and wait:
        _pool.shutdown()
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
