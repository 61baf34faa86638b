"""Device, threads, precision and compilation: the settings that change speed and nothing else a user sees.

``compile=on`` compiles an update's losses, particle transport and its value gradients included, and their backward
pass. ``compile=graph`` also records whole updates, batch and random draws to target networks, as CUDA graphs that a
single launch repeats ``train.updates_per_launch`` times. The part that needs a GPU has not been run yet.
"""

from __future__ import annotations

import contextlib
import importlib
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from vgf.config import Config
from vgf.cores import cores
from vgf.errors import UserError, did_you_mean
from vgf.side_by_side import set_side_threads

__all__ = [
    "COMPILE",
    "Recorder",
    "choose",
    "compiled",
    "pick_device",
    "precision_context",
    "processor",
    "records",
    "rounds",
    "use_cores",
]

COMPILE = ("off", "on", "graph")

T = TypeVar("T")


def choose(key: str, value: str, valid: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``valid``, else raise a UserError that names the key."""
    if value not in valid:
        raise UserError(f"{key}={value} is unknown; use one of {', '.join(valid)}.{did_you_mean(value, valid)}")
    return value


def pick_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU."""
    choose("device", name, ("auto", "cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda, but torch sees no CUDA device here; use device=cpu or device=auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def processor() -> str:
    """The processor's name, nothing that names the machine."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def use_cores(config: Config, device: torch.device, seeds: int = 1) -> None:
    """Divide the cores, or ``config.threads`` of them, between the terms of an update and the operations inside.

    Plain updates on the CPU compute two terms side by side, which costs nothing where other work keeps the cores busy.
    More threads inside an operation gain on idle cores and lose on busy ones; large networks and compiled updates, or
    who asks for more threads, get them.
    """
    count = config.threads or len(cores())
    together = min(_TERMS, count) if device.type == "cpu" and config.compile == "off" and seeds == 1 else 1
    inside = max(1, count // together)
    if config.threads is None and config.train.batch_size * config.net.hidden <= _LARGE:
        inside = 1 if config.compile == "off" else min(_TERMS, count)
    set_side_threads(together)
    torch.set_num_threads(inside)


_TERMS = 2  # critic beside value and cloning: about as much work each
_LARGE = 2**17  # entries of a batch of hidden activations


def rounds(device: torch.device, precision: str) -> bool:
    """Whether to multiply in bfloat16: where asked for and, with ``auto``, where the hardware does so natively."""
    choose("train.precision", precision, ("auto", "float32", "bfloat16"))
    return precision == "bfloat16" or (precision == "auto" and _multiplies_bfloat16(device))


def precision_context(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """Autocast to bfloat16 where :func:`rounds` says so."""
    if not rounds(device, precision):
        return contextlib.nullcontext()
    # Without autocast's cache of weights: every thread that leaves autocast empties it for all threads.
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def compiled(function: Callable[..., Any], setting: str) -> Callable[..., Any]:
    """torch.compile with a fallback: where no compiler works, one warning line and eager mode."""
    if choose("compile", setting, COMPILE) == "off":
        return function
    dynamo = importlib.import_module("torch._dynamo.config")  # takes a second: not for those who compile nothing
    # Value gradients inside the losses are compiled with them (torch 2.10 and newer; before, the graph breaks there).
    inside = {"trace_autograd_ops": True} if hasattr(dynamo, "trace_autograd_ops") else {}
    chosen = [torch.compile(function)]

    def call(*args: Any) -> Any:
        try:
            with dynamo.patch(inside):
                return chosen[0](*args)
        except Exception as error:
            if chosen[0] is function:
                raise
            _warn(f"compile={setting} does not work here ({_first_line(error)}); going on without")
            chosen[0] = function
            return function(*args)

    return call


def records(setting: str, device: torch.device, against: str | None = None) -> bool:
    """Whether updates are recorded as CUDA graphs; one warning line where ``compile=graph`` cannot have its way.

    Args:
        against: what of the training does not let itself be recorded, as the end of "compile=graph ..."; None: nothing.
    """
    if choose("compile", setting, COMPILE) != "graph":
        return False
    against = "needs a CUDA device" if device.type != "cuda" else against
    if against is not None:
        _warn(f"compile=graph {against}; going on with compile=on")
    return against is None


class Recorder(Generic[T]):
    """A step that is recorded as CUDA graphs, so that many steps cost the host one launch.

    The first steps are made one by one on a side stream: they count like any other, and compile and allocate what
    recording must not. Afterwards a run of steps is recorded once and replayed. Random numbers are drawn on the
    device, as they would be one by one. Never run on a GPU so far.

    Args:
        step: makes one step on tensors that stay where they are in memory, without waiting for the device.
        generators: all generators that the step draws from.
    """

    def __init__(self, step: Callable[[], T], generators: Iterable[torch.Generator]) -> None:
        self._step, self._generators = step, tuple(generators)
        self._stream, self._pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()
        self._recorded: dict[tuple[int, int], tuple[torch.cuda.CUDAGraph, T]] = {}
        self._one_by_one = _FIRST_STEPS

    def run(self, phase: int, count: int) -> tuple[T, int]:
        """Make ``count`` steps, or one while still warming up; return the last one's result and how many were made.

        Args:
            phase: steps that begin in the same phase do the same work.
        """
        if self._one_by_one > 0:
            self._one_by_one -= 1
            return self._eagerly(), 1
        if (phase, count) not in self._recorded:
            self._recorded[phase, count] = self._record(count)
        graph, result = self._recorded[phase, count]
        graph.replay()
        return result, count

    def _eagerly(self) -> T:
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = self._step()
        current.wait_stream(self._stream)
        return result

    def _record(self, count: int) -> tuple[torch.cuda.CUDAGraph, T]:
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            for _ in range(count):
                result = self._step()
        return graph, result


_FIRST_STEPS = 6  # two of each phase: compiled, then run as compiled


def _warn(line: str) -> None:
    print(f"vgf: {line}", file=sys.stderr)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
