"""Batches from shards: every row is drawn equally often, and a run that goes on at a step draws the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_shards import LENGTHS, shards, transitions

from vgf.data.sharded_store import Schedule, ShardedStore, store_of
from vgf.data.shards import ShardedData
from vgf.data.store import Batch, TransitionStore
from vgf.errors import UserError

OPTIONS = {"chunk": 3, "n_step": 4, "discount": 0.9}


def sharded(data: ShardedData, **changes) -> ShardedStore:
    return ShardedStore(data, **OPTIONS | {"window": 2, "swap_every": 4} | changes)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_same(one: Batch, other: Batch) -> None:
    for name, tensor in vars(one).items():
        assert torch.equal(tensor, vars(other)[name]), name


def test_one_shard_deals_the_batches_of_a_store_in_memory(tmp_path: Path) -> None:
    ours, theirs = sharded(shards(tmp_path / "x", rows=1000)), TransitionStore(transitions(), **OPTIONS)
    one, other = generator(), generator()
    for step in range(20):
        ours.seek(step)
        assert_same(ours.sample(64, one), theirs.sample(64, other))


def test_what_is_valid_in_a_batch_is_what_a_store_in_memory_has_there(tmp_path: Path) -> None:
    ours, theirs = sharded(shards(tmp_path / "x")), TransitionStore(transitions(), **OPTIONS)
    seen = set()
    for step in range(40):
        ours.seek(step)
        batch = ours.sample(64, generator(step))
        rows = batch.observations[:, 0].long()
        expected = theirs.batch(rows)
        seen |= set(rows.tolist())
        names = (
            "rows",
            "observations",
            "returns",
            "discounts",
            "valid",
            "valid_actions",
            "next_observations",
            "next_valid",
        )
        for name in names:
            assert torch.equal(getattr(batch, name), getattr(expected, name)), name
        assert torch.equal(batch.actions * batch.valid_actions, expected.actions * batch.valid_actions)
        played = batch.next_valid[:, None]
        assert torch.equal(batch.next_actions * played, expected.next_actions * played)
    assert len(seen) == sum(LENGTHS)


sizes = st.lists(st.integers(1, 10**6), min_size=1, max_size=12)


@settings(deadline=None)
@given(sizes, st.integers(1, 12), st.integers(1, 2000), st.integers(0, 5), st.integers(0, 3))
def test_each_row_is_expected_equally_often_in_every_epoch(rows, window, swap_every, seed, epoch) -> None:
    """Summed over an epoch, the chance of a row is that of a store in memory, up to a step of rounding a period."""
    schedule = Schedule(tuple(rows), min(window, len(rows)), swap_every, seed)
    step, end = epoch * len(rows) * swap_every, (epoch + 1) * len(rows) * swap_every
    expected = np.zeros(len(rows))  # of each row of a shard, for one draw a step
    bound = np.zeros(len(rows))
    while step < end:
        period = schedule.at(step)
        assert len(set(period.shards)) == schedule.window
        assert period.first == step
        assert schedule.at(period.end - 1) == period
        resident = sum(rows[shard] for shard in period.shards)
        for shard in period.shards:
            expected[shard] += (period.end - step) / resident
            bound[shard] += 1 / resident
        step = period.end
    assert step == end
    # A period that rounds to no steps at all is not seen above; it is missing from both sums.
    skipped = schedule.window / min(sum(sorted(rows)[: schedule.window]), sum(rows))
    uniform = len(rows) * swap_every / sum(rows)
    assert (abs(expected - uniform) <= bound + skipped + 1e-9 * uniform).all()


def test_rows_are_counted_equally_often(tmp_path: Path) -> None:
    """Chi-square over rows and over shards of 14 to 30 rows. Periods of one length would fail the second."""
    opened = shards(tmp_path / "x")
    assert len(set(opened.rows.tolist())) > 2
    epochs, swap_every, size = 20, 50, 128
    store = sharded(opened, swap_every=swap_every)
    counts, stream = np.zeros(sum(LENGTHS)), generator()
    steps = epochs * len(opened.rows) * swap_every
    for step in range(steps):
        store.seek(step)
        rows = store.sample(size, stream).observations[:, 0].long().numpy()
        counts += np.bincount(rows, minlength=len(counts))
    assert counts.sum() == steps * size
    by_shard = np.add.reduceat(counts, np.cumsum(opened.rows) - opened.rows)
    for observed, expected in ((counts, counts.mean()), (by_shard, opened.rows * counts.mean())):
        freedom = len(observed) - 1
        statistic = ((observed - expected) ** 2 / expected).sum()
        assert statistic < freedom + 5 * np.sqrt(2 * freedom)


def test_going_on_at_a_step_draws_what_an_uninterrupted_run_draws(tmp_path: Path) -> None:
    opened, stream = shards(tmp_path / "x"), generator()
    whole, batches = sharded(opened), []
    for step in range(60):
        whole.seek(step)
        batches.append((stream.get_state(), whole.sample(16, stream)))
    for step in (37, 3, 58, 12):
        for again in (sharded(opened), whole):  # a new process, or the same store sent back
            state, expected = batches[step]
            stream.set_state(state)
            again.seek(step)
            assert_same(again.sample(16, stream), expected)


def test_drawing_more_at_a_step_changes_no_later_batch(tmp_path: Path) -> None:
    one, other = sharded(shards(tmp_path / "x")), sharded(ShardedData(tmp_path / "x"))
    for step in range(30):
        one.seek(step)
        other.seek(step)
        other.seek(step + 1)  # as a log line after the update does
        other.sample(5, generator(1))
        other.seek(step)
        assert_same(one.sample(8, generator(step)), other.sample(8, generator(step)))


@pytest.mark.parametrize("window", [1, 3, 6])
def test_one_shard_is_swapped_at_a_time_and_the_others_keep_their_slots(window: int) -> None:
    schedule = Schedule((10, 10, 20, 10, 15, 10, 12), window, 50, 0)
    period, changes = schedule.at(0), []
    for _ in range(4 * len(schedule.rows)):
        before, period = period, schedule.at(period.end)
        changes.append(sum(a != b for a, b in zip(before.shards, period.shards, strict=True)))
    assert max(changes) == 1
    assert changes.count(0) <= 4  # once an epoch the shard that leaves may be the first of the new order, and stays


def test_seeds_change_the_order_and_epochs_do(tmp_path: Path) -> None:
    opened = shards(tmp_path / "x")
    orders = {
        tuple(order(Schedule(tuple(opened.rows.tolist()), 2, 50, seed), epoch)) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(orders) == 4


def order(schedule: Schedule, epoch: int) -> Iterator[int]:
    """Shards in the order in which they come in."""
    step = epoch * len(schedule.rows) * schedule.swap_every
    while step < (epoch + 1) * len(schedule.rows) * schedule.swap_every:
        before, period = schedule.at(step - 1) if step else None, schedule.at(step)
        yield from sorted(set(period.shards) - set(before.shards if before else ()))
        step = period.end


def test_memory_decides_how_many_shards_are_resident(tmp_path: Path) -> None:
    opened = shards(tmp_path / "x")
    count = len(opened.rows)
    assert sharded(opened, window=None).schedule.window == count
    one = 30 * (2 * 3 + 2 + 2 + 3 + 4) * 4 / 1e9  # states, actions, scalars, valid, two row numbers of 8 bytes
    assert sharded(opened, window=None, memory_gb=3.5 * one).schedule.window == 2
    with pytest.raises(UserError, match=r"raise data.memory_gb or write smaller shards"):
        sharded(opened, window=None, memory_gb=1.5 * one)


def test_settings_that_do_not_suit_the_data(tmp_path: Path) -> None:
    opened = shards(tmp_path / "x")
    with pytest.raises(UserError, match=r"train.chunk=13 is longer than every episode of shard 0 .*longest: 9"):
        sharded(opened, chunk=13, n_step=13)
    with pytest.raises(UserError, match=r"train.n_step=2 is shorter than train.chunk=3"):
        sharded(opened, n_step=2)
    with pytest.raises(RuntimeError, match="call seek"):
        sharded(opened).sample(4, generator())


def test_arrays_get_a_store_in_memory(tmp_path: Path) -> None:
    options = OPTIONS | {"swap_every": 7, "memory_gb": 1.0}
    assert isinstance(store_of(transitions(), **options), TransitionStore)
    assert isinstance(store_of(shards(tmp_path / "x"), **options), ShardedStore)


def test_labels_are_added_as_a_shard_is_read(tmp_path: Path) -> None:
    data = transitions()
    shards(tmp_path / "x", {k: v for k, v in data.items() if k not in ("rewards", "masks")})
    with pytest.raises(UserError, match="has no 'rewards'"):
        sharded(ShardedData(tmp_path / "x"))
    opened = ShardedData(tmp_path / "x", lambda a: a | {k: data[k][a["observations"][:, 0].astype(int)] for k in data})
    assert sharded(opened).observation_size == 3
    np.testing.assert_array_equal(opened.shard(1)["rewards"], data["rewards"][opened.rows[0] :][: opened.rows[1]])


def test_a_shard_damaged_while_training_is_named_when_its_turn_comes(tmp_path: Path) -> None:
    store = sharded(shards(tmp_path / "x"))
    store.seek(0)
    for path in (tmp_path / "x").glob("*.terminals.npy"):
        np.save(path, np.zeros_like(np.load(path)))
    with pytest.raises(UserError, match=r"terminals.npy does not fit manifest.json"):
        seek_all(store, range(100))


def seek_all(store: ShardedStore, steps: range) -> None:
    for step in steps:
        store.seek(step)
