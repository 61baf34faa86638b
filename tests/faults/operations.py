"""Faults in the file system: the n-th operation below a folder fails, or the process is killed in the midst of it.

Counted are writes, flushes, renames, new and removed files and folders. A write that fails has written half of what it
was given. ``full`` stays: a disk that is full is full for whatever is written later as well.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

_NUMBERS = {"full": errno.ENOSPC, "error": errno.EIO}
_PLAIN = ("mkdir", "unlink", "rmdir", "replace")
_OPEN = io.open


class Fault:
    """Counts operations below ``root``; ``kind`` (kill, full, error) befalls the one with number ``at``."""

    def __init__(self, root: Path, kind: str = "", at: int = 0) -> None:
        self.root, self.kind, self.at, self.seen = str(root), kind, at, 0

    def concerns(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and str(Path(path).absolute()).startswith(self.root)

    def strike(self, frees: bool = False, partly: Callable[[], Any] = lambda: None) -> None:
        """One more operation. ``partly``: what a failing write has done by then; ``frees``: works on a full disk."""
        self.seen += 1
        stays = self.kind == "full" and not frees
        if self.seen == self.at or (stays and 0 < self.at < self.seen):
            if stays or self.kind != "full":
                partly()
            if self.kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if not (self.kind == "full" and frees):
                raise OSError(_NUMBERS[self.kind], os.strerror(_NUMBERS[self.kind]))


class _File(io.FileIO):
    fault: Fault
    failed: OSError | None = None

    def write(self, data: Any) -> int:
        if self.failed:
            raise self.failed
        content = bytes(data)
        half = content[: len(content) // 2]
        try:
            self.fault.strike(partly=lambda: super(_File, self).write(half))
        except OSError as error:
            if not half:
                raise
            self.failed = error  # as the system tells it: so much was written, and the error with the next call
            return len(half)
        return super().write(content)


@contextlib.contextmanager
def failing(fault: Fault) -> Iterator[Fault]:
    """Within the block operations of this process are counted, and one of them fails."""

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not set(mode) & set("wax+") or not fault.concerns(file):
            return _OPEN(file, mode, *args, **kwargs)
        raw = _File(file, mode.replace("t", "").replace("b", ""))
        raw.fault = fault
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        names = ("buffering", "encoding", "errors", "newline")
        given = dict(zip(names, args, strict=False)) | kwargs
        return io.TextIOWrapper(buffered, *(given.get(name) for name in names[1:]))

    def guarded(name: str) -> Any:
        plain = getattr(os, name)

        def operation(path: Any, *args: Any, **kwargs: Any) -> Any:
            inside = fault.concerns(path) or kwargs.get("dir_fd") is not None  # as shutil.rmtree removes things
            if inside:
                fault.strike(frees=name in ("unlink", "rmdir"))
            return plain(path, *args, **kwargs)

        return mock.patch.object(os, name, operation)

    fsync = os.fsync

    def flushed(descriptor: int) -> None:
        if fault.concerns(os.readlink(f"/proc/self/fd/{descriptor}")):
            fault.strike()
        fsync(descriptor)

    with contextlib.ExitStack() as stack:
        for patch in (
            mock.patch.object(io, "open", opened),
            mock.patch.object(builtins, "open", opened),
            mock.patch.object(os, "fsync", flushed),
            *map(guarded, _PLAIN),
        ):
            stack.enter_context(patch)
        yield fault
