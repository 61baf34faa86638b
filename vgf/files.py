"""Writing files so that nobody ever sees half of one, and so that two runs started at once take turns.

``atomic_path`` and ``atomic_write_text`` write beside the target and rename; ``locked`` is a lock between
processes; ``writing`` turns a full disk or a missing permission into one line for the person at the terminal;
``sweep`` removes what a killed process was writing; ``file_sha256`` tells whether a file is the one it should be.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import ModuleType

from vgf.errors import UserError

__all__ = [
    "atomic_path", "atomic_write_text", "file_sha256", "flush", "is_plain_name", "locked", "rename_over",
    "require_space", "require_writable", "sweep", "writing",
]  # fmt: skip

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

_MOVE_OR_PERMIT = "choose another folder or change its permissions"
_MAKE_ROOM = "make room or choose another folder"
_CHOOSE = "choose another path"
_CAUSES = {
    errno.EACCES: ("no permission", _MOVE_OR_PERMIT),
    errno.EPERM: ("no permission", _MOVE_OR_PERMIT),
    errno.EROFS: ("the file system is read-only", _MOVE_OR_PERMIT),
    errno.ENOSPC: ("the disk is full", _MAKE_ROOM),
    errno.EDQUOT: ("the disk quota is used up", _MAKE_ROOM),
    errno.EFBIG: ("the file is larger than this file system allows", _MAKE_ROOM),
    errno.EIO: ("the disk reports an error", "check the disk or choose another folder"),
    errno.ENOENT: ("a folder of the path does not exist and cannot be made", _CHOOSE),
    errno.ENOTDIR: ("a part of the path is a file", _CHOOSE),
    errno.EEXIST: ("a file is in the way", _CHOOSE),
    errno.EISDIR: ("a folder is in the way", _CHOOSE),
    errno.ENAMETOOLONG: ("the name is too long", _CHOOSE),
}
_NO_FLOCK = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # some cluster file systems are mounted without it
_MOMENT = 1.0  # seconds
_POLL_SECONDS = 0.2
_TEMPORARY = re.compile(r"\..+\.tmp(\.\w+)?")


@contextmanager
def writing(what: str, where: Path) -> Iterator[None]:
    """Turn an OSError that a person can put right into a UserError of one line; let every other through.

    Args:
        what: the thing being written, as it should read in the message ("the checkpoint").
        where: its path, named in the message.

    Raises:
        UserError: no permission, read-only, disk full, quota used up, or something in the way.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _CAUSES:
            raise
        cause, advice = _CAUSES[error.errno]
        raise UserError(f"cannot write {what} to {where}: {cause}; {advice}") from error


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a path beside ``target`` to write to; it replaces ``target`` on success and is removed on failure.

    The temporary name begins with a dot and keeps the suffix of ``target``. Missing folders are made. The data
    is on the disk before the rename, so after a crash ``target`` is either the old file or the whole new one.

    Raises:
        UserError: as :func:`writing`, also for errors inside the ``with`` block.
    """
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.tmp{target.suffix}")
    with writing(target.name, target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            rename_over(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def rename_over(source: Path, target: Path) -> None:
    """Put the finished file ``source`` in the place of ``target`` (same folder), flushed to the disk first.

    Raises:
        UserError: as :func:`writing`.
    """
    with writing(target.name, target.parent):
        flush(source)
        os.replace(source, target)
        flush(target.parent)


def flush(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk before going on.

    A folder whose file system cannot be told to is left to it; a file that cannot be written out is an OSError.
    """
    folder = path.is_dir()
    with suppress(OSError) if folder else nullcontext():
        descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(folder: Path, target: Path | None = None) -> None:
    """Remove files and folders that a killed process was still writing; nobody else may be writing there.

    Args:
        folder: where they are.
        target: remove only what was to become this file of the folder.
    """
    begin = f".{target.stem}." if target else "."
    for path in folder.glob(".*") if folder.is_dir() else ():
        if _TEMPORARY.fullmatch(path.name) and path.name.startswith(begin):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 checksum of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def atomic_write_text(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``target`` through :func:`atomic_path`."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def is_plain_name(name: object) -> bool:
    """Whether a file name out of a manifest stays in the manifest's folder: no separators, no ``..``, not hidden."""
    return isinstance(name, str) and re.fullmatch(r"[^./\\:\0][^/\\:\0]*", name) is not None


def require_space(folder: Path, needed: int) -> None:
    """Raise UserError unless the disk of ``folder`` (which need not exist yet) has ``needed`` bytes free."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise UserError(
            f"{folder} needs {needed / 1e6:,.1f} MB but its disk has {free / 1e6:,.1f} MB free; {_MAKE_ROOM}"
        )


def require_writable(folder: Path) -> None:
    """Make a folder, and a file in it that goes away at once: before work whose result would have no place to go.

    Raises:
        UserError: as :func:`writing`.
    """
    with writing("files", folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


@contextmanager
def locked(path: Path, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold ``<path>.lock`` for the length of the block; other processes (and threads) that ask for it wait.

    With ``fcntl`` the lock goes away with its process, however that ends. Elsewhere, and on file systems without
    such locks, a file that only one process can create stands in for it; a killed process leaves that file
    behind, so the wait then names the file that may be deleted.

    Args:
        path: what is protected; it need not exist, and its folder is made.
        waiting: called once if the lock is taken and stays so for a second: what a killed process had started ends
            a moment after it, and holds what it held.

    Raises:
        UserError: the lock file cannot be written.
    """
    lock = path.with_suffix(path.suffix + ".lock")
    tell_once = functools.cache(waiting or (lambda: None))
    with writing("the lock file", lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        release = _take_flock(lock, tell_once) if fcntl else _take_by_creating(lock, tell_once)
    try:
        yield
    finally:
        release()


def _take_flock(lock: Path, waiting: Callable[[], None]) -> Callable[[], None]:
    assert fcntl is not None
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _free_soon(descriptor):
                waiting()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_same_file(descriptor, lock):
                return functools.partial(_release_flock, lock, descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_FLOCK:
                return _take_by_creating(lock.with_name(lock.name + ".held"), waiting)
            raise
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it has removed this file: take the lock on the new one


def _free_soon(descriptor: int) -> bool:
    """Take the lock if that is possible within a second."""
    assert fcntl is not None
    last = time.monotonic() + _MOMENT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > last:
                return False
            time.sleep(_MOMENT / 50)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _release_flock(lock: Path, descriptor: int) -> None:
    lock.unlink(missing_ok=True)  # while it is held, so that a waiting process can tell
    os.close(descriptor)


def _take_by_creating(lock: Path, waiting: Callable[[], None]) -> Callable[[], None]:
    waited = False
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return functools.partial(lock.unlink, missing_ok=True)
        except FileExistsError:
            if not waited:
                waiting()
                print(f"waiting until {lock} is gone; delete it if no other run is using it", file=sys.stderr)
            waited = True
            time.sleep(_POLL_SECONDS)
