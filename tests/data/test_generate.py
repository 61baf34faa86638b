"""Data sets made by several processes: the same bytes whoever makes them, and nothing is made twice."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import collectors
import numpy as np
import ogbench
import pytest

from vgf.data.generate import generate
from vgf.data.npz import read_npz, regular
from vgf.errors import UserError

COUNTS = {"": 5, "-val": 2}


def make(folder: Path, collect: Any = collectors.walk, processes: int = 1, **more: Any) -> dict[str, Path]:
    asked = {
        "target": folder / "X.npz",
        "counts": COUNTS,
        "work": folder / "X.work",
        "manifest": {"seed": 0, "sizes": (1, 2), "versions": {"numpy": np.__version__}},
        "label": "walks",
        **more,
    }
    return generate(collect, processes=processes, **asked)


def calls(folder: Path) -> list[str]:
    return sorted((folder / "log").read_text().splitlines())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One data set made by one process, to compare with."""
    return make(tmp_path_factory.mktemp("made"))


def test_result(made: dict[str, Path]) -> None:
    folder = made[""].parent
    assert sorted(p.name for p in folder.iterdir()) == ["X-val.npz", "X.json", "X.npz"]
    for split, (suffix, count) in enumerate(COUNTS.items()):
        episodes = [collectors.walk(split, index) for index in range(count)]
        raw = read_npz(made[suffix])
        for name in raw:
            np.testing.assert_array_equal(raw[name], np.concatenate([episode[name] for episode in episodes]))
        theirs = ogbench.load_dataset(str(made[suffix]))
        np.testing.assert_array_equal(theirs["next_observations"], regular(raw)["next_observations"])
    manifest = json.loads((folder / "X.json").read_text())
    assert manifest["seed"] == 0
    assert manifest["counts"] == COUNTS
    for path in made.values():
        entry = manifest["files"][path.name]
        assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert entry["rows"] == len(read_npz(path)["actions"])


def test_finished_data_are_not_made_again(made: dict[str, Path], tmp_path: Path) -> None:
    folder = made[""].parent
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert make(folder, functools.partial(collectors.logged, tmp_path)) == made
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("trouble", ["raise", "die", "uneven"])
def test_goes_on_after_trouble(made: dict[str, Path], tmp_path: Path, trouble: str) -> None:
    collect = functools.partial(collectors.logged, tmp_path)
    (tmp_path / trouble).touch()
    reasons = {
        "raise": "episode 3 of split 0 failed: ValueError: the simulator exploded",
        "die": "the process making episode 3 of split 0 was killed by SIGKILL",
        "uneven": "episode 3 of split 0 failed: its arrays differ in length",
    }
    with pytest.raises(UserError, match=rf"^walks: {reasons[trouble]}.*; 3 of 7 episodes are kept") as caught:
        make(tmp_path, collect)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "X.npz").exists()
    assert calls(tmp_path) == ["0 0 1", "0 1 1", "0 2 1", "0 3 1"]

    (tmp_path / trouble).unlink()
    (tmp_path / "log").unlink()
    damaged = tmp_path / "X.work" / "split0-000001.npz"
    damaged.write_bytes(damaged.read_bytes()[:-30])
    flipped = tmp_path / "X.work" / "split0-000002.npz"
    content = bytearray(flipped.read_bytes())
    content[content.index(b"NUMPY") + 130] ^= 1  # in the numbers, which a checksum covers
    flipped.write_bytes(content)
    files = make(tmp_path, collect, processes=2)
    assert calls(tmp_path) == ["0 1 1", "0 2 1", "0 3 1", "0 4 1", "1 0 1", "1 1 1"]
    assert {s: p.read_bytes() for s, p in files.items()} == {s: p.read_bytes() for s, p in made.items()}
    assert not (tmp_path / "X.work").exists()


def test_other_settings_make_other_data(tmp_path: Path) -> None:
    collect = functools.partial(collectors.logged, tmp_path)
    (tmp_path / "raise").touch()
    with pytest.raises(UserError, match="3 of 7"):
        make(tmp_path, collect)
    with pytest.raises(UserError, match="3 of 7"):  # and not 4: those of seed 0 are of no use
        make(tmp_path, collect, manifest={"seed": 1})
    assert calls(tmp_path) == sorted(["0 0 1", "0 1 1", "0 2 1", "0 3 1"] * 2)


def test_a_smaller_data_set_leaves_the_episodes_of_an_interrupted_larger_one(tmp_path: Path) -> None:
    work = tmp_path / "X.work"
    work.mkdir()
    (work / "made-from.json").write_text(json.dumps({"seed": 0, "sizes": [1, 2]}))
    for index in range(3):
        np.savez(work / f"split0-{index:06d}.npz", **collectors.walk(0, index))
    kept = sorted(work.iterdir())
    make(tmp_path, target=tmp_path / "small.npz", counts={"": 2})
    assert sorted(work.iterdir()) == kept
    make(tmp_path, counts={"": 3})
    assert not work.exists()


def test_files_of_others_are_safe(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds other files"):
        make(tmp_path, target=tmp_path / "out" / "X.npz", work=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_no_processes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give 1 or more"):
        make(tmp_path, processes=0)


def test_two_at_once_make_it_once(made: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "slow").touch()  # the second waits for longer than the second after which it says so
    collect = functools.partial(collectors.logged, tmp_path)
    results: list[dict[str, Path]] = []
    threads = [threading.Thread(target=lambda: results.append(make(tmp_path, collect))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0] == results[1]
    assert len(calls(tmp_path)) == 7
    assert results[0][""].read_bytes() == made[""].read_bytes()
    assert capfd.readouterr().err.count("waiting for another run") == 1


SCRIPT = """
import sys
from pathlib import Path
import collectors, test_generate
if __name__ == "__main__":
    try:
        test_generate.make(Path(sys.argv[1]), collectors.slow, processes=2, counts={"": 400})
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends signals to a process group")
@pytest.mark.parametrize("end", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_interrupted(tmp_path: Path, end: signal.Signals) -> None:
    """Ctrl-C reaches every process of the group, as at a terminal; SIGKILL the main process alone."""
    (tmp_path / "main.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, str(tmp_path / "main.py"), str(tmp_path)]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell has it ignored
    )
    while process.poll() is None and not list((tmp_path / "X.work").glob("split0-00000[3-9].npz")):
        time.sleep(0.01)
    (os.killpg if end == signal.SIGINT else os.kill)(process.pid, end)
    errors = process.communicate()[1]  # returns when the last worker has let go of stderr, so when all are gone
    kept = len(list((tmp_path / "X.work").glob("split0-*.npz")))
    assert 3 <= kept < 400
    if end == signal.SIGINT:
        assert process.returncode == 130
        count = f"{kept} of 400 episodes are kept in {tmp_path / 'X.work'}"
        assert f"walks: stopped; {count}, the same command goes on from there" in errors
    else:
        assert process.returncode == -9
    assert "Traceback" not in errors
