"""The training steps that are timed: every side makes them, and the rows say who is how much faster than whom."""

from __future__ import annotations

import pytest

from vgf.bench import updates
from vgf.bench.problems import Case
from vgf.bench.timing import Race, Speed, Times

SMALL = {"qgf": Case("qgf", hidden=8, layers=1, batch=4), "vgf": Case("vgf", hidden=8, layers=1, batch=4, particles=3)}


@pytest.mark.parametrize("method", SMALL)
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_references_make_steps(library, method):
    if library == "jax":
        pytest.importorskip("jax")
        pytest.importorskip("optax")
    steps = updates.plain({"one": SMALL[method]}, library)
    steps["one"]()
    assert list(steps) == ["one"]


def test_ours_makes_steps():
    for step in updates.ours(SMALL).values():
        losses = step()
        assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("no_jax", [None, "jax not installed; pip install 'vgf[jax]' to compare with JAX"])
def test_the_headline_compares_compiled_with_jax_or_with_plain_pytorch(monkeypatch, no_jax):
    seconds = {"ours, eager": 0.4, "ours, compiled": 0.1, "ours, compiled, float32": 0.2, "plain PyTorch": 0.8}
    seconds |= {} if no_jax else {"JAX, jitted": 0.5}

    def instantly(sides, speed, threads=1):
        assert len(list(sides)) == len(seconds)
        times = {name: Times([[s], [s]], [s, s]) for name, s in seconds.items()}
        return Race(times, dict.fromkeys(seconds, 100.0))

    monkeypatch.setattr(updates, "race", instantly)
    monkeypatch.setattr(updates, "missing_jax", lambda: no_jax)
    item = updates.qgf_update(Speed.quick())
    assert item.ours == pytest.approx(10)
    assert item.ratio == pytest.approx(8 if no_jax else 5)
    assert item.other == pytest.approx(item.ours / item.ratio)
    assert item.other_is.startswith("plain PyTorch" if no_jax else "JAX")
    assert {row.what.split(", ")[-1] for row in item.rows} <= {"1 core", "2 cores"}
    jax = [row for row in item.rows if row.who == "JAX, jitted"]
    assert all((row.value is None) == (no_jax is not None) for row in jax)
    assert (no_jax or "bound to") in item.note
