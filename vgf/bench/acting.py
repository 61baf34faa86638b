"""Milliseconds an action: QGF and VGF against the budget, the reference's own sampling, and the plain references.

``act`` times a policy as it was loaded, ``act_exported`` the same policy as ``python -m vgf.export --aot`` writes it.

The floor is what one action cannot do without: the multiply-adds of its networks at the rate of a large matrix
product, or its weights read once for each pass at the rate at which an array of their size is read, whichever takes
longer. Of QGF a pass more goes forward through the critics, and one back to the action, at each of the Euler steps.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vgf.bench.item import Item, Row
from vgf.bench.problems import ACTION, OBSERVATION, Case, trainer
from vgf.bench.references import missing_jax, reference
from vgf.bench.roofs import measure_roofs
from vgf.bench.timing import Race, Side, Speed, Steps, race
from vgf.evaluation import particle_noise
from vgf.export import export_policy
from vgf.methods import load_method
from vgf.policy import Policy
from vgf.transport import Budget

__all__ = ["act", "act_exported"]

_FLOW_STEPS = 10
_BATCHES = (1, 64)
_REFERENCE, _QGF = "ours, reference", "ours, qgf, 10 steps guided"
_BUDGETS = {
    _REFERENCE: ("reference", Budget(0)),
    "ours, qgf, 2 steps guided": ("qgf", Budget(2, 0.02)),
    "ours, qgf, 5 steps guided": ("qgf", Budget(5, 0.02)),
    _QGF: ("qgf", Budget(None, 0.02)),
    "ours, vgf, N 10, 0 moves": ("vgf", Budget(0, 0.05)),
    "ours, vgf, N 10, 1 move": ("vgf", Budget(1, 0.05)),
    "ours, vgf, N 10, 3 moves": ("vgf", Budget(3, 0.05)),
}
_CASE = Case("qgf")
_EXPORTED = {"exported, reference": "reference", "exported, qgf, 10 steps guided": "qgf"}


def act(speed: Speed) -> Item:
    """Time of one decision, from an observation in NumPy to actions in NumPy."""
    no_jax = missing_jax()
    libraries = ["torch"] if no_jax else ["torch", "jax"]
    run = race([Side(_ours), *(Side(_plain, (library,)) for library in libraries)], speed)
    return _item(run, _QGF, _REFERENCE, f"{_REFERENCE}'s own sampling, likewise", speed, note=no_jax or "")


def act_exported(speed: Speed) -> Item:
    """The same decisions by a compiled program that torch alone loads, from observation and noise in NumPy."""
    run = race([Side(_ours, (("reference", "qgf"),)), Side(_exported)], speed)
    fast = next(name for name, method in _EXPORTED.items() if method == "qgf")
    return _item(run, fast, _QGF, f"{_QGF}, likewise", speed)


def _item(run: Race, name: str, against: str, against_is: str, speed: Speed, note: str = "") -> Item:
    """One way to act against another, at batch 1, and every way of the race behind it."""
    ours, other = (1e3 * run.times[f"{who} / 1"].quantile(0.5) for who in (name, against))
    return Item(
        "milliseconds/decision",
        "lower",
        ours,
        other,
        ours / other,
        f"{name}: batch 1, {_CASE.layers}x{_CASE.hidden}, 1 thread, median of single calls",
        against_is,
        [_row(run, who, batch, against) for batch in _BATCHES for who in _names(run, batch)],
        extra=_floor(speed),
        note=note,
    )


def _names(run: Race, batch: int) -> list[str]:
    return [name.removesuffix(f" / {batch}") for name in run.times if name.endswith(f" / {batch}")]


def _row(run: Race, name: str, batch: int, against: str) -> Row:
    times, base = run.times[f"{name} / {batch}"], run.times[f"{against} / {batch}"]
    median = 1e3 * times.quantile(0.5)
    return Row(
        f"batch {batch}",
        name,
        median,
        times.spread,
        None if name == against else median / (1e3 * base.quantile(0.5)),
        None if name == against else base.processor_ratio(times),
        p99=1e3 * times.quantile(0.99),
        peak_mb=run.peak_mb[f"{name} / {batch}"],
    )


def _policy() -> Policy:
    return Policy(trainer(_CASE, rows=2000).networks, load_method("qgf"), _FLOW_STEPS)


def _ours(methods: Collection[str] = ("reference", "qgf", "vgf")) -> Steps:
    policy, rng = _policy(), np.random.default_rng(0)

    def step(batch: int, method: str, budget: Budget) -> Any:
        obs, chosen = rng.standard_normal((batch, OBSERVATION), dtype=np.float32), load_method(method)
        return lambda: policy.act(obs, budget, seed=0, method=chosen)

    ways = {name: how for name, how in _BUDGETS.items() if how[0] in methods}
    return {f"{name} / {batch}": step(batch, *how) for batch in _BATCHES for name, how in ways.items()}


def _exported() -> Steps:
    policy, rng = _policy(), np.random.default_rng(0)

    def compiled(method: str) -> Callable[..., torch.Tensor]:
        with tempfile.TemporaryDirectory() as folder:
            export_policy(policy, Path(folder, "policy.pt2"), method=method, aot=True)
            return torch._inductor.aoti_load_package(str(Path(folder, "policy.pt2")))

    def step(program: Callable[..., torch.Tensor], batch: int) -> Any:
        obs, size = rng.standard_normal((batch, OBSERVATION), dtype=np.float32), torch.tensor(0.02)

        def call() -> None:
            noise = np.stack([particle_noise(0, row, 0, (1, ACTION)) for row in range(batch)])
            program(torch.from_numpy(obs), torch.from_numpy(noise), size).numpy()

        return call

    programs = {name: compiled(method) for name, method in _EXPORTED.items()}
    return {f"{name} / {batch}": step(program, batch) for batch in _BATCHES for name, program in programs.items()}


def _plain(library: str) -> Steps:
    weights = reference("weights").initial_weights(OBSERVATION, ACTION, _CASE.hidden, _CASE.layers, policy_norm=True)
    agent = reference(f"qgf_{library}").QGF(weights)
    whose = {"torch": "plain PyTorch", "jax": "JAX, jitted"}[library]
    convert = torch.from_numpy if library == "torch" else lambda array: array
    rng = np.random.default_rng(0)

    def step(batch: int, weight: float) -> Any:
        obs = rng.standard_normal((batch, OBSERVATION), dtype=np.float32)

        def call() -> None:
            noise = rng.standard_normal((batch, ACTION), dtype=np.float32)
            np.asarray(agent.act(convert(obs), convert(noise), weight))

        return call

    ways = {f"{whose}, reference": 0.0, f"{whose}, qgf, 10 steps guided": 0.02}
    return {f"{name} / {batch}": step(batch, weight) for batch in _BATCHES for name, weight in ways.items()}


def _floor(speed: Speed) -> dict[str, Any]:
    """Operations, bytes and the least milliseconds of one action (batch 1)."""
    networks = trainer(_CASE, rows=2000).networks
    flow, critics = (sum(p.numel() for p in net.parameters()) for net in (networks.flow, networks.q_target))
    passes = {"reference": flow, "qgf": flow + 2 * critics}  # weights read at an Euler step
    roofs = measure_roofs(speed, read_bytes=4 * passes["qgf"])
    return {
        "roofs": {"float32_flop_per_s": roofs.float32, "read_bytes_per_s": roofs.read},
        **{
            f"floor_{name}": {
                "flop": 2 * _FLOW_STEPS * count,
                "bytes": 4 * _FLOW_STEPS * count,
                "milliseconds": 1e3 * _FLOW_STEPS * max(2 * count / roofs.float32, 4 * count / roofs.read),
            }
            for name, count in passes.items()
        },
    }
