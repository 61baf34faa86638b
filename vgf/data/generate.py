"""A data set made from episodes, by several processes, which goes on where an earlier attempt stopped.

Each finished episode is one file in a work folder; a later call keeps what it finds there. At the end the episodes
are put together in the order of their indices, so the result does not depend on who made which, or when::

    work/split0-000000.npz  split0-000001.npz  ...   ->   X.npz
    work/split1-000000.npz  ...                      ->   X-val.npz
                                                          X.json, written last: with it the data set is complete
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from vgf.data.episode_files import Job, episode_path, is_finished, merge, read_json, rows_of, write_manifest
from vgf.errors import UserError
from vgf.files import atomic_path, atomic_write_text, locked, require_space, sweep
from vgf.inherited import inherited
from vgf.progress import progress_bar

__all__ = ["generate"]

Collector = Callable[[int, int], dict[str, np.ndarray]]

_MARK = "made-from.json"  # in the work folder: which data set its episodes belong to
_DETAIL = "versions"  # the one key of a manifest that may change without making another data set
_WORKER_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "PYTHONWARNINGS": "ignore",  # simulators warn while they are imported
}


def generate(
    collect: Collector,
    *,
    target: Path,
    counts: Mapping[str, int],
    work: Path,
    processes: int,
    manifest: Mapping[str, Any],
    label: str,
) -> dict[str, Path]:
    """Make a data set, or go on making it, or find it finished.

    Args:
        collect: ``collect(split, index)`` makes one episode, ``{name: array [rows, ...]}`` with the same names and
            dtypes each time, from its arguments alone. Importable by name, as processes are spawned.
        target: ``X.npz``; each split goes to ``X<suffix>.npz`` and the manifest to ``X.json``.
        counts: suffix -> episodes, 1 or more, such as ``{"": 200, "-val": 20}``; the position is the split number.
        work: folder for finished episodes, ours alone; data sets of the same manifest may share it, and it stays while
            it holds episodes of a larger one that is not finished.
        processes: worker processes, 1 or more; the result does not depend on it.
        manifest: JSON values that say what the data are (settings, seed), and ``versions`` for the record.
        label: what this is, in messages and on the progress bar.

    Returns:
        suffix -> file.

    Raises:
        UserError: a worker failed or died, or a folder cannot be written. Finished episodes are kept.
        KeyboardInterrupt: after a line on stderr that says how many episodes are kept.
    """
    if processes < 1:
        raise UserError(f"{processes} processes cannot make {label}; give 1 or more")
    files = {suffix: target.with_name(target.stem + suffix + target.suffix) for suffix in counts}
    record = target.with_suffix(".json")
    identity = json.loads(json.dumps({key: value for key, value in manifest.items() if key != _DETAIL}))
    finished = partial(is_finished, record, files, counts, identity)
    left = work.exists() and os.access(work.parent, os.W_OK)  # by a process that was killed while it tidied up
    if finished() and not left:  # before the locks, so that a read-only folder will do
        return files

    def waiting() -> None:
        print(f"{label}: waiting for another run that makes it", file=sys.stderr)

    with locked(target, waiting=waiting), locked(work, waiting=waiting):
        jobs = [(split, index) for split, count in enumerate(counts.values()) for index in range(count)]
        if finished():
            _tidy(work, jobs)
            return files
        for path in (*files.values(), record):
            sweep(path.parent, path)
        _claim(work, identity)
        rows = {job: n for job in jobs if (n := rows_of(episode_path(work, job))) is not None}
        with _telling_what_is_kept(label, jobs, work):
            _make_missing(collect, jobs, rows, work, processes, label)
            for split, path in enumerate(files.values()):
                merge([job for job in jobs if job[0] == split], rows, work, path)
        write_manifest(record, manifest, counts, files, rows)
        _tidy(work, jobs)
    return files


def _claim(work: Path, identity: dict[str, Any]) -> None:
    """Make the work folder; throw away what it holds of another data set, but nobody's files but ours."""
    mark = work / _MARK
    if work.is_dir() and read_json(mark) != identity:
        if not mark.exists() and any(not path.name.startswith(".") for path in work.iterdir()):
            raise UserError(f"the work folder {work} holds other files; move them or choose another folder")
        shutil.rmtree(work)
    if not mark.exists():
        atomic_write_text(mark, json.dumps(identity))


