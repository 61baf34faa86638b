"""A pool of environments stepped in worker processes; each plays action chunks open loop.

Workers are spawned (a forked process would inherit torch's thread pool), ignore Ctrl-C and SIGTERM (the
main process tells them to stop) and keep their environments: a MuJoCo model takes up to a second to make.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import numpy as np

from vgf.errors import UserError
from vgf.inherited import inherited

__all__ = ["EnvironmentPool", "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What playing one chunk led to: last observation [S], summed reward, steps played, end, success if told."""

    observation: np.ndarray
    reward: float
    steps: int
    done: bool
    success: float | None


class EnvironmentPool:
    """``slots`` environments over ``processes`` worker processes. Use as a context manager.

    Args:
        make: picklable function that makes one gymnasium environment with flat observations.
        slots: environments in all, >= 1.
        processes: worker processes; no more than slots are started.

    Raises:
        UserError: when a worker dies, an environment raises, or returns a number that is not finite.
    """

    def __init__(self, make: Callable[[], Any], *, slots: int, processes: int) -> None:
        self.slots = slots
        self._processes = max(1, min(processes, slots))
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._workers = []
        for rank in range(self._processes):
            ours, theirs = context.Pipe()
            mine = range(rank, slots, self._processes)
            worker = context.Process(
                target=_work, args=(theirs, make, list(mine)), daemon=True, name=f"environments-{rank}"
            )
            with inherited(OMP_NUM_THREADS="1"):  # two cores must not spin against each other
                worker.start()
            theirs.close()
            self._pipes.append(ours)
            self._workers.append(worker)
        sizes = [self._receive(rank) for rank in range(self._processes)]
        self.observation_size, self.action_size = sizes[0]

    def reset(self, episodes: Mapping[int, tuple[int, int]]) -> dict[int, np.ndarray]:
        """Begin episodes in the given slots: slot -> (seed, number of the episode); returns first observations [S].

        An environment with the attribute ``deals_episodes`` is told the number (``options={"episode": e}``), so that
        it can deal out goals evenly.
        """
        return self._ask("reset", episodes)

    def play(self, chunks: Mapping[int, np.ndarray]) -> dict[int, Outcome]:
        """Play a chunk [H, A] in each given slot, stopping where the episode ends: slot -> Outcome."""
        return self._ask("play", chunks)

    def _ask(self, command: str, by_slot: Mapping[int, Any]) -> dict[int, Any]:
        ranks = sorted({slot % self._processes for slot in by_slot})
        for rank in ranks:
            try:
                self._pipes[rank].send((command, {s: x for s, x in by_slot.items() if s % self._processes == rank}))
            except (BrokenPipeError, ConnectionResetError):
                raise self._died(rank) from None
        answers: dict[int, Any] = {}
        for rank in ranks:
            answers.update(self._receive(rank))
        return answers

    def _receive(self, rank: int) -> Any:
        try:
            kind, payload = self._pipes[rank].recv()
        except (EOFError, ConnectionResetError, BrokenPipeError):
            raise self._died(rank) from None
        if kind == "error":
            raise UserError(f"the environment failed: {payload}")
        return payload

    def _died(self, rank: int) -> UserError:
        self._workers[rank].join(1)
        code = self._workers[rank].exitcode
        return UserError(f"environment process {rank} died (exit code {code}; out of memory?); nothing trained is lost")

    def close(self) -> None:
        """Stop the workers."""
        for pipe in self._pipes:
            pipe.close()
        for worker in self._workers:
            worker.join(timeout=2)
            if worker.is_alive():
                worker.kill()

    def __enter__(self) -> EnvironmentPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _work(pipe: Connection, make: Callable[[], Any], slots: list[int]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        environments = {slot: make() for slot in slots}
        one = environments[slots[0]]
        pipe.send(("ready", (int(np.prod(one.observation_space.shape)), int(np.prod(one.action_space.shape)))))
        commands: dict[str, Callable[[Any, Any], Any]] = {"reset": _reset, "play": _play}
        while True:
            command, by_slot = pipe.recv()
            pipe.send(("done", {slot: commands[command](environments[slot], x) for slot, x in by_slot.items()}))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the main process is gone or has closed the pool
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = " ".join(f"{type(error).__name__}: {error}".split())  # one line, whatever the environment wrote
        pipe.send(("error", f"{said} ({os.path.basename(where.filename)}:{where.lineno})"))


def _reset(environment: Any, episode: tuple[int, int]) -> np.ndarray:
    seed, number = episode
    options = {"episode": number} if getattr(environment, "deals_episodes", False) else None
    observation, _ = environment.reset(seed=seed, options=options)
    return _finite(observation, "observation")


def _play(environment: Any, chunk: np.ndarray) -> Outcome:
    total, steps, success, done = 0.0, 0, None, False
    while steps < len(chunk) and not done:
        observation, reward, terminated, truncated, info = environment.step(chunk[steps])
        observation = _finite(observation, "observation")
        total += float(_finite(reward, "reward"))
        if "success" in info:
            success = max(float(info["success"]), success or 0.0)
        done = bool(terminated or truncated)
        steps += 1
    return Outcome(observation, total, steps, done, success)


def _finite(x: Any, what: str) -> np.ndarray:
    array = np.asarray(x, np.float32)
    if not np.isfinite(array).all():
        raise FloatingPointError(f"{what} is not finite")
    return array
