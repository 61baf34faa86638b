"""Offline measurements and the budget they choose."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vgf import UserError, load
from vgf.methods import budget_at, load_method
from vgf.probe import Probed, judged_best, measure, read_probe
from vgf.report.measurements import Measurement


@pytest.fixture(scope="module")
def policy(tiny_run):
    return load(tiny_run)


@pytest.fixture(scope="module")
def states(tiny_run):
    return read_probe(tiny_run)[:40]


def test_a_run_keeps_states_of_its_held_out_episodes(tiny_run, policy):
    states = read_probe(tiny_run)
    assert states.shape == (512, policy.networks.sizes.observation)
    assert len(np.unique(states, axis=0)) > 400
    assert read_probe(tiny_run / "nowhere") is None


def test_a_damaged_probe_is_named(tmp_path):
    (tmp_path / "probe.npz").write_bytes(b"PK but no more")
    with pytest.raises(UserError, match=r"probe\.npz cannot be read"):
        read_probe(tmp_path)


def test_budget_zero_is_at_distance_zero_and_distances_grow(policy, states):
    rows = [measure(policy, states, load_method("qgf"), knob).measurement for knob in (0.0, 0.1, 1.0)]
    for field in ("travelled", "w_inf_bound", "mmd", "w2"):
        still, near, far = (getattr(row, field) for row in rows)
        assert still == pytest.approx(0, abs=1e-6)
        assert still < near < far
    assert rows[0].value < rows[1].value < rows[2].value  # by the critic that moves
    assert all(row.w2 <= row.w_inf_bound for row in rows)
    assert {row.particles for row in rows} == {16}


def test_numbers_are_means_over_chosen_actions(policy, states):
    method = load_method("vgf")
    probe = measure(policy, states, method, 1)
    row = probe.measurement
    assert measure(policy, states, method, 1).measurement == row
    assert probe.judged.shape == (40,)
    assert row.judge == pytest.approx(probe.judged.mean(), rel=1e-5)
    obs = torch.from_numpy(states)
    noise = torch.randn(2, 40, 10, 6, generator=torch.Generator().manual_seed(20_260_101))
    chosen = [policy.choose(obs, n, budget_at(method, 1), method).actions for n in noise]
    assert row.particles == 20  # two calls of ten particles: the first multiple of ten above 16
    assert row.value == pytest.approx(np.mean([policy.value(obs, a, method).mean() for a in chosen]), rel=1e-5)


def probed(budget: float, judged: list[float]) -> Probed:
    mean = float(np.mean(judged))
    return Probed(Measurement(1, "qgf", budget, len(judged), 16, 0.0, mean, *[0.0] * 4), np.array(judged))


def test_auto_takes_the_peak_of_the_lower_bound():
    start = probed(0.0, [1.0, 2.0, 3.0, 4.0])
    sure = probed(0.1, [1.5, 2.5, 3.5, 4.5])  # +0.5 everywhere
    luck = probed(1.0, [0.0, 1.0, 2.0, 8.0])  # +0.75 +- 1.1 on average
    worse = probed(0.5, [0.5, 1.5, 2.5, 3.5])
    assert judged_best([luck, worse, sure, start]).budget == 0.1
    assert judged_best([luck, worse, start]).budget == 0.0
    assert judged_best([start, probed(0.2, [1.0, 2.0, 3.0, 4.0])]).budget == 0.0  # no gain, no move
    with pytest.raises(UserError, match="needs a judge"):
        judged_best([probed(0.0, [math.nan])])
