"""Shards: what is written is read back, damage is named in one line, a failed write leaves nothing behind."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vgf.data.npz import read_npz, regular
from vgf.data.shards import ShardedData, main, split_episodes, write_shards
from vgf.errors import UserError
from vgf.problem import Problem

Arrays = dict[str, np.ndarray]

LENGTHS = [5, 9, 4, 30, 7, 7, 6, 20, 8, 11, 3, 12]  # transitions of the episodes


def transitions(lengths: list[int] | tuple[int, ...] = tuple(LENGTHS)) -> Arrays:
    """Regular transitions; the first entry of an observation is its row."""
    rng, rows = np.random.default_rng(0), sum(lengths)
    ends = np.cumsum(lengths) - 1
    observations = rng.normal(size=(rows, 3))
    observations[:, 0] = np.arange(rows)
    following = np.roll(observations, -1, axis=0)
    following[ends] = rng.normal(size=(len(ends), 3))
    arrays = {
        "observations": observations,
        "actions": rng.uniform(-1, 1, size=(rows, 2)),
        "rewards": rng.normal(size=rows),
        "masks": (rng.random(rows) > 0.1) * 1.0,
        "terminals": np.isin(np.arange(rows), ends) * 1.0,
        "next_observations": following,
    }
    return {k: v.astype(np.float32) for k, v in arrays.items()}


def shards(folder: Path, data: Arrays | None = None, rows: int = 30) -> ShardedData:
    return write_shards(folder, split_episodes(data or transitions()), rows_per_shard=rows)


def test_an_npz_file_comes_back_as_the_same_transitions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, rows = np.random.default_rng(0), 40
    raw = {
        "observations": rng.normal(size=(rows, 3)),
        "actions": rng.uniform(-1, 1, size=(rows, 2)),
        "terminals": np.isin(np.arange(rows), [4, 5 + 9, 26, 30, 39]),
        "qpos": rng.normal(size=(rows, 4)),
        "button_states": rng.integers(0, 2, size=(rows, 2)),
    }
    np.savez(tmp_path / "x.npz", **raw)
    assert main([str(tmp_path / "x.npz"), str(tmp_path / "x"), "--rows", "12"]) == 0
    assert "35 transitions in 4 shards" in capsys.readouterr().out
    assert_holds(ShardedData(tmp_path / "x"), regular(read_npz(tmp_path / "x.npz")))


@given(st.lists(st.integers(1, 12), min_size=1, max_size=7), st.integers(4, 30))
@settings(max_examples=8, deadline=None)
def test_transitions_come_back_whatever_the_episodes(tmp_path_factory, lengths: list[int], rows: int) -> None:
    data = transitions(lengths)
    opened = shards(tmp_path_factory.mktemp("data") / "x", data, rows)
    assert (opened.rows <= max(rows, max(lengths))).all()
    assert opened.longest.max() == max(lengths)
    assert_holds(opened, data)


def assert_holds(opened: ShardedData, data: Arrays) -> None:
    """The shards and the lazy columns both hold these transitions."""
    whole = [opened.shard(i) for i in range(len(opened.rows))]
    picked = np.random.default_rng(1).integers(-len(data["actions"]), len(data["actions"]), (5, 2))
    assert set(opened) == set(data)
    for name, array in data.items():
        together = np.concatenate([shard[name] for shard in whole])
        assert together.dtype == array.dtype
        np.testing.assert_array_equal(together, array)
        assert (len(opened[name]), opened[name].shape, opened[name].dtype) == (len(array), array.shape, array.dtype)
        np.testing.assert_array_equal(opened[name][picked], array[picked])
        np.testing.assert_array_equal(opened[name][2:9], array[2:9])


def test_a_problem_can_be_made_of_shards(tmp_path: Path) -> None:
    ours = Problem(name="x", train=shards(tmp_path / "x"), validation=None, origin="made up")
    theirs = Problem(name="x", train=transitions(), validation=None, origin="made up")
    assert ours.action_size == theirs.action_size
    np.testing.assert_array_equal(ours.held_out_states(20, 0), theirs.held_out_states(20, 0))


def test_rows_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexError, match=f"column of {sum(LENGTHS)} rows"):
        shards(tmp_path / "x")["actions"][np.array([0, sum(LENGTHS)])]
    with pytest.raises(IndexError, match="a mask chooses no rows"):
        ShardedData(tmp_path / "x")["actions"][np.ones(sum(LENGTHS), bool)]


def manifest_with(**changes) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def cut(name: str, size: int) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def save(name: str, array: np.ndarray) -> Callable[[Path], object]:
    return lambda folder: np.save(folder / name, array, allow_pickle=True)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda f: (f / "manifest.json").unlink(), "no folder of shards: it has no manifest.json; make one with"),
        (cut("manifest.json", 60), "manifest.json cannot be read"),
        (lambda f: (f / "manifest.json").write_text("[1]"), "has version None, this program reads 1"),
        (manifest_with(version=2), "has version 2, this program reads 1; write the shards again"),
        (manifest_with(shards=[{"rows": 3}]), "manifest.json does not say what the shards hold"),
        (manifest_with(shards=[]), "manifest.json does not say what the shards hold"),
        (manifest_with(columns=3), "manifest.json does not say what the shards hold"),
        (lambda f: (f / "00001.actions.npy").unlink(), "00001.actions.npy is missing"),
        (cut("00001.observations.npy", 200), "00001.observations.npy cannot be read"),
        (cut("00001.observations.npy", 5), "00001.observations.npy cannot be read"),
        (save("00001.masks.npy", np.zeros(4, np.float32)), r"00001.masks.npy holds \[4\] float32, not what"),
        (save("00001.masks.npy", np.array([{}])), "00001.masks.npy cannot be read"),
    ],
)
def test_damage_is_named_in_one_line(tmp_path: Path, damage: Callable[[Path], object], complaint: str) -> None:
    shards(tmp_path / "x")
    damage(tmp_path / "x")
    with pytest.raises(UserError, match=complaint) as caught:
        ShardedData(tmp_path / "x")
    assert "\n" not in str(caught.value)


GOOD = next(split_episodes(transitions()))


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ({"observations": GOOD["observations"]}, "episode 1 has no 'actions'"),
        ({k: v[:1] for k, v in GOOD.items()}, "episode 1 has 1 rows; an episode needs 2"),
        (GOOD | {"rewards": GOOD["rewards"][:3]}, "episode 1: 'rewards' has 3 rows but 'observations' has 6"),
        (GOOD | {"actions": GOOD["actions"] * np.nan}, "episode 1: 'actions' holds NaN, infinity or no numbers"),
        (GOOD | {"rewards": np.array([None] * 6)}, "episode 1: 'rewards' holds NaN"),
        (GOOD | {"actions": GOOD["actions"] + 1j}, "episode 1: 'actions' holds NaN, infinity or no numbers"),
        (GOOD | {"rewards": np.array(["0.5"] * 6)}, "episode 1: 'rewards' holds NaN, infinity or no numbers"),
        (GOOD | {"rewards": np.full(6, 1e39)}, "episode 1: 'rewards' holds NaN, infinity"),
        (GOOD | {"actions": GOOD["actions"][:, :1]}, "episode 1 has other columns, shapes or dtypes than episode 0"),
    ],
)
def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, bad: Arrays, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        write_shards(tmp_path / "x", [GOOD, bad], rows_per_shard=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"terminals": None}, "there is no 'terminals' among the arrays"),
        ({"terminals": np.ones(3)}, r"'terminals' has shape .3.; all arrays need as many rows"),
        ({"actions": np.float32(1)}, r"'actions' has shape ..; all arrays"),
        ({"terminals": np.array(["x"] * 28)}, "'terminals' should be one number a row"),
    ],
)
def test_arrays_that_cannot_be_cut_into_episodes(change: Arrays, complaint: str) -> None:
    whole = {k: np.zeros((28, 2)) for k in ("observations", "actions")} | {"terminals": np.ones(28)}
    with pytest.raises(UserError, match=complaint):
        next(split_episodes({k: v for k, v in (whole | change).items() if v is not None}))


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path) -> None:
    def episodes() -> Iterator[Arrays]:
        yield from (GOOD, GOOD, GOOD)
        assert len(list(tmp_path.glob(".x.tmp/*"))) > 0  # shards are on the disk already
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(tmp_path / "x", episodes(), rows_per_shard=5)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_was_writing_goes_when_it_is_written_again(tmp_path: Path) -> None:
    (tmp_path / ".x.tmp").mkdir()
    (tmp_path / ".x.tmp" / "00007.actions.npy").touch()
    shards(tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert not (tmp_path / "x" / "00007.actions.npy").exists()


def test_two_at_once_are_written_once(tmp_path: Path) -> None:
    begun, go_on, said = threading.Event(), threading.Event(), []

    def slowly() -> Iterator[Arrays]:
        begun.set()
        assert go_on.wait(60)
        yield GOOD

    def second() -> None:
        with pytest.raises(UserError, match="exists already") as caught:
            write_shards(tmp_path / "x", [GOOD])
        said.append(str(caught.value))

    threads = [threading.Thread(target=lambda: write_shards(tmp_path / "x", slowly())), threading.Thread(target=second)]
    threads[0].start()
    assert begun.wait(60)
    threads[1].start()
    time.sleep(0.1)  # long enough to write its own, if it did not wait
    go_on.set()
    for thread in threads:
        thread.join()
    assert said
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_ctrl_c_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(path: Path) -> Arrays:
        raise KeyboardInterrupt

    monkeypatch.setattr("vgf.data.shards.read_npz", interrupted)
    assert main(["x.npz", str(tmp_path / "x")]) == 130
    assert capsys.readouterr().err == "vgf: stopped; nothing of the folder is kept\n"


def test_what_cannot_be_written_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards(tmp_path / "x")
    with pytest.raises(UserError, match="exists already; delete it or name another folder"):
        shards(tmp_path / "x")
    with pytest.raises(UserError, match="there are no episodes to write"):
        write_shards(tmp_path / "y", [])
    with pytest.raises(UserError, match="cannot write the lock file to"):
        shards(tmp_path / "x" / "manifest.json" / "y")
    with pytest.raises(UserError, match="shards of 0 transitions hold nothing"):
        shards(tmp_path / "y", rows=0)
    broken = transitions()
    broken["next_observations"][2] += 1
    with pytest.raises(UserError, match="episode in rows 0 to 4 are not its following rows"):
        list(split_episodes(broken))
    assert main([str(tmp_path / "missing.npz"), str(tmp_path / "z")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
