"""A policy as other libraries expect one: stable-baselines3's ``predict``, LeRobot's ``select_action``, Minari data.

A policy acts in [-1, 1] and may plan chunks of several actions, which are played open loop. The wrappers map actions
to a box and play the chunks. None of the libraries is needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from vgf.data.formats.minari_writer import write_minari
from vgf.data.recording import Recording
from vgf.errors import UserError
from vgf.evaluation import MOST_STEPS, episode_seed, require_seed
from vgf.files import require_writable
from vgf.policy import Policy
from vgf.transport import Budget

__all__ = ["LeRobotPolicy", "Predictor", "collect"]

State = tuple[np.ndarray, np.ndarray]  # planned chunks [B, H, A], and how much of each has been played [B]


class Predictor:
    """A policy at a budget, called as stable-baselines3 calls its models.

    Args:
        policy: of a control run.
        budget, method: as for :meth:`vgf.policy.Policy.act`.
        action_space: of the environment, whose box actions are mapped to; None: [-1, 1].
        seed: of the noise, a whole number of 0 or more.

    Raises:
        UserError: an action space that is no bounded box of the policy's actions, or no seed.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        budget: Budget | None = None,
        method: str | None = None,
        action_space: gymnasium.spaces.Space | None = None,
        seed: int = 0,
    ) -> None:
        require_seed(seed)
        self.policy, self.budget, self.method, self.seed = policy, budget, method, seed
        self.low, self.high = _box(action_space, policy.networks.sizes.action)
        self._plans = 0

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """The first action of a new plan: [S] -> [A], or [B, S] -> [B, A]."""
        return self.predict(observation)[0]

    def predict(
        self,
        observation: np.ndarray,
        state: State | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, State]:
        """Choose actions.

        Args:
            observation: [S] or [B, S].
            state: what the call before returned, to play its chunks to their end; None: plan anew.
            episode_start: [B] bool; True where an episode begins, and nothing planned before counts.
            deterministic: the same noise in every call, instead of new noise for every plan.

        Returns:
            Actions [A] or [B, A] in the action space, and the state for the next call.

        Raises:
            UserError: a state of another number of observations; otherwise as :meth:`vgf.policy.Policy.act`.
        """
        rows = np.atleast_2d(observation)
        if state is None:
            chunks, played = self._planned(rows, deterministic), np.zeros(len(rows), np.int64)
        else:
            chunks, played = state
            if len(played) != len(rows):
                raise UserError(f"the state is of {len(played)} observations, not {len(rows)}; pass state=None first")
            ended = played >= chunks.shape[1]
            if episode_start is not None:
                ended = ended | np.asarray(episode_start, bool)
            if ended.any():
                chunks = np.where(ended[:, None, None], self._planned(rows, deterministic), chunks)
                played = np.where(ended, 0, played)
        actions = self.scaled(chunks[np.arange(len(rows)), played])
        return (actions if np.ndim(observation) == 2 else actions[0]), (chunks, played + 1)

    def _planned(self, rows: np.ndarray, deterministic: bool) -> np.ndarray:
        seed = self.seed if deterministic else episode_seed(self.seed, self._plans)
        self._plans += 1
        return self.policy.act_chunk(rows, self.budget, seed, self.method)

    def scaled(self, actions: np.ndarray) -> np.ndarray:
        """Actions in [-1, 1], [..., A], in the action space, whose ends rounding does not leave."""
        inside = self.low + (actions + 1) / 2 * (self.high - self.low)
        return np.clip(inside.astype(self.low.dtype), self.low, self.high)


