"""Offline measurements and the budget they choose."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vgf import UserError, load
from vgf.methods import budget_at, load_method
from vgf.probe import Probed, measure, read_probe, trusted
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
    noise = torch.randn(2, 40, 10, 40, generator=torch.Generator().manual_seed(20_260_101))
    chosen = [policy.choose(obs, n, budget_at(method, 1), method).actions for n in noise]
    assert row.particles == 20  # two calls of ten particles: the first multiple of ten above 16
    assert row.value == pytest.approx(np.mean([policy.value(obs, a, method).mean() for a in chosen]), rel=1e-5)


STATES = np.array([-1.0, 0.0, 1.0, 2.0])  # the judge's values of the reference


def probed(budget: float, travelled: float, value: float, judge: float, doubt: float = 0.0) -> Probed:
    """Mean gains of critic and judge over the reference; the judge's differ by ``doubt`` from state to state."""
    judged = STATES + judge + doubt * np.array([1.0, -1.0, 1.0, -1.0])
    return Probed(Measurement(1, "qgf", budget, 4, 16, value, float(judged.mean()), travelled, *[0.0] * 3), judged)


START = probed(0.0, 0.0, 0.0, 0.0)
FIRST = probed(0.1, 0.01, 1.0, 0.2)  # gains of 100 and 20 a unit of distance


@pytest.mark.parametrize(
    ("further", "chosen"),
    [
        ([], 0.1),
        ([probed(0.2, 0.02, 1.6, 0.35)], 0.2),  # 60 and 15 a unit
        ([probed(0.2, 0.02, 1.4, 0.4)], 0.1),  # the critic gains 40, not half of 100
        ([probed(0.2, 0.02, 2.0, 0.25)], 0.1),  # the judge gains 5
        ([probed(0.2, 0.02, 1.4, 0.4), probed(0.4, 0.04, 90.0, 90.0)], 0.1),  # what comes after is not asked
        ([probed(0.2, 0.02, 1.6, 0.35), probed(0.4, 0.04, 2.6, 0.6)], 0.4),
        ([probed(0.2, 0.01, 1.6, 0.35)], 0.1),  # goes no further
    ],
)
def test_auto_goes_as_far_as_both_critics_gain_what_they_promise(further, chosen):
    assert trusted([*further[::-1], FIRST, START]).budget == chosen


@pytest.mark.parametrize(
    "first",
    [
        probed(0.1, 0.01, 1.0, 0.2, doubt=0.5),  # a gain of 0.2 +- 0.25
        probed(0.1, 0.01, 1.0, -0.2),
        probed(0.1, 0.01, -1.0, 0.2),
        probed(0.1, 0.0, 1.0, 0.2),  # chooses without moving
    ],
)
def test_auto_stays_at_the_reference_where_the_first_step_is_not_trusted(first):
    assert trusted([START, first, probed(0.2, 0.02, 2.0, 0.4)]).budget == 0.0


def test_auto_needs_a_judge():
    with pytest.raises(UserError, match="needs a judge"):
        trusted([probed(0.0, 0.0, 0.0, math.nan)])


@given(
    gains=st.lists(st.tuples(st.floats(0.51, 1), st.floats(0.51, 1)), max_size=5),
    end=st.sampled_from([(0.4, 1.0), (1.0, 0.4), (-1.0, 1.0)]),
)
def test_auto_stops_at_the_first_stretch_that_gains_too_little(gains, end):
    rows, value, judge = [START], 0.0, 0.0
    for number, (critic, second) in enumerate([(1.0, 1.0), *gains, end, (2.0, 2.0)], start=1):
        value, judge = value + critic, judge + second
        rows.append(probed(float(number), float(number), value, judge))
    assert trusted(rows).budget == 1 + len(gains)
