"""Offline measurements of a method at a budget, on states that no update of policy or critic has seen: no environment.

A run keeps ``probe.npz``: states drawn from its held-out episodes (from the training data where there are none). For
every method and budget that is evaluated, ``offline.csv`` gets one row of what the move does there: to the value under
the critic that moves, to the value under the judge, and to the distance from the reference.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vgf.config import MethodConfig
from vgf.errors import UserError
from vgf.files import atomic_path
from vgf.methods import budget_at
from vgf.policy import Policy
from vgf.problem import Problem
from vgf.report.clouds import Clouds
from vgf.report.measurements import Measurement
from vgf.transport import Budget
from vgf.transport.distance import mmd, travelled, w2, w_inf_bound

__all__ = ["Probed", "judged_best", "measure", "particle_clouds", "read_probe", "write_probe"]

_STATES = 512
_CLOUD = 16  # particles a state, at least: the clouds that distances are taken between
_CLOUDS = 128  # states whose clouds are compared: optimal transport is solved once a state
_DRAWN = 40  # particles a state that the report draws
_SEED = 20_260_101  # of states and noise: the same for every method, budget and run


def write_probe(run_dir: Path, problem: Problem) -> None:
    """Choose the states of a run and write them, once, to ``probe.npz``."""
    path = run_dir / "probe.npz"
    if path.exists():
        return
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, observations=problem.held_out_states(_STATES, _SEED))


def read_probe(run_dir: Path) -> np.ndarray | None:
    """States [M, S] of a run, or None when it has none.

    Raises:
        UserError: when the file is damaged.
    """
    path = run_dir / "probe.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            return np.asarray(stored["observations"], np.float32)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}); delete it, and the next training call writes it") from error


def particle_clouds(policy: Policy, states: np.ndarray, method: MethodConfig, knob: float) -> Clouds:
    """The particles of a method at one value of its knob, at four of the states [M, S]: those moved little to much.

    Four states at the 10, 37, 63 and 90 % quantiles of how far their particles travelled.
    """
    moved, twins = _move(policy, states[:_CLOUDS], method, knob, _DRAWN)
    order = travelled(moved, twins).mean(1).argsort()  # [M]
    chosen = order[(torch.tensor([0.1, 0.37, 0.63, 0.9]) * (len(order) - 1)).round().long().unique()]
    arrays = (x.cpu().numpy() for x in (chosen, moved[chosen], twins[chosen]))
    return Clouds(method.method, knob, policy.step, *arrays)


def _move(
    policy: Policy, states: np.ndarray, method: MethodConfig, knob: float, cloud: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """At least ``cloud`` particles a state, moved, and their twins: [M, N, D] each."""
    rows, entries = policy.noise_shape(method)
    generator = torch.Generator().manual_seed(_SEED)
    noise = torch.randn(math.ceil(cloud / method.transport.particles), len(states), rows, entries, generator=generator)
    device = next(policy.networks.parameters()).device
    obs = torch.from_numpy(states).to(device)
    choices = [policy.choose(obs, batch.to(device), budget_at(method, knob), method) for batch in noise]
    particles = torch.cat([choice.moved.particles for choice in choices], 1)
    return particles, torch.cat([t for choice in choices if (t := choice.moved.twins) is not None], 1)


@dataclass(frozen=True)
class Probed:
    """A measurement, and the judge's value of each state's chosen actions [M]."""

    measurement: Measurement
    judged: np.ndarray


def measure(policy: Policy, states: np.ndarray, method: MethodConfig, knob: float) -> Probed:
    """Move particles at every state by a method at one value of its knob: states [M, S]."""
    rows, entries = policy.noise_shape(method)
    repeats = math.ceil(_CLOUD / method.transport.particles)
    generator = torch.Generator().manual_seed(_SEED)
    noise = torch.randn(repeats, len(states), rows, entries, generator=generator)
    device = next(policy.networks.parameters()).device
    obs = torch.from_numpy(states).to(device)
    budget: Budget = budget_at(method, knob)
    choices = [policy.choose(obs, batch.to(device), budget, method) for batch in noise]

    moved = torch.cat([choice.moved.particles[:_CLOUDS] for choice in choices], 1)  # [M, cloud, D]
    twins = torch.cat([t[:_CLOUDS] for choice in choices if (t := choice.moved.twins) is not None], 1)
    values = torch.stack([policy.value(obs, choice.actions, method) for choice in choices])
    judged = torch.stack([policy.judge(obs, choice.actions) for choice in choices])
    far = torch.stack([travelled(choice.actions, choice.twins) for choice in choices])
    distances = w_inf_bound(moved, twins), mmd(moved, twins), w2(moved, twins)
    means = (float(x.mean()) for x in (values, judged, far, *distances))
    row = Measurement(policy.step, method.method, knob, len(states), moved.shape[1], *means)
    return Probed(row, judged.mean(0).cpu().numpy())


def judged_best(probed: Sequence[Probed]) -> Measurement:
    """The budget whose gain under the judge has the highest lower bound: mean gain less one standard error.

    The gain is over the smallest budget (the reference), paired by state, the same noise serving every budget. Far from
    the data the judge errs as well, in both directions: its mean there is a matter of luck, which the bound discounts.

    Raises:
        UserError: when there is no judge.
    """
    judged = sorted((p for p in probed if math.isfinite(p.measurement.judge)), key=lambda p: p.measurement.budget)
    if not judged:
        raise UserError("budget=auto needs a judge: held-out episodes in the data, and net.judge=true in training")

    def lower_bound(p: Probed) -> float:
        gain = p.judged - judged[0].judged  # [M]
        return float(gain.mean() - gain.std() / math.sqrt(len(gain)))

    return max(judged, key=lower_bound).measurement  # of equal ones the first, with the smallest budget
