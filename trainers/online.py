r"""Offline-to-online: the updates of :mod:`vgf.trainers.offline`, first on data, then also on what the policy plays.

    train.steps updates on the data (or init=RUN_DIR and train.steps=0)
    online.steps times:  one environment step,  then (after online.start steps) one update on data + replay

Exploration is a method at a budget, like everything else: VGF's protocol is ``online.method=best_of_n`` (particles are
not moved while playing, only in the TD target; code ryanxhr/vgf), QPILOTS' is its own steered action
(``online.method=null``, ten critics). The data stay in the buffer; ``online.balanced`` draws half of each batch from
what was played.

An episode joins the replay when it ends. Its environment seed and its particle noise depend on (seed, episode) alone,
and a checkpoint holds the actions of the episode in hand: going on replays them, so a run resumes exactly at any step.
"""

from __future__ import annotations

import copy
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vgf.config import Config
from vgf.data.buffer import ReplayBuffer, TwoStores
from vgf.data.store import TransitionStore
from vgf.errors import UserError
from vgf.evaluation import episode_seed, particle_noise
from vgf.methods import load_method
from vgf.policy import Policy
from vgf.problem import ACTION_MARGIN, AS_PAID, Problem, RewardMap
from vgf.rundir import RunDirectory
from vgf.scoring import play_points, points_of
from vgf.trainers import loop, offline
from vgf.trainers.terms import Losses

__all__ = ["OnlineTrainer", "Player", "require_playable", "train"]

_TOLD = ("online/return", "online/success", "online/episodes", "online/transitions")  # of the last finished episode
_SEED_OFFSET = 50_021  # training episodes are other episodes than those of an evaluation with the same seed
_NO_ENVIRONMENT = "trainer=online plays, and this task has no environment; give env=..."
_NOT_IN_MEMORY = (
    "trainer=online adds what it plays to transitions that are all in memory, which neither shards nor rows relabelled "
    "with goals are; use trainer=offline"
)


def require_playable(config: Config, task: ModuleType) -> None:
    """Raise, before data are prepared, the UserError of a task whose data cannot be joined by what is played."""
    if not getattr(task, "JOINED_BY_PLAY", True):
        raise UserError(_NOT_IN_MEMORY)
    if not hasattr(task, "solve") and task.environment_factory(config) is None:
        raise UserError(_NO_ENVIRONMENT)


def train(config: Config, problem: Problem, run: RunDirectory, device: torch.device) -> int:
    """Train offline, then online, with evaluations on the way; see :func:`vgf.trainers.loop.train`.

    Raises:
        UserError: a task without an environment, and what the loop raises.
    """
    if problem.make_environment is None:
        raise UserError(_NO_ENVIRONMENT)
    trainer = OnlineTrainer(config, problem, device)

    def evaluate_on_the_way() -> None:
        gone = trainer.step - config.train.steps
        if gone >= 0 and gone % config.online.eval_every == 0 and trainer.step < config.total_steps:
            networks, trained = copy.deepcopy(trainer.networks), trainer.will_have_trained
            policy = Policy(networks, config, config.train.flow_steps, trainer.step, trained=trained)
            assert problem.make_environment is not None
            play_points(config, run, policy, points_of(config, policy), problem.make_environment)

    try:
        return loop.go_on(trainer, config, run, evaluate_on_the_way)
    finally:
        trainer.player.close()


class OnlineTrainer(loop.Trainer):
    """A trainer that also plays.

    Raises:
        UserError: data that are not all in memory as they are: shards, or rows relabelled with goals.
    """

    def __init__(self, config: Config, problem: Problem, device: torch.device) -> None:
        super().__init__(config, problem, device, offline.objective(config))
        if not isinstance(self.data, TransitionStore):
            raise UserError(_NOT_IN_MEMORY)
        assert problem.make_environment is not None
        self.online, self.offline_steps = config.online, config.train.steps
        self.replay = ReplayBuffer(self.data, config.online.steps)
        self.both = TwoStores(self.data, self.replay, config.online.balanced)
        method = config if config.online.method is None else load_method(config.online.method)
        self.policy = Policy(self.networks, method, config.train.flow_steps, frozen=False)
        environment, seed = problem.make_environment(), config.seed + _SEED_OFFSET
        self.player = Player(environment, self.policy, self.replay, seed, problem.rewards)

    def begin(self, config: Config, run: RunDirectory) -> None:
        """As any trainer does; then the method that plays is held to what the run has learned or is going to learn.

        Raises:
            UserError: it needs what this run does not train, before anything is trained.
        """
        super().begin(config, run)
        self.policy.trained = self.will_have_trained
        self.policy.require(self.policy.method)

    def against_recording(self) -> str | None:
        """Every update is of data and a replay buffer that grows."""
        return "needs data that stay in memory as they are, and trainer=online plays more"

    def advance(self) -> Losses | None:
        """An update on the data, or an environment step and an update on data and replay."""
        played = self.step - self.offline_steps  # environment steps so far
        if played < 0:
            return self.update(self.data)
        self.player.step()
        if played + 1 < self.online.start:
            self.step += 1
            return None
        return self.update(self.both)

    def metrics(self, losses: Losses) -> dict[str, float]:
        """Those of the update, and the last finished episode's."""
        return super().metrics(losses) | self.player.last_episode

    def save(self, run_dir: Path) -> None:
        self.extra_state = {f"replay.{name}": column for name, column in self.replay.state().items()}
        self.extra_state |= {f"player.{name}": column for name, column in self.player.state().items()}
        super().save(run_dir)

    def restore(self, run_dir: Path) -> dict[str, Tensor]:
        stored = super().restore(run_dir)
        self.replay.restore({k.removeprefix("replay."): v for k, v in stored.items() if k.startswith("replay.")})
        self.player.restore({k.removeprefix("player."): v for k, v in stored.items() if k.startswith("player.")})
        return stored


