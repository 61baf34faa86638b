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
from torch import Tensor

from vgf.config import MethodConfig
from vgf.errors import UserError
from vgf.files import atomic_path
from vgf.methods import budget_at
from vgf.policy import Choice, Policy
from vgf.problem import Problem
from vgf.report.clouds import Clouds
from vgf.report.measurements import Measurement
from vgf.transport.distance import mmd, travelled, w2, w_inf_bound

__all__ = ["Probed", "measure", "particle_clouds", "read_probe", "trusted", "write_probe"]

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
    obs = _on_device(policy, states[:_CLOUDS])
    moved, twins = _clouds(_choices(policy, obs, method, knob, _DRAWN))
    order = travelled(moved, twins).mean(1).argsort()  # [M]
    chosen = order[(torch.tensor([0.1, 0.37, 0.63, 0.9]) * (len(order) - 1)).round().long().unique()]
    arrays = (x.cpu().numpy() for x in (chosen, moved[chosen], twins[chosen]))
    return Clouds(method.method, knob, policy.step, *arrays)


def _choices(policy: Policy, obs: Tensor, method: MethodConfig, knob: float, cloud: int) -> list[Choice]:
    """Decisions at observations [M, S], one after another with noise of their own, of ``cloud`` particles or more."""
    repeats = math.ceil(cloud / method.transport.particles)
    generator = torch.Generator().manual_seed(_SEED)
    noise = torch.randn(repeats, len(obs), *policy.noise_shape(method), generator=generator)
    return [policy.choose(obs, batch.to(obs.device), budget_at(method, knob), method) for batch in noise]


def _clouds(choices: Sequence[Choice]) -> tuple[Tensor, Tensor]:
    """All particles of decisions, moved, and their twins, at the first states: [M, N, D] each."""
    moved = torch.cat([choice.moved.particles[:_CLOUDS] for choice in choices], 1)
    twins = torch.cat([t[:_CLOUDS] for choice in choices if (t := choice.moved.twins) is not None], 1)
    return moved, twins


def _on_device(policy: Policy, states: np.ndarray) -> Tensor:
    return torch.from_numpy(states).to(next(policy.networks.parameters()).device)


@dataclass(frozen=True)
class Probed:
    """A measurement, and the judge's value of each state's chosen actions [M]."""

    measurement: Measurement
    judged: np.ndarray


def measure(policy: Policy, states: np.ndarray, method: MethodConfig, knob: float) -> Probed:
    """Move particles at every state by a method at one value of its knob: states [M, S]."""
    obs = _on_device(policy, states)
    choices = _choices(policy, obs, method, knob, _CLOUD)
    moved, twins = _clouds(choices)
    values = torch.stack([policy.value(obs, choice.actions, method) for choice in choices])
    judged = torch.stack([policy.judge(obs, choice.actions) for choice in choices])
    far = torch.stack([travelled(choice.actions, choice.twins) for choice in choices])
    distances = w_inf_bound(moved, twins), mmd(moved, twins), w2(moved, twins)
    means = (float(x.mean()) for x in (values, judged, far, *distances))
    row = Measurement(policy.step, method.method, knob, len(states), moved.shape[1], *means)
    return Probed(row, judged.mean(0).cpu().numpy())


def trusted(probed: Sequence[Probed]) -> Measurement:
    """The furthest budget up to which both critics gain about what their first step promised: a trust-region test.

    Stretch by stretch from the smallest budget (the reference), the gain for each unit of distance travelled must be
    at least half of the first stretch's, under the critic that moves and under the judge. Where the former falls off,
    moves have left the neighbourhood in which its gradient tells the truth; where the latter does, held-out data no
    longer agree. In the first stretch the judge's gain must exceed its standard error over states, or nothing moves.

    What both critics say far from the data is not asked: there they rise again, whatever the environment does.

    Returns:
        The measurement at that budget. Methods that choose and do not move travel nowhere and stay at the smallest.

    Raises:
        UserError: when there is no judge.
    """
    found = sorted((p for p in probed if math.isfinite(p.measurement.judge)), key=lambda p: p.measurement.budget)
    if not found:
        raise UserError("budget=auto needs a judge: held-out episodes in the data, and net.judge=true in training")
    start, best, promised = found[0], found[0].measurement, None
    for p in found[1:]:
        here = p.measurement
        distance = here.travelled - best.travelled
        if distance <= 0:
            break
        gains = np.array([here.value - best.value, here.judge - best.judge]) / distance
        if promised is None:
            promised = gains
            judged = p.judged - start.judged  # [M]
            if gains[0] <= 0 or judged.mean() <= judged.std() / math.sqrt(len(judged)):
                break
        if (gains < _TRUSTED * promised).any():
            break
        best = here
    return best


_TRUSTED = 0.5  # of what is promised: between the 1/4 and 3/4 of Nocedal and Wright's algorithm 4.1
