"""Batches from more data than memory: a window of shards is resident, and moves over the data without bias.

The shards stand in a circle, in a random order. In each *period* W neighbours are resident and every draw is uniform
over their rows; between periods the oldest gives its slot to the next one, read ahead by a thread::

    order     3 0 4 1 2 | 4 3 0 1 2 | ...        W = 3; an epoch has one period a shard
    period 0  3 - - 1 2                          the window reaches around the circle, so each shard
    period 1  3 0 - - 2                          is resident for exactly W periods of every epoch
    period 2  3 0 4 - -

**No bias.** In period k a draw falls on a given resident row with probability 1 / R_k, where R_k is the number of
resident rows. Were all periods equally long, rows that meet large shards would be drawn less often. So period k lasts
T_k = c R_k steps: for each draw of a step a row is expected ``sum over its W periods of T_k / R_k = c W`` times an
epoch, the same for every row whatever the sizes of the shards. Rounding T_k to whole steps is the only departure,
below one step a period. Each epoch has its own order of all but the last W - 1 shards, which stay so that the circle
closes.

**Exact resume.** Which rows are resident, and in which slot, is a function of the step and the seed alone: call
``seek(step)`` before each update, then ``sample`` as often as wanted. There is no state to save, and drawing for a
log changes nothing. The window may follow from the machine's free memory, so checkpoints keep the :func:`residency`
and training goes on with the same one only.

**Devices.** The window lives on the device; shards are read and prepared on the CPU and copied into their slots. Where
all shards fit in the memory allowed, all are resident and nothing is ever swapped. Untested on CUDA.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vgf.data.shards import ShardedData
from vgf.data.store import Batch, Store, TransitionStore
from vgf.errors import UserError

__all__ = ["Schedule", "ShardedStore", "require_residency", "residency", "store_of"]

_NEEDED = ("observations", "actions", "rewards", "masks", "terminals", "next_observations")
_CPU_MEMORY_GB = 1.0
_DEVICE_FRACTION = 0.5  # of the free memory of an accelerator; networks and activations need some too


@dataclass(frozen=True)
class Period:
    """Steps ``first <= step < end`` in which the same shards are resident; ``shards`` [W] is in the order of slots."""

    first: int
    end: int
    shards: tuple[int, ...]


@dataclass(frozen=True)
class Schedule:
    """Which shards are resident at which step.

    Args:
        rows: of every shard.
        window: W, shards resident at a time, 1 to the number of shards.
        swap_every: mean length of a period, in steps.
        seed: of the order of shards.
    """

    rows: tuple[int, ...]
    window: int
    swap_every: int
    seed: int

    def at(self, step: int) -> Period:
        """The period that holds ``step``."""
        shards = len(self.rows)
        epoch, within = divmod(step, shards * self.swap_every)
        order = self._order(epoch)
        ends = self._ends(order)
        k = int(np.searchsorted(ends, within, side="right"))
        # Positions count on over epochs, so that a shard keeps its slot from one to the next.
        newest = epoch * shards + k
        slots = {p % self.window: int(order[p % shards]) for p in range(newest - self.window + 1, newest + 1)}
        start = step - within
        first = 0 if k == 0 else int(ends[k - 1])
        return Period(start + first, start + int(ends[k]), tuple(slots[slot] for slot in range(self.window)))

    def _order(self, epoch: int) -> np.ndarray:
        """The circle of one epoch: the last W - 1 shards are those of every epoch."""
        free = len(self.rows) - self.window + 1
        return np.concatenate(
            [np.random.default_rng((self.seed, epoch)).permutation(self._base[:free]), self._base[free:]]
        )

    @cached_property
    def _base(self) -> np.ndarray:
        return np.random.default_rng(self.seed).permutation(len(self.rows))

    def _ends(self, order: np.ndarray) -> np.ndarray:
        """Where the periods of an epoch end, in steps since it began: in proportion to the rows resident so far."""
        rows = np.array(self.rows, dtype=np.int64)[order]
        resident = np.convolve(
            np.concatenate([rows[len(rows) - self.window + 1 :], rows]), np.ones(self.window, np.int64), "valid"
        )
        return np.cumsum(resident) * (len(rows) * self.swap_every) // resident.sum()


class ShardedStore:
    """A :class:`vgf.data.store.Store` over a folder of shards, of which a window is in memory.

    Args:
        data: an open folder whose shards have rewards and masks, stored or added by its ``label``.
        chunk, n_step, discount, device: as in :class:`vgf.data.store.TransitionStore`.
        memory_gb: what the resident shards may take on the device, in 10^9 bytes; null: 1 on a CPU, half of the
            free memory of an accelerator. The shard being read counts as one of them.
        window: resident shards, in place of ``memory_gb``.
        swap_every: mean number of steps after which the oldest shard gives way to the next.
        seed: of the order of shards.

    Raises:
        UserError: a damaged shard, missing rewards, settings that do not suit the data, too little memory. Damage
            in a shard that is read later is raised by ``seek``.
    """

    fixed = False

    def __init__(
        self,
        data: ShardedData,
        *,
        chunk: int,
        n_step: int,
        discount: float,
        device: str | torch.device = "cpu",
        memory_gb: float | None = None,
        window: int | None = None,
        swap_every: int = 1000,
        seed: int = 0,
    ) -> None:
        short = np.flatnonzero(data.longest < chunk)
        if short.size:
            raise UserError(
                f"train.chunk={chunk} is longer than every episode of shard {short[0]} of {data.folder} "
                f"(longest: {data.longest[short[0]]} steps); lower it or write larger shards"
            )
        self.data = data
        self.device = torch.device(device)
        self._options: dict[str, Any] = {"chunk": chunk, "n_step": n_step, "discount": discount}
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="shards")
        self._coming: dict[int, Future[TransitionStore]] = {}
        first = self._read(0)
        self.observation_size = first.observation_size
        slot_rows = int(data.rows.max())
        if window is None:
            window = _window(data, slot_rows * _row_bytes(first), self.device, memory_gb)
        self.schedule = Schedule(tuple(data.rows.tolist()), min(window, len(data.rows)), swap_every, seed)
        self._slots = _Slots(first, self.schedule.window, slot_rows, self.device)
        self._first_rows = torch.from_numpy(np.cumsum(data.rows) - data.rows).to(self.device)
        self._period: Period | None = None

    def seek(self, step: int) -> None:
        """Make the shards of training step ``step`` resident. Costs nothing while they are the same."""
        if self._period is not None and self._period.first <= step < self._period.end:
            return
        self._period = self.schedule.at(step)
        for slot, shard in enumerate(self._period.shards):
            if self._slots.shards[slot] != shard:
                coming = self._coming.pop(shard, None)
                self._slots.put(slot, shard, coming.result() if coming else self._read(shard))
        following = set(self.schedule.at(self._period.end).shards) - set(self._period.shards)
        self._coming = {shard: self._reader.submit(self._read, shard) for shard in sorted(following)}

    def sample(self, size: int, generator: torch.Generator) -> Batch:
        """Draw ``size`` chunks that start at rows resident at the step sought, uniformly, with replacement."""
        if self._period is None:
            raise RuntimeError("call seek(step) before sample: a store of shards deals from those of the current step")
        batch, slots = self._slots.sample(size, generator)
        shards = torch.tensor(self._period.shards, device=self.device)[slots]
        return replace(batch, rows=batch.rows % self._slots.slot_rows + self._first_rows[shards])

    def _read(self, shard: int) -> TransitionStore:
        arrays = self.data.shard(shard)
        missing = [name for name in _NEEDED if name not in arrays]
        if missing:
            raise UserError(f"{self.data.folder} has no '{missing[0]}'; write it with the shards or label them")
        return TransitionStore({name: arrays[name] for name in _NEEDED}, **self._options)


class _Slots:
    """A TransitionStore whose rows are W slots of equal size; each holds a shard, and zeros after the shard's end."""

    def __init__(self, like: TransitionStore, slots: int, slot_rows: int, device: torch.device) -> None:
        self.shards = [-1] * slots
        self.slot_rows = slot_rows
        self._counts = torch.zeros(slots, dtype=torch.int64)
        self._store = copy.copy(like)
        self._store.rows, self._store.device = slots * slot_rows, device
        for name, tensor in _tensors(like).items():
            setattr(
                self._store, name, torch.zeros(slots * slot_rows, *tensor.shape[1:], dtype=tensor.dtype, device=device)
            )

    def put(self, slot: int, shard: int, content: TransitionStore) -> None:
        """Replace what is in a slot. Zeros, not old rows, follow it: chunks may reach past the end."""
        begin = slot * self.slot_rows
        for name, tensor in _tensors(content).items():
            target = getattr(self._store, name)[begin : begin + self.slot_rows]
            # Integers are row numbers.
            target[: content.rows] = tensor if tensor.is_floating_point() else tensor + begin
            target[content.rows :] = 0
        self.shards[slot] = shard
        self._counts[slot] = content.rows
        ends = self._counts.cumsum(0)
        self._total = int(ends[-1])
        self._ends = ends.to(self._store.device)
        self._shift = (torch.arange(len(ends)) * self.slot_rows - (ends - self._counts)).to(self._store.device)

    def sample(self, size: int, generator: torch.Generator) -> tuple[Batch, Tensor]:
        """A batch, and the slots [size] its rows are in."""
        drawn = torch.randint(self._total, (size,), generator=generator, device=self._store.device)
        slots = torch.searchsorted(self._ends, drawn, right=True)
        return self._store.batch(drawn + self._shift[slots]), slots


