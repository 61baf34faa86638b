"""Data that stand in for D4RL's: one SAC run of stable-baselines3 (an extra), recorded in Minari's format.

::

    random actions   learning                                                        final policy
    |---------------|----------------------------------|-----------------------------|
    level:  R_0                     first level >= R_0 + medium * (R_T - R_0)         R_T
    |<----------- medium-replay: the replay buffer --->|
                                                       medium: what this policy plays
                                                                                     expert: what this one plays

A level is the mean return of the last episodes that SAC finished, with the noise it explores with. D4RL's medium is
about a third of its expert; ``data.sac.medium`` is the share here. As in D4RL, actions of all three are sampled, not
the policy's mean. "Expert" is the best that the budget bought, far below D4RL's.

    <folder>/sac/<domain>-seed<seed>-<digest of the settings>/{medium-replay,medium,expert}-v0/

All three come out of the same run, so a second one finds them there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from vgf.config import SACConfig
from vgf.data.formats.minari_writer import METADATA_FILE, write_minari
from vgf.data.recording import Recording
from vgf.errors import UserError
from vgf.files import locked
from vgf.progress import progress_bar
from vgf.tasks.recorded import make_flat

__all__ = ["QUALITIES", "sac_data"]

QUALITIES = ("medium-replay", "medium", "expert")  # what one SAC run records
_SNAPSHOTS = 60  # of the policy, over the whole run
_EPISODES = 4  # whose returns make a level
_PACKAGES = ("stable-baselines3", "gymnasium", "mujoco", "torch")


@dataclass(frozen=True)
class _Snapshot:
    """The policy after ``step`` environment steps, and how good it was."""

    step: int
    level: float
    weights: dict[str, Any]


def sac_data(env_id: str, quality: str, settings: SACConfig, seed: int, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Find or make the data set of a quality: its folder in Minari's layout, and its metadata.

    Args:
        env_id: gymnasium id with vector observations and a bounded action box.
        quality: one of ``QUALITIES``.
        settings: of the SAC run.
        seed: of networks, actions and environments.
        folder: the cache.

    Raises:
        UserError: stable-baselines3 is missing, or a file cannot be written.
        KeyboardInterrupt: after a line on stderr; no half data set is left.
    """
    described = {"env": env_id, "seed": seed, **asdict(settings)}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:8]
    root = folder / "sac" / f"{env_id.lower()}-seed{seed}-{digest}"
    if not _complete(root):
        _require_sac(env_id)
        with locked(root, waiting=lambda: print(f"waiting: another run is making {root}", file=sys.stderr)):
            if not _complete(root):
                try:
                    _make(env_id, settings, seed, root, described)
                except KeyboardInterrupt:
                    print(
                        "\nvgf: SAC was stopped and nothing of it is kept; the same command begins anew",
                        file=sys.stderr,
                    )
                    raise
    where = root / f"{quality}-v0"
    return where, json.loads((where / METADATA_FILE).read_text())


def _complete(root: Path) -> bool:
    return all((root / f"{quality}-v0" / METADATA_FILE).is_file() for quality in QUALITIES)


def _require_sac(env_id: str) -> None:
    try:
        import stable_baselines3  # noqa: F401
    except ImportError:
        raise UserError(
            f"task=mujoco collects its {env_id} data with SAC, which needs stable-baselines3: "
            'pip install "vgf[mujoco]"; or give a D4RL or Minari data set as data.path=FILE'
        ) from None


def _make(env_id: str, settings: SACConfig, seed: int, root: Path, described: dict[str, Any]) -> None:
    print(f"no data at {root}: training SAC on {env_id} for {settings.steps:,} steps", file=sys.stderr)
    begin = time.perf_counter()
    with _own_torch():
        model, snapshots, learned = _train(env_id, settings, seed)
        medium = _first_medium(snapshots, settings.medium)
        parts = {"medium-replay": _replayed(model, medium.step)}
        for quality, snapshot in (("medium", medium), ("expert", snapshots[-1])):
            model.policy.load_state_dict(snapshot.weights)
            parts[quality] = _rollouts(model, env_id, settings.rollout, seed, quality)
    facts = {
        "level_random": snapshots[0].level,
        "level_medium": medium.level,
        "level_final": snapshots[-1].level,
        "medium_step": medium.step,
        "seconds_of_training": round(learned),
        "seconds_in_all": round(time.perf_counter() - begin),
        "versions": {name: version(name) for name in _PACKAGES},
    }
    spec = gymnasium.spec(env_id).to_json()
    for quality, recording in parts.items():
        own = {"algorithm_name": "SAC", "mean_return": float(recording.returns.mean()), "sac": described | facts}
        write_minari(root / f"{quality}-v0", recording, env_spec=spec, metadata=own)