def _tidy(work: Path, jobs: list[Job]) -> None:
    """Remove the work folder, unless it holds episodes of a larger data set too: then that one goes on from all."""
    ours = {_MARK, *(episode_path(work, job).name for job in jobs)}
    if all(path.name in ours or path.name.startswith(".") for path in work.glob("*")):
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _telling_what_is_kept(label: str, jobs: list[Job], work: Path) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, UserError) as error:
        made = sum(episode_path(work, job).is_file() for job in jobs)
        kept = f"{made} of {len(jobs)} episodes are kept in {work}, the same command goes on from there"
        if isinstance(error, UserError):
            raise UserError(f"{label}: {error}; {kept}") from error.__cause__
        print(f"\n{label}: stopped; {kept}", file=sys.stderr)
        raise


# --- the episodes: who makes which -----------------------------------------------------------------


def _make_missing(
    collect: Collector, jobs: list[Job], rows: dict[Job, int], work: Path, processes: int, label: str
) -> None:
    """Make the episodes that ``rows`` lacks, and enter them there."""
    waiting = deque(job for job in jobs if job not in rows)
    to_write = len(waiting) + len(jobs)  # episodes: one by one, and once more all together
    packed = pickle.dumps(collect)
    workers: list[BaseProcess] = []
    busy: dict[Connection, tuple[BaseProcess, Job]] = {}
    try:
        with progress_bar(f"generating {label}", len(jobs), "episode", initial=len(rows)) as bar:
            for _ in range(min(processes, len(waiting))):
                pipe, worker = _start_worker(packed, work)
                workers.append(worker)
                busy[pipe] = worker, _give(pipe, waiting.popleft())
            while busy:
                ready: list[Any] = wait(list(busy))
                for pipe in ready:
                    worker, job = busy.pop(pipe)
                    rows[job], size = _receive(pipe, worker, job)
                    bar.update()
                    bar.set_postfix_str(f"{sum(rows.values()):,} rows", refresh=False)
                    if to_write:
                        require_space(work, size * to_write)
                        to_write = 0
                    if waiting:
                        busy[pipe] = worker, _give(pipe, waiting.popleft())
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join()


def _start_worker(packed: bytes, work: Path) -> tuple[Connection, BaseProcess]:
    """Spawn a process that makes episodes: one thread, no warnings, deaf to Ctrl-C from its first moment."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=_work, args=(packed, work, theirs), daemon=True, name="episodes")
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None  # what is ignored is inherited
    try:
        with inherited(**_WORKER_ENVIRONMENT):
            worker.start()
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
    theirs.close()
    return ours, worker


def _give(pipe: Connection, job: Job) -> Job:
    with contextlib.suppress(ConnectionError):  # a dead worker: noticed, and explained, when its answer is read
        pipe.send(job)
    return job


def _receive(pipe: Connection, worker: BaseProcess, job: Job) -> tuple[int, int]:
    """Return the rows and bytes of the episode, or raise UserError with what became of it."""
    episode = f"episode {job[1]} of split {job[0]}"
    try:
        result, trace = pipe.recv()
    except (EOFError, ConnectionError):
        worker.join()
        code = worker.exitcode or 0
        end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        raise UserError(f"the process making {episode} {end} (out of memory?)") from None
    if trace:
        raise UserError(f"{episode} failed: {result}") from RuntimeError(trace)
    return result


def _work(packed: bytes, work: Path, pipe: Connection) -> None:
    """Make episodes until the other end of the pipe is closed, by intent or because its process is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever ends a group of processes means the main one
        signal.signal(number, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    with contextlib.suppress(EOFError, ConnectionError):
        try:
            collect: Collector = pickle.loads(packed)
            while True:
                job = pipe.recv()
                episode = collect(*job)
                lengths = {name: len(array) for name, array in episode.items()}
                if len(set(lengths.values())) != 1:
                    raise UserError(f"its arrays differ in length: {lengths}")
                path = episode_path(work, job)
                with atomic_path(path) as temporary:
                    np.savez(temporary, **episode)  # type: ignore[arg-type]
                pipe.send(((max(lengths.values()), path.stat().st_size), ""))
        except Exception as error:
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            pipe.send((" ".join(f"{kind}{error}".split()), traceback.format_exc()))