def residency(store: Store) -> dict[str, int | None] | None:
    """What decides, besides step and seed, which shards are resident: JSON values; None for a store in memory."""
    if not isinstance(store, ShardedStore):
        return None
    schedule, shards = store.schedule, len(store.schedule.rows)
    swap_every = schedule.swap_every if schedule.window < shards else None  # nothing is ever swapped
    return {"shards": shards, "resident": schedule.window, "swap_every": swap_every}


def require_residency(store: Store, manifest: Mapping[str, Any], run_dir: Path) -> None:
    """Raise a UserError where a checkpoint's manifest has another :func:`residency`; early versions wrote none."""
    ours = residency(store)
    theirs = manifest.get("residency", ours)
    if ours == theirs:
        return
    there, here = (
        ", ".join(f"{name} {value}" for name, value in one.items()) if one else "data in memory"
        for one in (theirs, ours)
    )
    raise UserError(
        f"{run_dir} was trained with {there}, here it would be {here}; give data.memory_gb and data.swap_every as they "
        "were, or choose another run_dir=..."
    )


def store_of(data: Mapping[str, np.ndarray], **options: Any) -> Store:
    """The store that suits the data, for :attr:`vgf.problem.Problem.store`: shards for training, arrays held out.

    Args:
        data: an open folder of shards, or arrays.
        options: keywords of :class:`ShardedStore`; those that arrays have no use for are left out.
    """
    if isinstance(data, ShardedData):
        return ShardedStore(data, **options)
    return TransitionStore(data, **{k: v for k, v in options.items() if k in ("chunk", "n_step", "discount", "device")})


def _window(data: ShardedData, shard_bytes: int, device: torch.device, memory_gb: float | None) -> int:
    """Shards that fit in the memory allowed: all, or as many as leave room for the one being read."""
    if memory_gb is None:
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
        memory_gb = _CPU_MEMORY_GB if free is None else _DEVICE_FRACTION * free / 1e9
    fitting = int(memory_gb * 1e9 // shard_bytes)
    if fitting >= len(data.rows):
        return len(data.rows)
    if fitting < 2:
        raise UserError(
            f"two shards of {data.folder} take {2 * shard_bytes / 1e9:.3g} GB in memory, more than the "
            f"{memory_gb:.3g} GB allowed; raise data.memory_gb or write smaller shards"
        )
    return fitting - 1


def _tensors(store: TransitionStore) -> dict[str, Tensor]:
    """The columns of a store in memory, one row a transition."""
    return {name: value for name, value in vars(store).items() if isinstance(value, Tensor)}


def _row_bytes(store: TransitionStore) -> int:
    return sum(tensor.nbytes for tensor in _tensors(store).values()) // store.rows
