"""Update rate and resident memory of training on more data than memory, against training in memory.

    python benchmarks/big_data.py FOLDER [--rows 20000000] [--updates 1000] [--repeats 7] [--keep]

Writes made-up transitions (28 observations, 5 actions, episodes of 1000) as shards to FOLDER/shards, or takes those
that lie there, and trains QGF's reference and critic (3x256, batches of 256) in two fresh processes: one on the whole
folder of shards, one on the first million rows in memory. They take turns, ``--updates`` each, ``--repeats`` times, so
that whatever else the machine does falls on both. The shards swap at the start of every turn and are read ahead
within it, so none of their cost falls into the other's turn. Deletes the shards it wrote unless told to --keep.

Prints one JSON object: ``ours`` and ``other`` are medians of updates per second on shards and in memory, ``ratio``
is the median over turns of ours / other, ``cpu_ratio`` the same in updates per second of processor time, all threads
counted, which other work on the machine disturbs less; ``peak_gb`` is the largest resident memory of the process on
shards (VmHWM, Linux only).
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from vgf.config import Config
from vgf.data.sharded_store import ShardedStore, store_of
from vgf.data.shards import ShardedData, write_shards
from vgf.errors import UserError
from vgf.files import require_space
from vgf.problem import Problem
from vgf.trainers.loop import Trainer
from vgf.trainers.offline import objective

_OBSERVATION, _ACTION, _EPISODE = 28, 5, 1000
_ROW_BYTES = 4 * (_OBSERVATION + _ACTION + 2) + 1  # with reward, mask and terminal
_IN_MEMORY = 1_000_000  # transitions


def main() -> int:
    """Measure, or be one of the two processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=20_000_000, help="transitions in the store")
    parser.add_argument("--rows-per-shard", type=int, default=250_000)
    parser.add_argument("--memory-gb", type=float, default=1.0, help="for resident shards")
    parser.add_argument("--updates", type=int, default=1000, help="in a turn; a shard is swapped as often")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each process, after one to warm up")
    parser.add_argument("--keep", action="store_true", help="leave the shards for the next time")
    parser.add_argument("--process", choices=("shards", "memory"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.process:
        return _be_measured(given)
    target = given.folder / "shards"
    made = not target.exists()
    try:
        if made:
            require_space(given.folder, int(1.05 * _ROW_BYTES * given.rows))
            write_shards(target, _episodes(given.rows), rows_per_shard=given.rows_per_shard, source="made up")
        print(json.dumps(_measure(given)))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        if made and not given.keep:
            shutil.rmtree(target, ignore_errors=True)
    return 0


def _episodes(rows: int) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    for _ in range(rows // _EPISODE):
        yield {
            "observations": rng.standard_normal((_EPISODE + 1, _OBSERVATION), dtype=np.float32),
            "actions": rng.uniform(-1, 1, (_EPISODE + 1, _ACTION)),
            "rewards": rng.integers(-1, 1, _EPISODE + 1),
            "masks": np.ones(_EPISODE + 1),
        }


def _measure(given: argparse.Namespace) -> dict[str, object]:
    """Let the two processes take turns."""
    with _start("shards") as shards, _start("memory") as memory:
        pairs = [(_ask(shards, "turn"), _ask(memory, "turn")) for _ in range(given.repeats + 1)][1:]
        peak, rows, window = _ask(shards, "end")
        _ask(memory, "end")
    rates = [(a[0], b[0]) for a, b in pairs]
    ours, other = zip(*rates, strict=True)
    ratios = [a / b for a, b in rates]
    return {
        "ours": round(statistics.median(ours), 2),
        "other": round(statistics.median(other), 2),
        "ratio": round(statistics.median(ratios), 4),
        "cpu_ratio": round(statistics.median(a[1] / b[1] for a, b in pairs), 4),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "peak_gb": round(peak, 3),
        "transitions": int(rows),
        "resident_shards": int(window),
    }


def _start(kind: str) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, *sys.argv[1:], "--process", kind]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    _answer(process)  # it is ready
    return process


def _ask(process: subprocess.Popen[str], what: str) -> list[float]:
    assert process.stdin is not None
    process.stdin.write(f"{what}\n")
    process.stdin.flush()
    return _answer(process)


def _answer(process: subprocess.Popen[str]) -> list[float]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise UserError("a measured process stopped; its error is above")
    return json.loads(line)


def _be_measured(given: argparse.Namespace) -> int:
    """Train as told on stdin.

    For each 'turn' prints updates per second and per second of processor time, at the 'end' peak memory in GB,
    transitions and resident shards.
    """
    torch.set_num_threads(1)
    data = ShardedData(given.folder / "shards")
    sharded = given.process == "shards"
    train = data if sharded else _first_rows(data)
    store = partial(store_of, memory_gb=given.memory_gb, swap_every=given.updates)
    config = Config()
    problem = Problem(name="made up", train=train, validation=None, origin=data.source, store=store)
    trainer = Trainer(config, problem, torch.device("cpu"), objective(config))
    print("[]", flush=True)
    for line in sys.stdin:
        if line.strip() == "end":
            window = trainer.data.schedule.window if isinstance(trainer.data, ShardedStore) else 0
            print(json.dumps([_peak_gb(), len(train["actions"]), window]), flush=True)
            break
        began = time.perf_counter(), time.process_time()
        for _ in range(given.updates):
            if isinstance(trainer.data, ShardedStore):
                trainer.data.seek(trainer.step)
            trainer.advance()
        spent = time.perf_counter() - began[0], time.process_time() - began[1]
        print(json.dumps([given.updates / seconds for seconds in spent]), flush=True)
    return 0


def _first_rows(data: ShardedData) -> Mapping[str, np.ndarray]:
    """The first million transitions, in whole shards, as arrays."""
    count = int(np.searchsorted(np.cumsum(data.rows), _IN_MEMORY)) + 1
    read = [data.shard(shard) for shard in range(min(count, len(data.rows)))]
    return {name: np.concatenate([shard[name] for shard in read]) for name in read[0]}


def _peak_gb() -> float:
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024 / 1e9


if __name__ == "__main__":
    sys.exit(main())
