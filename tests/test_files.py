"""Atomic files, the lock between runs, and errors of the disk in one line."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vgf import files
from vgf.errors import UserError
from vgf.files import atomic_path, atomic_write_text, locked, require_space, require_writable, writing


def test_text_arrives_in_a_folder_that_did_not_exist(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "note.txt"
    atomic_write_text(target, "naïve\n")
    atomic_write_text(target, "second\n")
    assert target.read_bytes() == b"second\n"
    assert list(target.parent.iterdir()) == [target]


def _write_half(target: Path, error: Exception) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text("half of the n")
        assert temporary.suffix == target.suffix
        assert temporary.parent == target.parent
        raise error


def test_a_folder_is_made_and_tried(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b")
    require_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file is in the way"):
        require_writable(tmp_path / "file")


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "data.npz"
    atomic_write_text(target, "old")
    with pytest.raises(ZeroDivisionError):
        _write_half(target, ZeroDivisionError())
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    atomic_write_text(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, fsync, replace = [], os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        fsync(descriptor)
        done.append(("on disk", os.fstat(descriptor).st_ino))

    def noted_replace(source: Path, target: Path) -> None:
        replace(source, target)
        done.append(("named", target.stat().st_ino))

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    atomic_write_text(tmp_path / "note.txt", "text")
    file, folder = ((tmp_path / name).stat().st_ino for name in ("note.txt", ""))
    assert done == [("on disk", file), ("named", file), ("on disk", folder)]


@pytest.mark.parametrize("code", ["EACCES", "EROFS", "ENOSPC", "EDQUOT", "ENOTDIR"])
def test_errors_of_the_disk_are_one_line(tmp_path: Path, code: str) -> None:
    with (
        pytest.raises(UserError, match=r"cannot write the checkpoint to .*; ") as caught,
        writing("the checkpoint", tmp_path),
    ):
        raise OSError(getattr(errno, code), "as the system says it")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="bad sector") as caught, writing("x", tmp_path):
        raise OSError(errno.EBUSY, "bad sector")
    assert not isinstance(caught.value, UserError)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_full_disk(tmp_path: Path) -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match="space") as real:
        full.write(b"more")
    with pytest.raises(UserError, match="disk is full; make room"):
        _write_half(tmp_path / "x.bin", real.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"a\.json"):
        atomic_write_text(tmp_path / "file" / "a.json", "{}")
    with pytest.raises(UserError, match="lock file"), locked(tmp_path / "file" / "a.json"):
        pass


def test_space(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(UserError, match="MB free; make room") as caught:
        require_space(tmp_path / "not" / "yet", 1 << 62)
    assert str(tmp_path / "not" / "yet") in str(caught.value)


def _unsupported(*_: object) -> None:
    raise OSError(errno.ENOLCK, "no locks here")


@pytest.fixture(params=["flock", "no fcntl", "file system without locks"])
def _each_kind_of_lock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no fcntl":
        monkeypatch.setattr(files, "fcntl", None)
    elif request.param == "file system without locks":
        monkeypatch.setattr("fcntl.flock", _unsupported)
    monkeypatch.setattr(files, "_POLL_SECONDS", 0.001)


@pytest.mark.usefixtures("_each_kind_of_lock")
def test_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")

    def add() -> None:
        for _ in range(25):
            with locked(counter):
                before = int(counter.read_text())
                time.sleep(0)  # invites the other threads in
                counter.write_text(str(before + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.read_text() == "100"


@pytest.mark.usefixtures("_each_kind_of_lock")
def test_lock_tells_once_that_it_waits(tmp_path: Path) -> None:
    told, inside = [], threading.Event()

    def second() -> None:
        with locked(tmp_path / "x.npz", waiting=lambda: told.append("wait")):
            inside.set()

    with locked(tmp_path / "x.npz", waiting=lambda: told.append("never")):
        thread = threading.Thread(target=second)
        thread.start()
        while not told:
            time.sleep(0.001)
        assert not inside.is_set()
    thread.join()
    assert inside.is_set()
    assert told == ["wait"]
    with pytest.raises(KeyError), locked(tmp_path / "x.npz"):  # an error inside lets go of it too
        raise KeyError
    with locked(tmp_path / "x.npz"):
        pass


@pytest.mark.skipif(files.fcntl is None, reason="needs fcntl")
def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    holder = (
        "import fcntl, os, sys, time\n"
        "d = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); fcntl.flock(d, fcntl.LOCK_EX); print('held', flush=True)\n"
        "time.sleep(600)"
    )
    lock = tmp_path / "x.npz.lock"
    with subprocess.Popen([sys.executable, "-c", holder, str(lock)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        told = []

        def kill() -> None:
            told.append("wait")
            os.kill(process.pid, 9)

        with locked(tmp_path / "x.npz", waiting=kill):
            assert told == ["wait"]
    assert not lock.exists()
