"""A full disk and a write error at every single operation: one line, what was there stays, and trying again works."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import collectors
import numpy as np
import pytest
import torch
from cycles import COUNTS, assert_same, contents
from operations import Fault, failing
from small import small_config

from vgf import UserError
from vgf.checkpoint import load_checkpoint, save_checkpoint, settle
from vgf.data.episode_files import merge, rows_of
from vgf.evaluation import EpisodeRecord
from vgf.files import atomic_path, atomic_write_text
from vgf.language.heads import ValueHeads
from vgf.language.loading import heads_rows, load_heads, save_heads
from vgf.played import Played, read_played
from vgf.report.measurements import Measurement, add_measurements, read_measurements
from vgf.rundir import RunDirectory

CPU = torch.device("cpu")
ONE_LINE = r"^cannot write .* to .*: the disk (is full; make room|reports an error; check the disk).*"


def save(folder: Path, number: int) -> None:
    """Metrics, then the checkpoint of a step; the fourth one drops the first."""
    atomic_write_text(folder / "metrics.jsonl", "".join(f'{{"step": {k + 1}}}\n' for k in range(number)))
    tensors = {"w": torch.full((300,), float(number))}
    save_checkpoint(folder, number, tensors, {"state": tensors["w"] + 1}, {})


def saved(folder: Path) -> int:
    assert settle(folder) == load_checkpoint(folder).step
    found = load_checkpoint(folder, training=True)
    assert (found.networks["w"] == found.step).all()
    assert (found.training["state"] == found.step + 1).all()
    return found.step


def evaluate(folder: Path, number: int) -> None:
    """All episodes of a point, three of each; the fourth call plays the third's point again, another way."""
    episodes = [EpisodeRecord(e, float(number)) for e in range(3)]
    RunDirectory(folder).add_evaluation(min(number, 3), "qgf", 0.1, episodes, Played(number, 3, {}))


def evaluated(folder: Path) -> int:
    with (folder / "eval.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    newest = int(float(rows[-1]["return"]))
    assert [int(float(row["return"])) for row in rows] == [k for k in (1, 2, newest) for _ in range(3)]
    played = read_played(folder)
    assert all(played[step, "qgf", 0.1].seed == step for step in (1, 2))
    assert (3, "qgf", 0.1) not in played or played[3, "qgf", 0.1].seed == newest, "how these episodes were played"
    return newest


def measure(folder: Path, number: int) -> None:
    """A row of offline.csv."""
    add_measurements(folder, [Measurement(number, "qgf", 0.1, 4, 2, *[0.5] * 6)])


def measured(folder: Path) -> int:
    rows = read_measurements(folder)
    assert [row.step for row in rows] == list(range(1, len(rows) + 1))
    return len(rows)


def log(folder: Path, number: int) -> None:
    """A row of metrics, as a run that goes on writes it."""
    run = RunDirectory(folder)
    if number in (1, 4):
        run.claim(small_config())  # what a broken write has left is dropped
    run.log_missing({"step": 0, "value": k + 1} for k in range(number))


def logged(folder: Path) -> int:
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    whole = [json.loads(line)["value"] for line in lines if line.endswith("\n")]
    assert whole == list(range(1, len(whole) + 1))
    return len(whole)


def keep_heads(folder: Path, number: int) -> None:
    """Value heads of a language run."""
    save_heads(folder, {"heads": ValueHeads(number + 2, 1, hidden=4, heads=2)}, [{"step": number}])


def kept_heads(folder: Path) -> int:
    (row,) = heads_rows(folder)
    assert len(load_heads(folder, CPU)["heads"].mean) == row["step"] + 2
    return int(row["step"])


def put_together(folder: Path, number: int) -> None:
    """The first episodes of a generated data set as one file."""
    work, jobs = folder / "work", [(0, index) for index in range(number)]
    for job in jobs[-1:]:
        with atomic_path(work / f"split0-{job[1]:06d}.npz") as path:
            np.savez(path, **collectors.walk(*job))
    merge(jobs, {job: rows_of(work / f"split0-{job[1]:06d}.npz") for job in jobs}, work, folder / "X.npz")  # type: ignore[misc]


def together(folder: Path) -> int:
    with np.load(folder / "X.npz") as found:
        episodes = int(found["terminals"].sum())
        parts = [collectors.walk(0, index)["actions"] for index in range(episodes)]
        np.testing.assert_array_equal(found["actions"], np.concatenate(parts))
    return episodes


WRITERS: dict[str, tuple[Callable[[Path, int], None], Callable[[Path], int]]] = {
    "checkpoint": (save, saved),
    "eval.csv": (evaluate, evaluated),
    "offline.csv": (measure, measured),
    "metrics.jsonl": (log, logged),
    "value heads": (keep_heads, kept_heads),
    "data": (put_together, together),
}


@pytest.mark.parametrize("kind", ["full", "error"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_write_that_fails_costs_nothing_at_whatever_operation(tmp_path: Path, name: str, kind: str) -> None:
    write, read = WRITERS[name]
    at, seen = 0, 1
    while at < seen:
        at += 1
        folder = tmp_path / str(at)
        folder.mkdir()
        for number in (1, 2, 3):
            write(folder, number)
        fault = Fault(folder, kind, at)
        reached = _attempt(write, folder, fault)
        if reached:
            COUNTS["full disks" if kind == "full" else "write errors"] += 1
        assert read(folder) in (3, 4), f"operation {at}"
        write(folder, 4)
        assert read(folder) == 4, f"operation {at}"
        seen = fault.seen if fault.seen >= at else 0
    assert at > 3, "the writer's operations were seen"


def _attempt(write: Callable[[Path, int], Any], folder: Path, fault: Fault) -> bool:
    """Write with the fault; whether it was met. It is one line, or of no consequence (tidying up)."""
    with failing(fault):
        try:
            write(folder, 4)
        except UserError as error:
            told = str(error)
            if re.fullmatch(ONE_LINE, told):
                return True
            pytest.fail(told)
    return fault.seen >= fault.at


@pytest.mark.parametrize("at", [5, pytest.param(40, marks=pytest.mark.slow), pytest.param(90, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["full", "error"])
def test_a_run_on_a_failing_disk_ends_with_one_line_and_goes_on(driver, uninterrupted, tmp_path, kind, at):
    run_dir = str(tmp_path / "run")
    ended = driver.call("struck", run_dir, kind, at, "train", "offline", run_dir, {})
    COUNTS["full disks" if kind == "full" else "write errors"] += 1
    lines = [line for line in ended.said.splitlines() if line.startswith("vgf: ")]
    if kind == "error" and ended.status == 0:
        assert lines == []  # one error in tidying up is of no consequence; a disk that is full stays full
    else:
        assert ended.status == 2, ended.said
        (line,) = lines
        assert "the disk" in line
    assert "Traceback" not in ended.said
    assert driver.call("train", "offline", run_dir, {}).status == 0
    assert_same(contents(uninterrupted("offline")), contents(tmp_path / "run"))
