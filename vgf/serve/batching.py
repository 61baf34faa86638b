"""Requests that come within a few milliseconds of each other are worked on side by side.

    request ->  rows (key, content)  -\
    request ->  rows                 --> queue --> rows of the same key, at most so many --> one call of the model
    request ->  rows                 -/

One thread runs the model. Rows of one key have the same settings and shapes; what a row's answer is must not depend
on its neighbours, which is up to the function that is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from vgf.serve.http import ApiError

__all__ = ["Abandoned", "Batcher"]


class Abandoned(Exception):
    """Raised inside a call of the model to end it, because nobody waits for its answer any more."""


@dataclass(eq=False)
class _Row:
    key: Hashable
    content: Any
    answer: asyncio.Future[Any]


class Batcher:
    """Collects rows and hands them to the model, first come first served.

    Args:
        run: (key, contents, wanted) -> answers, in a thread of its own. ``wanted()`` is False when nobody waits for
            any of them any more.
        most: rows of a call.
        window: seconds to wait for company.
        seconds: a request may take, waiting included.
        waiting: rows that may wait.
    """

    def __init__(
        self,
        run: Callable[[Any, Sequence[Any], Callable[[], bool]], Sequence[Any]],
        *,
        most: int,
        window: float = 0.004,
        seconds: float = 60.0,
        waiting: int = 1024,
    ) -> None:
        self._run, self._most, self._window, self._seconds, self._limit = run, most, window, seconds, waiting
        self._rows: list[_Row] = []
        self._there = asyncio.Event()
        self._stopped = False
        self._thread = ThreadPoolExecutor(1, "model")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work; to be called where an event loop runs."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Stop, leaving requests that wait without an answer; a call of the model that runs is told to end."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
        for row in self._rows:
            row.answer.cancel()
        await asyncio.to_thread(self._thread.shutdown)

    async def answers(self, rows: Sequence[tuple[Hashable, Any]]) -> list[Any]:
        """The answers to a request's rows, each (key, content); cancelled, its rows are dropped.

        Raises:
            ApiError: too many rows wait already (429).
            TimeoutError: it takes longer than ``seconds``; its rows are dropped.
            Exception: what the model raised.
        """
        if self._stopped or len(self._rows) + len(rows) > self._limit:
            raise ApiError(429, "this server has more requests than it can take; try again", code="queue_full")
        loop = asyncio.get_running_loop()
        mine = [_Row(key, content, loop.create_future()) for key, content in rows]
        self._rows += mine
        self._there.set()
        try:
            async with asyncio.timeout(self._seconds):
                found = await asyncio.gather(*(row.answer for row in mine), return_exceptions=True)
        finally:
            for row in mine:
                row.answer.cancel()
        for answer in found:
            if isinstance(answer, BaseException):
                raise answer
        return found

    async def _work(self) -> None:
        while True:
            await self._there.wait()
            await asyncio.sleep(self._window)
            self._rows = [row for row in self._rows if not row.answer.done()]
            batch = [row for row in self._rows if row.key == self._rows[0].key][: self._most]
            self._rows = [row for row in self._rows if row not in batch]
            if batch:
                await self._answer(batch)
            if not self._rows:
                self._there.clear()

    async def _answer(self, batch: Sequence[_Row]) -> None:
        def wanted() -> bool:
            return not self._stopped and not all(row.answer.done() for row in batch)

        contents = [row.content for row in batch]
        call = asyncio.get_running_loop().run_in_executor(self._thread, self._run, batch[0].key, contents, wanted)
        try:
            found = await call
        except Abandoned:
            return
        except Exception as error:
            if len(batch) > 1:  # whose fault it is, and the answers of the others
                for row in batch:
                    await self._answer([row])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for row, answer in zip(batch, found, strict=True):
            if not row.answer.done():
                row.answer.set_result(answer)
