"""Seeded evaluation over a pool of environment processes, with common random numbers.

Episode e is played with the environment seed and the particle noise that belong to ``(seed, e)``,
whatever the method and the budget: the difference between two budgets is the budget's doing.

Episodes are dealt to a fixed number of slots (episode e plays in slot e mod slots) and the policy is
always called with one row a slot, so scores do not depend on how many processes step the slots.

    policy (main process)   one batched call a decision
    worker 1                slots 0, 2, 4, ...   plays each chunk open loop
    worker 2                slots 1, 3, 5, ...
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np

from vgf.environments import EnvironmentPool
from vgf.errors import UserError

__all__ = ["MOST_STEPS", "Decision", "EpisodeRecord", "TimeSpent", "evaluate", "particle_noise"]

MOST_STEPS = 100_000  # of an episode; one that is longer is taken to have no end


@dataclass(frozen=True)
class Decision:
    """What a policy decided for a batch of observations.

    Attributes:
        actions: chunks to play open loop, [B, H, A].
        travelled: RMS distance per coordinate of the chosen particle from its twin, [B].
        values: what the critic that moves thinks of the chosen particle, [B].
        judged: what the judge thinks of it, [B]; NaN without a judge.
    """

    actions: np.ndarray
    travelled: np.ndarray
    values: np.ndarray
    judged: np.ndarray


@dataclass
class EpisodeRecord:
    """One played episode.

    Attributes:
        episode: its number, which is also its seed's.
        episode_return: undiscounted sum of rewards.
        success: 1.0 when the environment said so at any step, else 0.0; NaN when it never says.
        length: environment steps.
        travelled, value, judged: means over the episode's decisions.
        milliseconds: wall time of the policy a decision, shared among the slots of a batched call.
    """

    episode: int
    episode_return: float = 0.0
    success: float = float("nan")
    length: int = 0
    travelled: float = 0.0
    value: float = 0.0
    milliseconds: float = 0.0
    judged: float = 0.0
    decisions: int = field(default=0, repr=False)

    def add(self, **measured: float) -> None:
        """Count one more decision into the running means."""
        self.decisions += 1
        for name, x in measured.items():
            setattr(self, name, getattr(self, name) + (x - getattr(self, name)) / self.decisions)


@dataclass
class TimeSpent:
    """Where the wall time of an evaluation went, in seconds.

    Attributes:
        environment: making, resetting and stepping environments, as long as the main process waited for it.
        policy: deciding.
        total: all of it; the rest is noise, records and what is measured offline.
    """

    environment: float = 0.0
    policy: float = 0.0
    total: float = 0.0

    @contextlib.contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Add the time of a block to one of the attributes."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, what, getattr(self, what) + time.perf_counter() - begin)

    def __str__(self) -> str:
        rest = max(self.total - self.environment - self.policy, 0.0)
        parts = {"environment": self.environment, "policy": self.policy, "other": rest}
        shares = ", ".join(f"{name} {100 * part / max(self.total, 1e-9):.0f} %" for name, part in parts.items())
        return f"{shares} of {self.total:.1f} s"


def particle_noise(seed: int, episode: int, decision: int, shape: Sequence[int]) -> np.ndarray:
    """Standard normal noise [N, D] of one decision of one episode; particle n is the same for every N."""
    return np.random.default_rng([seed, episode, decision]).standard_normal(tuple(shape), dtype=np.float32)


def evaluate(
    decide: Callable[[np.ndarray, np.ndarray], Decision],
    pool: EnvironmentPool,
    *,
    noise_shape: tuple[int, int],
    episodes: int,
    seed: int,
    progress: Callable[[int], Any] = lambda done: None,
    spent: TimeSpent | None = None,
    most_steps: int = MOST_STEPS,
) -> list[EpisodeRecord]:
    """Play ``episodes`` episodes and return their records in order.

    Args:
        decide: (observations [slots, S], noise [slots, N, D]) -> Decision; rows of idle slots are zero.
        pool: where episodes are played.
        noise_shape: (N, D).
        episodes: how many, >= 1.
        seed: master seed of environments and noise.
        progress: called with 1 after each finished episode.
        spent: counts the time in environments and policy.
        most_steps: of one episode, >= 1; longer ones are taken to have no end.

    Raises:
        UserError: an episode that has not ended after ``most_steps``, and what the pool raises.
    """
    spent = spent or TimeSpent()
    slots = pool.slots
    records = [EpisodeRecord(e) for e in range(episodes)]
    playing: list[int | None] = [e if e < episodes else None for e in range(slots)]
    observations = np.zeros((slots, pool.observation_size), np.float32)
    noise = np.zeros((slots, *noise_shape), np.float32)
    with spent.on("environment"):
        first = pool.reset({slot: (episode_seed(seed, e), e) for slot, e in enumerate(playing) if e is not None})
    for slot, observation in first.items():
        observations[slot] = observation

    while any(e is not None for e in playing):
        for slot, e in enumerate(playing):
            if e is not None:
                noise[slot] = particle_noise(seed, e, records[e].decisions, noise_shape)
        before = spent.policy
        with spent.on("policy"):
            decision = decide(observations, noise)
        milliseconds = 1e3 * (spent.policy - before) / sum(e is not None for e in playing)

        with spent.on("environment"):
            played = pool.play({slot: decision.actions[slot] for slot, e in enumerate(playing) if e is not None})
        finished = {}
        for slot, outcome in played.items():
            e = playing[slot]
            assert e is not None
            record = records[e]
            record.add(
                travelled=float(decision.travelled[slot]),
                value=float(decision.values[slot]),
                judged=float(decision.judged[slot]),
                milliseconds=milliseconds,
            )
            record.episode_return += outcome.reward
            record.length += outcome.steps
            if outcome.success is not None:
                record.success = max(outcome.success, 0.0 if np.isnan(record.success) else record.success)
            observations[slot] = outcome.observation
            if record.length >= most_steps and not outcome.done:
                raise UserError(
                    f"episode {e} has not ended after {record.length} steps; give the environment a time limit "
                    "(max_episode_steps where it is registered)"
                )
            if outcome.done:
                progress(1)
                following = e + slots
                playing[slot] = following if following < episodes else None
                if playing[slot] is not None:
                    finished[slot] = episode_seed(seed, following), following
                else:
                    observations[slot], noise[slot] = 0, 0
        with spent.on("environment"):
            begun = pool.reset(finished)
        for slot, observation in begun.items():
            observations[slot] = observation
    return records


def episode_seed(seed: int, episode: int) -> int:
    """Environment seed of one episode, a 32-bit number."""
    return int(np.random.SeedSequence([seed, episode]).generate_state(1)[0])


def require_seed(seed: object) -> None:
    """Raise UserError unless noise can be drawn from ``seed``."""
    if not isinstance(seed, Integral) or seed < 0:
        raise UserError(f"seed={seed!r} must be a whole number, 0 or more")
