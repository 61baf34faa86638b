"""Chunked n-step batches: the authors' numbers, and a slow loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vgf import UserError
from vgf.data import chunks, store
from vgf.data.chunks import chunk_batch
from vgf.data.store import TransitionStore

PARITY = np.load(Path(__file__).parent.parent / "parity" / "qgf.npz")


def random_data(seed: int, lengths: list[int]) -> dict[str, np.ndarray]:
    rng, rows = np.random.default_rng(seed), sum(lengths)
    return {
        "observations": rng.normal(size=(rows, 3)).astype(np.float32),
        "actions": rng.normal(size=(rows, 2)).astype(np.float32),
        "rewards": rng.normal(size=rows).astype(np.float32),
        "masks": (rng.random(rows) > 0.2).astype(np.float32),
        "terminals": np.isin(np.arange(rows), np.cumsum(lengths) - 1).astype(np.float32),
        "next_observations": rng.normal(size=(rows, 3)).astype(np.float32),
    }


def test_the_authors_numbers():
    data = {k.removeprefix("chunk/data/"): PARITY[k] for k in PARITY.files if k.startswith("chunk/data/")}
    out = chunk_batch(data, PARITY["chunk/idx"], length=5, discount=0.9)
    names = [k.removeprefix("chunk/out/") for k in PARITY.files if k.startswith("chunk/out/")]
    assert set(out) == set(names)
    for name in names:
        np.testing.assert_allclose(out[name], PARITY[f"chunk/out/{name}"], rtol=0, atol=1e-5, err_msg=name)


def test_length_one_is_the_transition():
    data, idx = random_data(0, [4, 3]), np.array([0, 3, 6])
    out = chunk_batch(data, idx, length=1, discount=0.5)
    for name in ("actions", "rewards", "masks", "terminals", "next_observations"):
        np.testing.assert_array_equal(out[name][:, 0], data[name][idx])
    assert (out["valid"] == 1).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 999), st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 6), st.floats(0, 1))
def test_against_a_loop(seed, lengths, length, discount):
    data = random_data(seed, lengths)
    rows = sum(lengths)
    out = chunk_batch(data, np.arange(rows), length, discount)
    for i in range(rows):
        total, mask, row, alive = 0.0, 1.0, i, True
        for h in range(length):
            if alive:
                row = i + h
                total += discount**h * data["rewards"][row]
                mask = min(mask, data["masks"][row])
            assert out["valid"][i, h] == alive
            assert out["rewards"][i, h] == pytest.approx(total, abs=1e-4)
            assert out["masks"][i, h] == mask
            assert out["terminals"][i, h] == data["terminals"][row]
            np.testing.assert_array_equal(out["next_observations"][i, h], data["next_observations"][row])
            np.testing.assert_array_equal(out["actions"][i, h], data["actions"][min(i + h, rows - 1)])
            alive = alive and data["terminals"][row] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.lists(st.integers(3, 6), min_size=1, max_size=4), st.integers(1, 3), st.integers(0, 4))
def test_the_store_deals_out_what_chunk_batch_makes(seed, lengths, chunk, more):
    data, n_step = random_data(seed, lengths), chunk + more
    store = TransitionStore(data, chunk=chunk, n_step=n_step, discount=0.9)
    idx = np.arange(len(store))
    out = chunk_batch(data, idx, n_step, 0.9)
    batch = store.batch(torch.from_numpy(idx))
    ended = out["masks"] == 0
    stop = np.where(ended.any(1), ended.argmax(1), n_step - 1) if more else np.full(len(idx), n_step - 1)
    np.testing.assert_allclose(batch.returns, out["rewards"][idx, stop], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(batch.discounts, 0.9 ** out["valid"].sum(1) * out["masks"][:, -1], rtol=1e-5)
    np.testing.assert_array_equal(batch.next_observations, out["next_observations"][:, -1])
    np.testing.assert_array_equal(batch.actions, out["actions"][:, :chunk].reshape(len(idx), -1))
    np.testing.assert_array_equal(batch.valid, out["valid"][:, chunk - 1])
    np.testing.assert_array_equal(batch.valid_actions, np.repeat(out["valid"][:, :chunk], 2, axis=1))


def test_a_store_is_made_block_by_block_of_its_rows(monkeypatch):
    """Where episodes end is looked for once: for every block again, it would take time that grows with the square."""
    data, asked = random_data(0, [5, 4, 6]), []
    options = {"chunk": 2, "n_step": 3, "discount": 0.9}
    whole = TransitionStore(data, **options)
    find = chunks.last_row_of_episode
    for module in (chunks, store):
        monkeypatch.setattr(module, "last_row_of_episode", lambda terminals: asked.append(1) or find(terminals))
    monkeypatch.setattr(store, "_ROWS_AT_ONCE", 4)
    in_blocks = TransitionStore(data, **options)
    assert len(asked) == 1
    for name in ("returns", "discounts", "valid", "bootstrap_row"):
        assert torch.equal(getattr(in_blocks, name), getattr(whole, name))


@pytest.mark.parametrize(
    ("chunk", "n_step", "expected"),
    [
        (1, 1, [1.0, 2.0, 4.0, 8.0, 16.0]),
        (1, 3, [2.0, 2.0, 12.0, 16.0, 16.0]),  # the second row ends the task: what the data do after it is not paid
        (3, 3, [3.0, 6.0, 12.0, 16.0, 16.0]),  # a chunk is paid whole, as in the authors' code
    ],
)
def test_rewards_after_a_true_end_inside_an_episode(chunk, n_step, expected):
    data = random_data(0, [5])
    data["rewards"], data["masks"] = np.array([1, 2, 4, 8, 16], "f4"), np.array([1, 0, 1, 1, 1], "f4")
    store = TransitionStore(data, chunk=chunk, n_step=n_step, discount=0.5)
    np.testing.assert_allclose(store.returns, expected, rtol=1e-6)
    np.testing.assert_array_equal(store.discounts[:2] == 0, [n_step > 1, True])


def test_sampling_is_seeded_and_reaches_every_row():
    store = TransitionStore(random_data(0, [5, 5]), chunk=1, n_step=1, discount=0.9)
    first, again = (store.sample(2000, torch.Generator().manual_seed(3)).observations for _ in range(2))
    assert torch.equal(first, again)
    counts = torch.unique(first[:, 0], return_counts=True)[1]
    assert len(counts) == 10
    assert counts.min() > 140  # 200 expected, standard deviation 13


def test_settings_that_do_not_fit():
    with pytest.raises(UserError, match="n_step=1 is shorter"):
        TransitionStore(random_data(0, [5]), chunk=2, n_step=1, discount=0.9)
    with pytest.raises(UserError, match=r"chunk=6 is longer than every episode of the data .longest: 5"):
        TransitionStore(random_data(0, [5, 4]), chunk=6, n_step=6, discount=0.9)
