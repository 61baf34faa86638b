"""A process that has everything imported and forks once for each call, so that a kill costs well under a second.

Requests and answers are lines of JSON on stdin and stdout:

    {"work": "command", "args": [...], "kill_after": 0.2}    ->    {"status": -9, "said": "...", "seconds": 0.2}

A call is a session of its own; what it has started and left behind is killed once its end has been seen. Its worker
processes are forked instead of spawned, which saves the time of their imports, and close what a spawned process would
not have: they notice, as those do, when the main process is gone.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import multiprocessing.context
import os
import signal
import stat
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_GRACE = 10.0  # seconds between SIGTERM and SIGKILL
_TRAINERS = ("offline", "online", "extras", "fql", "rebrac", "qam")


def main() -> None:
    """Answer requests until stdin ends."""
    multiprocessing.get_context = lambda method=None: _Forking()  # type: ignore[assignment]
    works = _imported()
    answers, sys.stdout = sys.stdout, sys.stderr
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(works, json.loads(line))), file=answers, flush=True)


class _Worker(multiprocessing.context.ForkProcess):
    def run(self) -> None:
        own = {x.fileno() for x in self._args if isinstance(x, Connection)}  # type: ignore[attr-defined]
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            with contextlib.suppress(OSError):
                if descriptor not in own and stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    os.close(descriptor)
        super().run()


class _Forking(multiprocessing.context.ForkContext):
    Process = _Worker  # type: ignore[assignment]


def _imported() -> Any:
    """Everything that a call would import late: the report's packages, and what the first optimiser loads."""
    for name in ("matplotlib.pyplot", "ot", "torch._dynamo", *(f"vgf.trainers.{name}" for name in _TRAINERS)):
        importlib.import_module(name)
    import torch

    import vgf.probe

    torch.set_num_threads(1)
    vgf.probe._STATES, vgf.probe._CLOUDS = 16, 4  # distances between clouds would take most of an evaluation's time
    return importlib.import_module("works")


def _answer(works: Any, request: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            _call(works, request, said.fileno())
        if "terminate_when" in request:
            status = _terminate(child, Path(request["terminate_when"]))
        else:
            status = _wait(child, began, request.get("kill_after"))
        seconds = time.monotonic() - began
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        said.seek(0)
        return {"status": status, "said": said.read().decode(errors="replace"), "seconds": seconds}


def _terminate(child: int, ready: Path) -> int:
    """SIGTERM once a path is there, and SIGKILL ten seconds later, as schedulers do."""
    while not ready.exists():
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGTERM)
    return _wait(child, time.monotonic(), _GRACE)


def _wait(child: int, began: float, kill_after: float | None) -> int:
    while kill_after is not None and time.monotonic() - began < kill_after:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    if kill_after is not None:
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _call(works: Any, request: dict[str, Any], said: int) -> None:
    os.setsid()
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.stdin = Path(os.devnull).open()  # noqa: SIM115
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    status = 70
    try:
        os.environ.update(request.get("environment", {}))
        status = getattr(works, request["work"])(*request["args"]) or 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
