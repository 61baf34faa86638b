"""One training step, in updates a second: ours eager and compiled (the headline takes the faster), against plain
PyTorch and jitted JAX.

A step is all of it: drawing the batch, the losses, the optimiser, the target networks. Every side starts from random
weights of the same sizes, on the same transitions, with as many cores as the others. Ours divides them between terms
of the update and threads inside operations as ``python -m vgf.run`` does, and computes in bfloat16 where the processor
multiplies it natively; a row in float32 stands beside it. The references compute in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from vgf.bench.item import Item, Row
from vgf.bench.problems import ACTION, OBSERVATION, Case, columns, made_up, operations, trainer
from vgf.bench.references import folder, missing_jax, reference
from vgf.bench.roofs import measure_roofs
from vgf.bench.timing import Race, Side, Speed, Steps, race
from vgf.cores import cores
from vgf.speed import use_cores

__all__ = ["ours", "ours_vs_eager", "plain", "qgf_update", "vgf_update"]

_PLAIN, _JAX = "plain PyTorch", "JAX, jitted"
_EAGER, _COMPILED, _FLOAT32 = "ours, eager", "ours, compiled", "ours, compiled, float32"
_FLOW_STEPS = 10


def qgf_update(speed: Speed) -> Item:
    """QGF's update: IQL critic and flow matching."""
    return _compared([Case("qgf", hidden=512, layers=4), Case("qgf")], speed)


def vgf_update(speed: Speed) -> Item:
    """VGF's update: TD on particles that SVGD has moved, and flow matching."""
    return _compared([Case("vgf", hidden=512, layers=4), Case("vgf")], speed)


def ours_vs_eager(speed: Speed) -> Item:
    """compile=on against compile=off, both methods, default sizes."""
    rows, headline = [], None
    for case in (Case("vgf"), Case("qgf")):
        run = race([_side(_EAGER, case), _side(_COMPILED, case)], speed)
        rows += _rows(run, f"{case.method} {case.label}", _EAGER)
        headline = headline or _headline(run, _COMPILED, _EAGER, f"vgf's update, {case.label}, 1 thread")
    assert headline is not None
    return Item("updates/s", "higher", *headline, rows=rows)


def _compared(cases: list[Case], speed: Speed) -> Item:
    folder()
    no_jax = missing_jax()
    other = _PLAIN if no_jax else _JAX
    names = [_EAGER, _COMPILED, _FLOAT32, _PLAIN, *([] if no_jax else [_JAX])]
    rows: list[Row] = []
    headline = None
    for threads in dict.fromkeys((min(2, len(cores())), 1)):
        for case in cases:
            run = race([_side(name, case) for name in names], speed, threads=threads)
            what = f"{case.label}, {threads} core{'s' * (threads > 1)}"
            rows += _rows(run, what, other)
            if no_jax:
                rows.append(Row(what, _JAX, None, note=no_jax))
            ours = min((_EAGER, _COMPILED), key=lambda name: run.times[name].seconds)
            headline = headline or _headline(run, ours, other, what)
    assert headline is not None
    rate = measure_roofs(speed).bfloat16
    floors = {f"floor of {case.label}": _floor(case, rate) for case in cases}
    bound = "every process is bound to as many cores as the row says; JAX sizes its thread pool by them"
    return Item("updates/s", "higher", *headline, rows, floors, note="; ".join(filter(None, [bound, no_jax])))


def _floor(case: Case, rate: float) -> str:
    """What no implementation in bfloat16 can be faster than: the matrix products alone."""
    needed = operations(case)
    most = f"at most {rate / needed:.3g} updates/s a core, at the {rate / 1e9:.3g} GFLOP/s of a large bfloat16 product"
    return f"matrix products alone are {needed / 1e9:.3g} GFLOP an update: {most}"


def _headline(run: Race, ours: str, other: str, what: str) -> tuple[float, float, float, str, str]:
    a, b = run.times[ours], run.times[other]
    return 1 / a.seconds, 1 / b.seconds, a.times_faster(b), f"{ours}: {what}", f"{other}: {what}"


def _rows(run: Race, what: str, other: str) -> list[Row]:
    base = run.times[other]
    return [
        Row(
            what,
            name,
            1 / times.seconds,
            times.spread,
            None if name == other else times.times_faster(base),
            None if name == other else times.processor_ratio(base),
            peak_mb=run.peak_mb[name],
        )
        for name, times in run.times.items()
    ]


def _side(name: str, case: Case) -> Side:
    return Side(*_SIDES[name](name, case))


_SIDES: dict[str, Any] = {
    _EAGER: lambda name, case: (ours, ({name: case}, "off", "auto")),
    _COMPILED: lambda name, case: (ours, ({name: case}, "on", "auto")),
    _FLOAT32: lambda name, case: (ours, ({name: case}, "on", "float32")),
    _PLAIN: lambda name, case: (plain, ({name: case}, "torch")),
    _JAX: lambda name, case: (plain, ({name: case}, "jax")),
}


def ours(cases: Mapping[str, Case], compile: str = "off", precision: str = "auto", device: str = "cpu") -> Steps:
    """Our update at each of the cases."""

    def step(case: Case) -> Any:
        made = trainer(case, compile=compile, precision=precision, device=device)
        use_cores(case.config(compile=compile), made.data.device)  # as python -m vgf.run does
        return lambda: made.update(made.data)

    return {name: step(case) for name, case in cases.items()}


def plain(cases: Mapping[str, Case], library: str) -> Steps:
    """A reference's update at each of the cases; ``library`` is ``torch`` or ``jax``."""
    data = columns(made_up())
    return {name: _plain_step(case, library, data) for name, case in cases.items()}


def _plain_step(case: Case, library: str, data: Mapping[str, np.ndarray]) -> Any:
    initial = reference("weights").initial_weights
    weights = initial(OBSERVATION, ACTION, case.hidden, case.layers, policy_norm=case.method == "qgf")
    options = {"moves": case.moves} if case.method == "vgf" else {}
    agent = getattr(reference(f"{case.method}_{library}"), case.method.upper())(weights, **options)
    rng = np.random.default_rng(0)
    convert: Callable[[np.ndarray], Any] = torch.from_numpy if library == "torch" else lambda array: array

    def step() -> None:
        rows = rng.integers(len(data["returns"]), size=case.batch)
        batch = {name: convert(column[rows]) for name, column in data.items()}
        noise = rng.standard_normal((case.batch, ACTION), dtype=np.float32)
        t = rng.integers(_FLOW_STEPS + 1, size=(case.batch, 1)).astype(np.float32) / _FLOW_STEPS
        draws: list[np.ndarray] = [noise, t]
        if case.method == "vgf":
            draws.append(rng.standard_normal((case.batch, case.particles, ACTION), dtype=np.float32))
        agent.update(batch, *[convert(array) for array in draws])

    return step
