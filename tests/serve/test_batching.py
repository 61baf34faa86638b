"""The queue in front of the model, with a model that is a plain function."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

pytest.importorskip("fastapi")

from vgf.serve.batching import Abandoned, Batcher
from vgf.serve.http import ApiError


class Model:
    """Doubles numbers; refuses 13, and waits at 0 until nobody wants it any more."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, list[int]]] = []
        self.abandoned = threading.Event()

    def __call__(self, key: Any, contents: Sequence[int], wanted: Callable[[], bool]) -> list[int]:
        self.calls.append((key, list(contents)))
        while 0 in contents:
            if not wanted():
                self.abandoned.set()
                raise Abandoned
            time.sleep(0.001)
        if 13 in contents:
            raise ValueError("not 13")
        return [2 * content for content in contents]


def run(work: Callable[[Batcher], Awaitable[Any]], model: Model, **settings: Any) -> Any:
    async def main() -> Any:
        batcher = Batcher(model, **({"most": 4, "window": 0.05} | settings))
        batcher.start()
        try:
            return await work(batcher)
        finally:
            await batcher.stop()

    return asyncio.run(main())


def test_rows_of_one_key_share_a_call_and_come_back_in_order() -> None:
    async def work(batcher: Batcher) -> Any:
        asked = [[("a", 1), ("b", 2)], [("a", 3)], [("b", 4), ("a", 5)], [("a", 6), ("a", 7)]]
        return await asyncio.gather(*(batcher.answers(rows) for rows in asked))

    model = Model()
    assert run(work, model) == [[2, 4], [6], [8, 10], [12, 14]]
    assert model.calls == [("a", [1, 3, 5, 6]), ("b", [2, 4]), ("a", [7])]


def test_a_failure_is_its_own_requests() -> None:
    async def work(batcher: Batcher) -> Any:
        rows = [[("a", 1)], [("a", 13)], [("a", 2)]]
        return await asyncio.gather(*(batcher.answers(row) for row in rows), return_exceptions=True)

    first, second, third = run(work, Model())
    assert (first, third) == ([2], [4])
    assert str(second) == "not 13"


def test_too_many_rows_are_refused() -> None:
    async def work(batcher: Batcher) -> Any:
        return await asyncio.gather(
            batcher.answers([("a", 1), ("a", 2)]), batcher.answers([("a", 3), ("a", 4)]), return_exceptions=True
        )

    first, second = run(work, Model(), waiting=3)
    assert first == [2, 4]
    assert isinstance(second, ApiError)
    assert second.status == 429


def test_work_that_nobody_waits_for_is_ended_and_the_next_is_done() -> None:
    async def work(batcher: Batcher) -> Any:
        with pytest.raises(TimeoutError):
            await batcher.answers([("a", 0)])
        return await batcher.answers([("a", 1)])

    model = Model()
    assert run(work, model, seconds=0.3) == [2]
    assert model.abandoned.is_set()


def test_stopping_ends_what_runs() -> None:
    async def work(batcher: Batcher) -> Any:
        task = asyncio.create_task(batcher.answers([("a", 0)]))
        await asyncio.sleep(0.2)
        return task

    model = Model()
    run(work, model)
    assert model.abandoned.is_set()