@contextlib.contextmanager
def _own_torch() -> Iterator[None]:
    """One thread and random numbers of its own, whatever the rest of the process goes on with."""
    import torch  # here: processes that step environments need none

    threads, numbers = torch.get_num_threads(), np.random.get_state()
    torch.set_num_threads(1)  # two spinning threads on a busy machine are slower than one
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(threads)
        np.random.set_state(numbers)


def _train(env_id: str, settings: SACConfig, seed: int) -> tuple[Any, list[_Snapshot], float]:
    """The finished SAC, a snapshot of random actions, some on the way and a last one; and seconds taken."""
    from stable_baselines3 import SAC
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    class Watch(BaseCallback):
        """Notes policies and levels, and shows progress."""

        def __init__(self) -> None:
            super().__init__()
            self.snapshots: list[_Snapshot] = []
            self.bar = progress_bar("training SAC", settings.steps, "step")

        def _on_step(self) -> bool:
            self.bar.update(self.num_timesteps - self.bar.n)
            due = settings.start + len(self.snapshots) * (settings.steps - settings.start) / _SNAPSHOTS
            if self.num_timesteps >= due and self.model.ep_info_buffer:
                self.note()
            return True

        def note(self) -> None:
            returns = [episode["r"] for episode in self.model.ep_info_buffer or []]
            if not returns:
                raise UserError(f"data.sac.steps={settings.steps} ends before an episode of {env_id} does; give more")
            level = float(np.mean(returns[-max(_EPISODES, settings.environments) :]))
            weights = {name: tensor.clone() for name, tensor in self.model.policy.state_dict().items()}
            self.snapshots.append(_Snapshot(self.num_timesteps, level, weights))
            self.bar.set_postfix_str(f"return {level:.0f}", refresh=False)

    watch, begin = Watch(), time.perf_counter()
    model = SAC(
        "MlpPolicy",
        make_vec_env(lambda: make_flat(env_id), settings.environments, seed=seed),
        learning_rate=settings.learning_rate,
        buffer_size=settings.steps + settings.environments,  # nothing is forgotten: it will be recorded
        learning_starts=settings.start,
        train_freq=1,
        gradient_steps=settings.updates,
        policy_kwargs={"net_arch": [settings.hidden, settings.hidden]},
        seed=seed,
        device="cpu",
    )
    with watch.bar:
        model.learn(settings.steps, callback=watch)
        watch.note()
    return model, watch.snapshots, time.perf_counter() - begin


def _first_medium(snapshots: list[_Snapshot], share: float) -> _Snapshot:
    """The first snapshot that came ``share`` of the way from the random to the final level; else the last."""
    start, end = snapshots[0].level, snapshots[-1].level
    return next((s for s in snapshots[1:] if s.level - start >= share * (end - start)), snapshots[-1])


def _replayed(model: Any, step: int) -> Recording:
    """The replay buffer up to an environment step, one environment's episodes after the other's."""
    buffer = model.replay_buffer
    columns = step // buffer.n_envs

    def rows(array: np.ndarray) -> np.ndarray:
        return np.swapaxes(array[:columns], 0, 1).reshape(columns * buffer.n_envs, *array.shape[2:])

    ends = rows(buffer.dones).astype(bool)
    terminated = ends & ~rows(buffer.timeouts).astype(bool)
    ends[columns - 1 :: columns] = True  # each environment's last row
    return Recording(
        observations=rows(buffer.observations).astype(np.float32),
        actions=model.policy.unscale_action(rows(buffer.actions)).astype(np.float32),
        rewards=rows(buffer.rewards).astype(np.float32),
        next_observations=rows(buffer.next_observations).astype(np.float32),
        terminated=terminated,
        ends=ends,
        origin="the replay buffer of SAC",
    )


def _rollouts(model: Any, env_id: str, transitions: int, seed: int, quality: str) -> Recording:
    """Whole episodes of the policy, sampled actions, the fewest that hold so many transitions."""
    environment = make_flat(env_id)
    rows: list[tuple[Any, ...]] = []
    with progress_bar(f"recording {quality}", transitions, "step") as bar:
        while len(rows) < transitions:
            observation, _ = environment.reset(seed=seed + 1_000_000 + len(rows))
            done = False
            while not done:
                action, _ = model.predict(observation)
                following, reward, terminated, truncated, _ = environment.step(action)
                done = terminated or truncated
                rows.append((observation, action, reward, following, terminated, done))
                observation = following
            bar.update(min(len(rows), transitions) - bar.n)
    environment.close()
    return Recording.of_rows(rows, f"the {quality} policy of SAC")
