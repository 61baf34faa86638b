"""Hindsight goals: batches of chunked n-step transitions, each relabelled with goals drawn from the data.

A goal is a row g of the data, shown to the networks as that row's full observation. As in OGBench's ``GCDataset``
with negative rewards, row j pays [j = g] - 1 and has mask [j != g]; what follows the goal does not count. A batch
row that starts at i sums k = min(n, rows left in the episode) of these rewards and bootstraps from the state s' behind
them, unless the goal was reached on the way. With n = 3, discount y, and an episode whose last row is i+4::

    row                 i     i+1   i+2   i+3   i+4  | i+5   next episode
    from i,   goal i    0                                    return 0            discount 0
    from i,   goal i+2  -1    -1    0                        return -1-y         discount 0
    from i,   goal i+3  -1    -1    -1    s'                 return -1-y-y^2     discount y^3: V(s', s') is learned
    from i,   goal i+5  -1    -1    -1    s'                 return -1-y-y^2     discount y^3
    from i+3, goal i+4                    -1    0            return -1           discount 0
    from i+3, goal i                      -1    -1     s'    return -1-y         discount y^2

Rows before the start and rows of other episodes are never reached. For n = 1 this is ``GCDataset``, row for row.

Source: OGBench, arXiv 2410.20092 and its reference implementations. Deviation: one uniform number a row picks the kind
of goal where theirs takes two; the law is the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vgf.data.chunks import last_row_of_episode
from vgf.data.store import Batch, TransitionStore
from vgf.errors import UserError

__all__ = ["ACTOR_GOALS", "CRITIC_GOALS", "GoalMixture", "GoalStore", "with_future_goals"]


@dataclass(frozen=True)
class GoalMixture:
    """Where the goals of rows come from.

    Attributes:
        current: probability that the goal is the row itself.
        trajectory: of a later row of the same episode (the last row is followed by itself).
        random: of any row of the data. The three sum to 1.
        geometric: later rows are min(geometric(1 - discount), rows left) ahead; False: uniform over the rows left,
            but for OGBench's rounding, which gives the first and the last of them half the weight.

    Raises:
        UserError: when the three are no probabilities.
    """

    current: float
    trajectory: float
    random: float
    geometric: bool

    def __post_init__(self) -> None:
        parts = (self.current, self.trajectory, self.random)
        if min(parts) < 0 or not math.isclose(sum(parts), 1.0, abs_tol=1e-6):
            raise UserError(f"goal mixture {parts} has a negative entry or does not sum to 1; give three probabilities")

    def draw(self, idx: Tensor, last: Tensor, rows: int, discount: float, generator: torch.Generator) -> Tensor:
        """Draw a goal row for every row.

        Args:
            idx: rows [B].
            last: the last rows of their episodes [B].
            rows: of the data.
            discount: of the geometric law, in (0, 1).
            generator: source of all randomness.
        """
        left = last - idx
        ahead = self._geometric(left, discount, generator) if self.geometric else self._uniform(left, generator)
        anywhere = torch.randint(rows, idx.shape, generator=generator, device=idx.device)
        kind = torch.rand(idx.shape, generator=generator, device=idx.device)
        elsewhere = torch.where(kind < self.current + self.trajectory, idx + ahead, anywhere)
        return torch.where(kind < self.current, idx, elsewhere)

    @staticmethod
    def _geometric(left: Tensor, discount: float, generator: torch.Generator) -> Tensor:
        steps = torch.empty(left.shape, device=left.device).geometric_(1 - discount, generator=generator)
        return torch.minimum(steps.long(), left)

    @staticmethod
    def _uniform(left: Tensor, generator: torch.Generator) -> Tensor:
        share = torch.rand(left.shape, generator=generator, device=left.device)
        return (left.clamp_max(1) * share + left * (1 - share)).round().long()


CRITIC_GOALS = GoalMixture(current=0.2, trajectory=0.5, random=0.3, geometric=True)
ACTOR_GOALS = GoalMixture(current=0.0, trajectory=1.0, random=0.0, geometric=False)


class GoalStore:
    """Transitions on a device, dealt out with hindsight goals; a batch's states are [B, 2S], observation and goal.

    Args:
        data: regular transitions as for :class:`vgf.data.store.TransitionStore`; rewards and masks are not looked at.
        chunk: H, actions in a particle.
        n_step: rewards summed before bootstrapping, >= chunk.
        discount: gamma in (0, 1), also of the geometric law of goals.
        device: where the arrays live.
        critic_goals: where the goals that are rewarded come from. Default: OGBench's (GCIQL).
        actor_goals: where the goals that the cloned source sees come from. Default: OGBench's.

    Raises:
        UserError: as TransitionStore does, or for a discount of 0 or 1.
    """

    fixed = True

    def __init__(
        self,
        data: Mapping[str, np.ndarray],
        *,
        chunk: int,
        n_step: int,
        discount: float,
        device: str | torch.device = "cpu",
        critic_goals: GoalMixture = CRITIC_GOALS,
        actor_goals: GoalMixture = ACTOR_GOALS,
    ) -> None:
        if not 0 < discount < 1:
            raise UserError(f"train.discount={discount} leaves goals no typical distance; give one between 0 and 1")
        # A goal that is never reached: -1 a step and no mask. Goals that are reached change single entries of a batch.
        count = len(data["actions"])
        unreached = {"rewards": np.full(count, -1, np.float32), "masks": np.ones(count, np.float32)}
        self.transitions = TransitionStore(
            {**data, **unreached}, chunk=chunk, n_step=n_step, discount=discount, device=device
        )
        self.discount = discount
        self.critic_goals = critic_goals
        self.actor_goals = actor_goals
        self.device = self.transitions.device
        self.observation_size = 2 * self.transitions.observation_size
        steps = discount ** torch.arange(n_step - 1, dtype=torch.float64)
        self.returns_until = torch.cat([steps.new_zeros(1), -steps.cumsum(0)]).to(self.device, torch.float32)  # [n]

    def __len__(self) -> int:
        return len(self.transitions)

    def seek(self, step: int) -> None:
        """All rows are here at every update."""

    def sample(self, size: int, generator: torch.Generator) -> Batch:
        """Draw ``size`` starting rows uniformly, with replacement, and goals for each. States are [B, 2S]."""
        rows = len(self)
        idx = torch.randint(rows, (size,), generator=generator, device=self.device)
        last = self.transitions.episode_end[idx]
        critic_goal, actor_goal = (
            goals.draw(idx, last, rows, self.discount, generator) for goals in (self.critic_goals, self.actor_goals)
        )
        return self.batch(idx, critic_goal, actor_goal)

    def batch(self, idx: Tensor, critic_goal: Tensor, actor_goal: Tensor) -> Batch:
        """Gather the chunks that start at rows ``idx``, with the given rows of the data as goals: all [B]."""
        plain = self.transitions.batch(idx)
        ahead = critic_goal - idx
        # Summed rows never leave the episode, so comparing row numbers suffices.
        reached = (ahead >= 0) & (critic_goal <= self.transitions.bootstrap_row[idx])
        until = self.returns_until[ahead.clamp(0, len(self.returns_until) - 1)]
        wanted, shown = (self.transitions.observations[goal] for goal in (critic_goal, actor_goal))  # [B, S]
        return replace(
            plain,
            observations=torch.cat([plain.observations, wanted], dim=1),
            next_observations=torch.cat([plain.next_observations, wanted], dim=1),
            actor_observations=torch.cat([plain.observations, shown], dim=1),
            returns=torch.where(reached, until, plain.returns),
            discounts=torch.where(reached, 0, plain.discounts),
        )


def with_future_goals(data: Mapping[str, np.ndarray], rows: np.ndarray, *, seed: int) -> np.ndarray:
    """Observations of ``rows`` [M] beside that of a later row of the same episode, drawn uniformly: [M, 2S].

    The same rows and seed give the same goals. The last row of an episode is its own goal.
    """
    last = last_row_of_episode(data["terminals"])[rows]
    goals = np.random.default_rng(seed).integers(np.minimum(rows + 1, last), last, endpoint=True)
    return np.concatenate([data["observations"][rows], data["observations"][goals]], axis=1)
