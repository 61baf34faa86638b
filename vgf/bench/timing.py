"""One way to time everything: interleaved turns (A B C, C B A, ...), each side in a process of its own.

Whatever else the machine does falls on all sides alike, and a ratio is the median over turns of the ratios within one
turn. Every other turn goes backwards, so that no side always finds the caches and the clock rate that one of the others
has left. A process is bound to its cores before any library is loaded, so that PyTorch's and JAX's thread pools are
equally large: PyTorch gets ``OMP_NUM_THREADS``, JAX sizes its pool by the cores it may run on. Building, compiling and
the first calls are not counted.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from vgf.cores import cores
from vgf.errors import UserError
from vgf.inherited import inherited

__all__ = ["Race", "Side", "Speed", "Times", "race"]

Steps = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Side:
    """What one process times.

    Attributes:
        build: a module-level function, called in the process; returns the calls to time, by name. A call returns
            when its work is done.
        arguments: of ``build``; picklable.
    """

    build: Callable[..., Steps]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Speed:
    """How long to measure: ``turns`` of each call, each of at least ``seconds`` and at least one call."""

    turns: int = 9
    seconds: float = 1.0
    warm_up: int = 3  # calls that are not counted

    @staticmethod
    def quick() -> Speed:
        """For a first look."""
        return Speed(turns=3, seconds=0.05, warm_up=1)


@dataclass
class Times:
    """Measurements of one call.

    Attributes:
        wall: seconds of every single call, one list a turn.
        processor: seconds of processor time a call, all threads counted, one number a turn.
        reports: the numbers that the last call of each turn returned, of calls that return a dictionary of numbers.
    """

    wall: list[list[float]] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    reports: list[dict[str, float]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Median over turns of a turn's mean seconds a call."""
        return statistics.median(self._means())

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles of the turns' means, as a share of their median."""
        low, high = np.quantile(self._means(), [0.25, 0.75])
        return float(high - low) / 2 / self.seconds

    def quantile(self, share: float) -> float:
        """Seconds that this share of all calls take at most."""
        return float(np.quantile(np.concatenate(self.wall), share))

    def times_faster(self, other: Times) -> float:
        """Median over turns of the other's seconds a call, divided by ours."""
        return _paired(other._means(), self._means())

    def processor_ratio(self, other: Times) -> float:
        """The same in processor time, which other work on the machine disturbs less."""
        return _paired(other.processor, self.processor)

    def _means(self) -> list[float]:
        return [statistics.fmean(turn) for turn in self.wall]


def _paired(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


@dataclass(frozen=True)
class Race:
    """Measurements by call, and the largest resident memory of each call's process in MB."""

    times: Mapping[str, Times]
    peak_mb: Mapping[str, float]


def race(sides: Iterable[Side], speed: Speed, *, threads: int = 1) -> Race:
    """Time all calls of all sides in turns.

    Args:
        sides: their calls have different names.
        speed: how long.
        threads: cores, and PyTorch's threads, of every process.

    Raises:
        UserError: a process failed or died.
    """
    with ExitStack() as stack:
        processes = [stack.enter_context(_Process(side, threads, speed.warm_up)) for side in sides]
        calls = [(name, process) for process in processes for name in process.names]
        times = {name: Times() for name, _ in calls}
        for turn in range(speed.turns):
            for name, process in calls if turn % 2 == 0 else reversed(calls):
                wall, processor, report = process.ask(name, speed.seconds)
                times[name].wall.append(wall)
                times[name].processor.append(processor)
                times[name].reports.append(report)
        return Race(times, {name: process.ask(None, 0.0) for name, process in calls})


class _Process:
    """The parent's end of a process that times one side. Use as a context manager."""

    def __init__(self, side: Side, threads: int, warm_up: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, side, threads, warm_up), name="vgf-bench")
        with _bound_to(threads):
            self._process.start()
        theirs.close()
        try:
            self.names: list[str] = self._receive()
        except BaseException:
            self.close()
            raise

    def ask(self, name: str | None, seconds: float) -> Any:
        """One turn as :func:`_turn` returns it; without a name, the peak memory in MB."""
        self._pipe.send((name, seconds))
        return self._receive()

    def _receive(self) -> Any:
        try:
            worked, answer = self._pipe.recv()
        except (EOFError, OSError):
            raise UserError("a process that measures died (out of memory?); see the lines above") from None
        if not worked:
            raise UserError(f"a process that measures failed: {answer}")
        return answer

    def close(self) -> None:
        """Stop the process."""
        self._pipe.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.terminate()

    def __enter__(self) -> _Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def _bound_to(threads: int) -> Iterator[None]:
    """Processes started within inherit so many cores and threads (Linux; elsewhere only the threads)."""
    all_cores = cores()
    _bind(all_cores[-threads:])
    try:
        with inherited(OMP_NUM_THREADS=str(threads)):
            yield
    finally:
        _bind(all_cores)


def _bind(chosen: list[int]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, chosen)


def _serve(pipe: Connection, side: Side, threads: int, warm_up: int) -> None:
    """The process itself: build, warm up, then answer until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops us
    try:
        import torch

        torch.set_num_threads(threads)
        steps = side.build(*side.arguments)
        for step in steps.values():
            for _ in range(warm_up):
                step()
        pipe.send((True, list(steps)))
        while True:
            name, seconds = pipe.recv()
            pipe.send((True, _peak_mb() if name is None else _turn(steps[name], seconds)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent has what it wants
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        first = (str(error).splitlines() or [""])[0]
        pipe.send((False, f"{type(error).__name__}: {first} ({os.path.basename(where.filename)}:{where.lineno})"))


def _turn(step: Callable[[], object], seconds: float) -> tuple[list[float], float, dict[str, float]]:
    """Seconds of every call, processor seconds a call, and the numbers that the last one returned."""
    wall: list[float] = []
    report: object = None
    began, processor = time.perf_counter(), time.process_time()
    while not wall or time.perf_counter() - began < seconds:
        before = time.perf_counter()
        report = step()
        wall.append(time.perf_counter() - before)
    found = report if isinstance(report, dict) else {}
    numbers = {name: float(value) for name, value in found.items() if isinstance(value, int | float)}
    return wall, (time.process_time() - processor) / len(wall), numbers


def _peak_mb() -> float:
    """Of this process alone: getrusage tells no less than the parent had when it started the process."""
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return round(int(line.split()[1]) * 1024 / 1e6, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)
