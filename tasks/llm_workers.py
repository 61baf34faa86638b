"""Evaluates a language run on every core: processes of one thread each take batches of prompts until none is left.

Two threads on one batch of this size are no faster than one, two processes are twice as fast; the rows are the same
whatever their number, because a particle's noise does not depend on its batch. On a GPU one process does it all.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from vgf.config import Config
from vgf.errors import UserError
from vgf.language.evaluation import evaluate
from vgf.language.hub import first_line
from vgf.language.loading import load_heads, text_policy
from vgf.language.policy import Values
from vgf.language.problem import TextProblem
from vgf.rundir import RunDirectory
from vgf.tasks.llm_adapters import adapter_points
from vgf.tasks.llm_points import points_of

__all__ = ["evaluate_run", "useful_processes"]

Found = tuple[list[dict[str, Any]], list[dict[str, Any]]]  # rows of eval.csv and of samples.json


def useful_processes(config: Config, device: torch.device, batches: int) -> int:
    """One a core, as far as there are batches; one on a GPU, and where ``threads`` says how cores are used."""
    if device.type != "cpu" or config.threads is not None:
        return 1
    return max(1, min(config.eval.processes, os.cpu_count() or 1, batches))


def evaluate_run(
    config: Config,
    problem: TextProblem,
    run: RunDirectory,
    device: torch.device,
    prepare: Callable[[Config, torch.device], TextProblem],
    processes: int,
) -> Iterator[Found]:
    """Evaluate method, controls and adapter on the held-out prompts, one (seed, batch of prompts) at a time.

    Args:
        prepare: makes the problem anew in a process; a function at the top of a module.
        processes: see :func:`useful_processes`.

    Raises:
        UserError: what keeps a process from its work.
    """
    if processes == 1:
        yield from _share(config, problem, run.path, device, None)
        return
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    taken = context.Value("i", 0)  # jobs that have been handed out: the first seed's, which take longest, come first
    workers = [
        context.Process(target=_work, args=(config, run.path, prepare, taken, results), daemon=True)
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    try:
        going = processes
        while going:
            found = _next(results, workers)
            if found is None:
                going -= 1
            elif isinstance(found, str):
                raise UserError(found)
            else:
                yield found
        for worker in workers:
            worker.join(10)
    finally:
        for worker in workers:
            worker.kill()


def _share(config: Config, problem: TextProblem, run_dir: Path, device: torch.device, taken: Any) -> Iterator[Found]:
    """Evaluate the jobs that are left, one after the other; all of them where ``taken`` is None."""
    heads, run = load_heads(run_dir, device), RunDirectory(run_dir)
    policy = text_policy(config, problem.reference, Values(problem.reward, heads.get("heads"), heads.get("tokens")))
    jobs = len(policy.batches(problem.held_out)) * config.text.seeds
    return evaluate(
        policy,
        problem.held_out,
        points_of(config, heads) + adapter_points(config, problem, run, device),
        problem.judges,
        seeds=[config.eval.seed + k for k in range(config.text.seeds)],
        particles=config.transport.particles,
        chosen=problem.chosen,
        places=None if taken is None else _places(taken, jobs),
    )


def _places(taken: Any, jobs: int) -> Iterator[int]:
    """Jobs that no other process has, until there are none."""
    while True:
        with taken.get_lock():
            place, taken.value = taken.value, taken.value + 1
        if place >= jobs:
            return
        yield place


def _work(config: Config, run_dir: Path, prepare: Any, taken: Any, results: Any) -> None:
    """A process: batches while there are any, then None; a sentence in the place of a result when it cannot go on."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent hears them and ends its processes
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    device = torch.device("cpu")
    try:
        for found in _share(config, prepare(config, device), run_dir, device, taken):
            results.put(found)
        results.put(None)
    except UserError as error:
        results.put(str(error))
    except MemoryError:
        results.put("out of memory in evaluation; lower text.batch, transport.particles or eval.processes")
    except Exception as error:  # a trace from another process says less than one line from this one
        results.put(f"the evaluation failed: {type(error).__name__}: {first_line(error)}")


def _next(results: Any, workers: list[Any]) -> Any:
    """The next result; a process that has died without one is an error."""
    while True:
        with contextlib.suppress(queue.Empty):
            return results.get(timeout=5)
        if dead := [worker.exitcode for worker in workers if worker.exitcode not in (None, 0)]:
            raise UserError(
                f"a process of the evaluation ended with status {dead[0]}; where memory is short, lower eval.processes"
            )