class LeRobotPolicy:
    """A policy at a budget with the methods of LeRobot's: batches of tensors, a queue of actions, ``reset``.

    For a loop of your own, or of a robot; ``lerobot-eval`` itself takes LeRobot's own modules only.

    Args:
        policy, budget, method, action_space, seed: as for :class:`Predictor`.
        key: of the batch's entry that holds observations [B, S].
    """

    name = "vgf"

    def __init__(self, policy: Policy, *, key: str = "observation.state", **settings: Any) -> None:
        self.key, self._predictor = key, Predictor(policy, **settings)
        self._queue: deque[Tensor] = deque()

    def reset(self) -> None:
        """Forget what is planned; to be called when an episode begins."""
        self._queue.clear()

    def predict_action_chunk(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Plan: actions [B, H, A]."""
        rows = self._observations(batch)
        _, (chunks, _) = self._predictor.predict(rows.detach().float().cpu().numpy())
        return torch.from_numpy(self._predictor.scaled(chunks)).to(rows.device)

    def select_action(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The next actions [B, A]; a new plan where the last one is played to its end.

        Raises:
            UserError: the plan that is being played is of another number of observations.
        """
        rows = len(self._observations(batch))
        if not self._queue:
            self._queue.extend(self.predict_action_chunk(batch).unbind(1))
        if len(self._queue[0]) != rows:
            raise UserError(f"the plan is of {len(self._queue[0])} observations, not {rows}; call reset() first")
        return self._queue.popleft()

    def _observations(self, batch: Mapping[str, Tensor]) -> Tensor:
        if self.key not in batch:
            raise UserError(f"the batch has no {self.key!r}; it has {', '.join(batch)}; key=... names observations")
        rows = batch[self.key]
        return rows if rows.ndim == 2 else rows.unsqueeze(0)


def collect(
    environment: gymnasium.Env,
    policy: Policy,
    folder: Path | str,
    *,
    episodes: int,
    budget: Budget | None = None,
    method: str | None = None,
    seed: int = 0,
    most_steps: int = MOST_STEPS,
) -> Recording:
    """Play episodes at a budget and keep them as a Minari data set.

    Args:
        environment: with vector observations, and actions in a box.
        policy, budget, method: as for :class:`Predictor`.
        folder: of the data set; one that is there is replaced. The ``minari`` package loads it.
        episodes: how many, >= 1.
        seed: of environment and noise, a whole number of 0 or more.
        most_steps: of one episode; longer ones are taken to have no end.

    Returns:
        What was recorded, actions in the environment's units.

    Raises:
        UserError: an environment without a spec that can be written or without a box, a folder that cannot be written
            to, no seed, all found before the first episode; or one that has not ended after ``most_steps``.
    """
    if episodes < 1:
        raise UserError(f"episodes={episodes} must be 1 or more")
    spec, env_spec = _written_spec(environment)
    predictor = Predictor(policy, budget=budget, method=method, action_space=environment.action_space, seed=seed)
    folder = Path(folder)
    require_writable(folder)
    rows: list[tuple[Any, ...]] = []
    for episode in range(episodes):
        observation, _ = environment.reset(seed=episode_seed(seed, episode))
        state, ended, cut, before = None, False, False, len(rows)
        while not (ended or cut):
            if len(rows) - before == most_steps:
                raise UserError(
                    f"episode {episode} has not ended after {most_steps} steps; give the environment a time limit "
                    "(gymnasium.wrappers.TimeLimit) or raise most_steps"
                )
            action, state = predictor.predict(np.asarray(observation, np.float32), state)
            following, reward, ended, cut, _ = environment.step(action)
            rows.append((observation, action, reward, following, ended, ended or cut))
            observation = following
    spent = policy.resolve(method).method + (f" at {budget}" if budget else "")
    recording = Recording.of_rows(rows, f"{episodes} episodes of {spec}, played by {spent}")
    write_minari(
        folder, recording, env_spec=env_spec,
        metadata={"algorithm_name": "vgf", "description": recording.origin},
    )  # fmt: skip
    return recording


def _written_spec(environment: gymnasium.Env) -> tuple[str, str]:
    """An environment's id, and its specification as Minari keeps it."""
    spec = environment.spec
    if spec is None:
        raise UserError("the environment has no spec; make it with gymnasium.make")
    try:
        return spec.id, spec.to_json()
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"the spec of {spec.id} cannot be written as JSON ({' '.join(str(error).split())[:200]}); make it, and its "
            "wrappers, with arguments that are plain numbers, texts and lists"
        ) from error


def _box(space: gymnasium.spaces.Space | None, size: int) -> tuple[np.ndarray, np.ndarray]:
    if space is None:
        return -np.ones(size, np.float32), np.ones(size, np.float32)
    if not isinstance(space, gymnasium.spaces.Box) or space.shape != (size,):
        raise UserError(f"the action space {space} is no box of {size} numbers, which this policy's actions have")
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise UserError(f"the action space {space} is not bounded; actions cannot be mapped to it")
    return space.low, space.high