class Player:
    """Plays episodes one environment step at a time and hands finished ones to a replay buffer.

    Args:
        environment: a gymnasium environment with flat observations and actions in [-1, 1].
        policy: decides on chunks, played open loop.
        replay: where finished episodes go.
        seed: of environment and particles, together with the episode's number.
        rewards: what is done to the environment's rewards before they are stored; the return that is told is its own.
    """

    def __init__(
        self, environment: Any, policy: Policy, replay: ReplayBuffer, seed: int, rewards: RewardMap = AS_PAID
    ) -> None:
        self._environment, self._policy, self._replay, self._seed = environment, policy, replay, seed
        self._rewards = rewards
        self._episode, self._decisions = -1, 0
        self._chosen: list[np.ndarray] = []  # of the chunk in hand, not yet played
        self._rows: list[dict[str, Any]] = []  # of the episode in hand
        self._success = 0.0
        self.last_episode: dict[str, float] = {}
        self._begin()

    def step(self) -> None:
        """Play one action; at an episode's end store it and begin the next."""
        if not self._chosen:
            noise = particle_noise(
                self._seed, self._episode, self._decisions, self._policy.noise_shape(self._policy.method)
            )
            self._chosen = list(self._policy.chunks(self._observation[None], noise[None], None, self._policy.method)[0])
            self._decisions += 1
        if self._play(self._chosen.pop(0)):
            self._finish()
            self._begin()

    def _begin(self) -> None:
        self._episode += 1
        self._decisions, self._chosen, self._rows, self._success = 0, [], [], 0.0
        observation, _ = self._of_environment("reset", seed=episode_seed(self._seed, self._episode))
        self._observation = np.asarray(observation, np.float32)
        self._require_finite(self._observation)

    def _of_environment(self, method: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(self._environment, method)(*args, **kwargs)
        except Exception as error:  # whatever it raises, the run is not to blame and its checkpoint stands
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"the environment failed in training episode {self._episode}: {said}") from error

    def _require_finite(self, *numbers: Any) -> None:
        if not all(np.isfinite(x).all() for x in numbers):
            raise UserError(f"the environment returned a number that is not finite in training episode {self._episode}")

    def _play(self, action: np.ndarray) -> bool:
        margin = 1 - ACTION_MARGIN
        action = np.clip(action, -margin, margin).astype(np.float32)
        after, reward, terminated, truncated, info = self._of_environment("step", action)
        after = np.asarray(after, np.float32)
        self._require_finite(after, reward)
        self._rows.append(
            {
                "observations": self._observation,
                "actions": action,
                "rewards": np.float32(reward),
                "masks": np.float32(not terminated),
                "terminals": np.float32(terminated or truncated),
                "next_observations": after,
            }
        )
        self._success = max(self._success, float(info.get("success", 0.0)))
        self._observation = after
        return bool(terminated or truncated)

    def _finish(self) -> None:
        episode = {key: np.stack([row[key] for row in self._rows]) for key in self._rows[0]}
        self._replay.append(episode | {"rewards": self._rewards(episode["rewards"])})
        told = float(episode["rewards"].sum()), self._success, self._episode + 1.0, float(self._replay.rows)
        self.last_episode = dict(zip(_TOLD, told, strict=True))

    def state(self) -> dict[str, Tensor]:
        """Where the player is: enough to come back to the same place in the same episode."""
        played = np.stack([row["actions"] for row in self._rows]) if self._rows else np.zeros((0, 0), np.float32)
        pending = np.stack(self._chosen) if self._chosen else np.zeros((0, 0), np.float32)
        return {
            "episode": torch.tensor([self._episode, self._decisions]),
            "played": torch.from_numpy(played),
            "pending": torch.from_numpy(pending),
            "observation": torch.from_numpy(self._observation),
            "last_episode": torch.tensor(list(self.last_episode.values()), dtype=torch.float64),
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Begin the stored episode again and play its actions.

        Raises:
            UserError: when the environment does not come to the same observation.
        """
        self._episode = int(state["episode"][0]) - 1
        self._begin()
        for action in state["played"].numpy():
            self._play(action)
        if not np.array_equal(self._observation, state["observation"].numpy()):
            raise UserError(
                f"the environment did not replay training episode {self._episode} as it was played; it is not "
                "deterministic given its seed, so this run cannot go on exactly"
            )
        self._decisions = int(state["episode"][1])
        self._chosen = list(state["pending"].numpy())
        self.last_episode = dict(zip(_TOLD, state["last_episode"].tolist(), strict=False))

    def close(self) -> None:
        """Close the environment."""
        self._environment.close()
