"""Turns alternate, processes are bound to equally many cores, and ratios are those of turns."""

from __future__ import annotations

import os

import pytest
import sides

from vgf.bench.timing import Side, Speed, Times, cores, race
from vgf.errors import UserError


def test_turns_alternate_after_the_warm_up(tmp_path):
    log = tmp_path / "log"
    found = race([Side(sides.sleepy, (str(log),))], Speed(turns=3, seconds=0.0, warm_up=2))
    assert log.read_text() == "aabb" + "ab" + "ba" + "ab"
    assert [len(turn) for turn in found.times["a"].wall] == [1, 1, 1]
    assert found.peak_mb["a"] == found.peak_mb["b"] > 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no way to bind a process to cores here")
def test_processes_have_the_cores_they_are_given_and_we_keep_ours():
    before = cores(), os.environ.get("OMP_NUM_THREADS")
    found = race([Side(sides.cores_seen, ("one",))], Speed(1, 0.0, 0), threads=1)
    assert found.times["one"].reports == [{"cores": 1.0, "threads": 1.0}]
    assert (cores(), os.environ.get("OMP_NUM_THREADS")) == before


def test_a_side_that_fails_is_one_line():
    with pytest.raises(UserError, match=r"failed: RuntimeError: no such luck \(sides.py:\d+\)$"):
        race([Side(sides.failing)], Speed(1, 0.0, 0))


def test_ratios_are_medians_over_turns_and_single_calls_have_quantiles():
    ours = Times([[1.0, 3.0], [4.0], [10.0]], [2.0, 4.0, 10.0])
    other = Times([[4.0], [12.0], [10.0]], [2.0, 2.0, 30.0])
    assert ours.seconds == 4.0
    assert ours.times_faster(other) == 2.0  # of 2, 3 and 1
    assert ours.processor_ratio(other) == 1.0  # of 1, 1/2 and 3
    assert ours.quantile(1.0) == 10.0
    assert ours.quantile(0.5) == 3.5
    assert ours.spread == pytest.approx((7 - 3) / 2 / 4)
