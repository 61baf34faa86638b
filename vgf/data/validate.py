"""What is odd about a recording: findings with the row where each applies, and a summary of what is there.

A *serious* finding means that training on the data as they are would go wrong. The others may well be meant: say, data
in which no episode terminates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vgf.data.recording import Recording

__all__ = ["Finding", "inspect", "summary"]

_SHOWN = 5  # dimensions or episodes named in one finding
_RANGES_A_LINE = 4
_ROUNDING = 1e-4  # beyond [-1, 1], what a float32 conversion does
_FAR = 10.0  # times the range of the other rewards: a placeholder, not a reward
_JUMP = 1e-3  # of a dimension's standard deviation: more than rounding between an observation and its copy


@dataclass(frozen=True)
class Finding:
    """Something odd, in one line; ``serious`` when it makes the data unfit as they are."""

    text: str
    serious: bool = False


def inspect(recording: Recording) -> list[Finding]:
    """All findings, serious ones first. Non-finite values are a finding, and left out of the other checks."""
    with np.errstate(all="ignore"):  # of infinities
        found = [finding for check in _CHECKS for finding in check(recording)]
    found += [Finding(remark) for remark in recording.remarks]
    return sorted(found, key=lambda finding: not finding.serious)


def summary(recording: Recording) -> str:
    """Counts, lengths, returns and the range of every dimension, as lines for a terminal."""
    lengths = recording.lengths
    with np.errstate(invalid="ignore"):  # of infinities
        returns = recording.returns
    terminated = int(recording.terminated[recording.ends].sum())
    rewards = recording.rewards[np.isfinite(recording.rewards)]
    values = np.unique(rewards)
    lines = [
        f"{recording.origin}: {len(recording):,} transitions in {len(lengths):,} episodes",
        f"ends          {terminated:,} episodes terminate, {len(lengths) - terminated:,} are cut",
        f"lengths       {_spread(lengths)}",
        f"returns       {_spread(returns[np.isfinite(returns)])}",
        f"rewards       {_spread(rewards)}; {len(values):,} distinct",
    ]
    for name in ("actions", "observations"):
        array = getattr(recording, name)
        ranges = [f"{i}: [{low:.4g}, {high:.4g}]" for i, (low, high) in enumerate(_ranges(array))]
        width = max(map(len, ranges)) + 2
        lines.append(f"{name:<14}{array.shape[1]} entries, lowest and highest value of each:")
        lines += [
            "  " + "".join(cell.ljust(width) for cell in ranges[begin : begin + _RANGES_A_LINE]).rstrip()
            for begin in range(0, len(ranges), _RANGES_A_LINE)
        ]
    return "\n".join(lines)


def _spread(numbers: np.ndarray) -> str:
    if not numbers.size:
        return "no finite value"
    numbers = numbers.astype(np.float64)
    low, *quarters, high = np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1])
    middle = ", ".join(f"{x:.4g}" for x in quarters)
    return f"{low:.4g} to {high:.4g}, quartiles {middle}, mean {np.mean(numbers):.4g}"


def _ranges(array: np.ndarray) -> Iterator[tuple[float, float]]:
    """Lowest and highest finite value of each column; NaN where there is none."""
    for column in array.T:
        finite = column[np.isfinite(column)]
        yield (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)


def _some(items: np.ndarray | list[int]) -> str:
    return ", ".join(str(item) for item in items[:_SHOWN]) + (", ..." if len(items) > _SHOWN else "")


# --- checks: each looks at one thing ----------------------------------------------------------------


def _non_finite(recording: Recording) -> Iterator[Finding]:
    for name in ("observations", "actions", "rewards", "next_observations"):
        array = getattr(recording, name)
        bad = ~np.isfinite(array).reshape(len(recording), -1).all(axis=1)
        if bad.any():
            where = recording.place(int(np.argmax(bad)))
            yield Finding(f"{name} are NaN or infinite in {bad.sum():,} rows, first in {where}", serious=True)


def _boundaries(recording: Recording) -> Iterator[Finding]:
    """Rows of one episode that do not follow one another: an end that nobody marked, or shuffled rows."""
    inside = ~recording.ends[:-1] & ~recording.terminated[:-1]
    scale = np.nan_to_num(recording.observations.std(axis=0, dtype=np.float64)) * _JUMP
    gap = np.abs(recording.next_observations[:-1] - recording.observations[1:])
    jumps = inside & (gap > scale + 1e-6 * np.abs(recording.observations[1:])).any(axis=1)
    if jumps.any():
        where = recording.place(int(np.argmax(jumps)))
        yield Finding(
            f"next_observations are not the following row's observations in {jumps.sum():,} rows inside episodes, "
            f"first in {where}: an episode's end is not marked, or rows are shuffled",
            serious=True,
        )


def _terminations(recording: Recording) -> Iterator[Finding]:
    if not recording.terminated.any():
        yield Finding("no episode terminates, all are cut; if the task has an end, 'terminals' lacks it")
    inside = recording.terminated & ~recording.ends
    if inside.any():
        where = recording.place(int(np.argmax(inside)))
        yield Finding(f"masks are 0 in {inside.sum():,} rows inside episodes, first in {where}; as OGBench has it")


def _lengths(recording: Recording) -> Iterator[Finding]:
    lengths = recording.lengths
    if len(lengths) == 1:
        yield Finding("there is one episode only: none can be held out, so there is no judge")
    ones = np.flatnonzero(lengths == 1)
    if ones.size:
        where = recording.place(int(recording.starts[ones[0]]))
        yield Finding(f"{ones.size:,} of {len(lengths):,} episodes have one step, first in {where}")


def _duplicates(recording: Recording) -> Iterator[Finding]:
    first: dict[bytes, int] = {}
    copies: list[tuple[int, int]] = []  # episode, the one that it repeats
    for episode, (start, length) in enumerate(zip(recording.starts, recording.lengths, strict=True)):
        rows = slice(start, start + length)
        digest = hashlib.blake2b(digest_size=16)
        for array in (recording.observations, recording.actions, recording.rewards):
            digest.update(array[rows].tobytes())
        original = first.setdefault(digest.digest(), episode)
        if original != episode:
            copies.append((episode, original))
    if copies:
        episode, original = copies[0]
        where = recording.place(int(recording.starts[episode]))
        yield Finding(
            f"{len(copies):,} episodes repeat an earlier one, first in {where}, which is episode {original} again: "
            "held-out episodes would not be new",
            serious=True,
        )


def _constants(recording: Recording) -> Iterator[Finding]:
    for name in ("observations", "actions"):
        still = [i for i, (low, high) in enumerate(_ranges(getattr(recording, name))) if low == high]
        size = getattr(recording, name).shape[1]
        if still:
            serious = name == "actions" and len(still) == size and len(recording) > 1
            yield Finding(f"{len(still)} of {size} dimensions of {name} never change: {_some(still)}", serious)


def _action_range(recording: Recording) -> Iterator[Finding]:
    beyond = np.nan_to_num(np.abs(recording.actions) - 1, posinf=0.0)
    outside = (beyond > _ROUNDING).any(axis=1)
    if outside.any():
        worst = np.unravel_index(int(beyond.argmax()), beyond.shape)
        yield Finding(
            f"actions lie outside [-1, 1] in {outside.sum():,} rows ({outside.mean():.2%}), first in "
            f"{recording.place(int(np.argmax(outside)))}, by {beyond[worst]:.4g} at most (dimension {worst[1]}, row "
            f"{worst[0]}); name the environment (env=...) or the box (data.action_low, data.action_high) they belong to"
        )


def _rewards(recording: Recording) -> Iterator[Finding]:
    finite = recording.rewards[np.isfinite(recording.rewards)]
    values, counts = np.unique(finite, return_counts=True)
    if len(values) == 1 and len(recording) > 1:
        yield Finding(f"every reward is {values[0]:g}: there is nothing to learn from", serious=True)
    if len(values) < 3:
        return
    for value, count, others in ((values[0], counts[0], values[1:]), (values[-1], counts[-1], values[:-1])):
        spread = max(float(np.ptp(others)), 1e-3 * float(np.abs(others).max()))
        if count > 1 and spread and np.abs(others - value).min() > _FAR * spread:
            where = recording.place(int(np.argmax(recording.rewards == value)))
            yield Finding(
                f"the reward {value:g} occurs {count:,} times, first in {where}, while all others lie in "
                f"[{others.min():.4g}, {others.max():.4g}]; is it a placeholder?"
            )


_CHECKS: tuple[Callable[[Recording], Iterator[Finding]], ...] = (
    _non_finite,
    _boundaries,
    _terminations,
    _lengths,
    _duplicates,
    _constants,
    _action_range,
    _rewards,
)
