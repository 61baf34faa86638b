"""What the timing tests time; spawned processes import it by this name."""

from __future__ import annotations

import os


def cores_seen(name: str):
    """A call that reports how many cores and threads its process has."""
    return {name: lambda: {"cores": len(os.sched_getaffinity(0)), "threads": int(os.environ["OMP_NUM_THREADS"])}}


def sleepy(log: str, **_: float):
    """Two calls that write down their turn."""

    def call(name: str):
        def step() -> None:
            with open(log, "a") as file:
                file.write(name)

        return step

    return {"a": call("a"), "b": call("b")}


def failing():
    """A side that cannot be built."""
    raise RuntimeError("no such luck\nand more lines")
