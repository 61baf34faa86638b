"""What scores of ``task=mujoco`` are normalised by: 0 is a random policy's mean return, 100 an expert's.

``python -m vgf.tasks.mujoco_scores`` measures the random column anew. The expert column is D4RL's published table
(github.com/Farama-Foundation/D4RL, ``d4rl/infos.py``), whose experts played older versions of the environments:
MuJoCo -v2 of gym, and Adroit with mujoco-py. The rewards of Hopper and Walker2d differ from theirs by the healthy
reward of an episode's last step, Walker2d-v5 has other friction at one foot as well. So normalised scores are ours,
close to but not those of D4RL's papers. There is none

- for Ant: Ant-v5 charges for contacts and shows 105 numbers in place of 111; the published row is of another task;
- for the pen: here an episode goes on after the pen was dropped, and a random policy returns -620, 96 in D4RL's table;
- for AntMaze, which is scored by success.
"""

from __future__ import annotations

import numpy as np

from vgf.scale import ScoreScale
from vgf.tasks.recorded import make_flat

__all__ = ["SCALES", "measure_random"]

_EPISODES, _SEED = 100, 0
_PUBLISHED = "D4RL's published expert, of an older version of the environment"


def _scale(env_id: str, random: float, expert: float) -> ScoreScale:
    measured = f"a uniformly random policy in {env_id}, {_EPISODES} episodes, seed {_SEED}, measured here"
    return ScoreScale(random, expert, f"0: {measured}; 100: {_PUBLISHED}")


# Measured with gymnasium 1.4.0, gymnasium-robotics 1.4.2, mujoco 4.0.0.
SCALES = {
    env_id: _scale(env_id, random, expert)
    for env_id, random, expert in (
        ("HalfCheetah-v5", -282.49, 12135.0),
        ("Hopper-v5", 16.67, 3234.3),
        ("Walker2d-v5", 1.77, 4592.3),
        ("gymnasium_robotics:AdroitHandDoor-v1", -45.78, 2880.5693087298737),
        ("gymnasium_robotics:AdroitHandHammer-v1", -268.28, 12794.134825156867),
        ("gymnasium_robotics:AdroitHandRelocate-v1", 11.07, 4233.877797728884),
    )
}


def measure_random(env_id: str, episodes: int = _EPISODES, seed: int = _SEED) -> tuple[float, float]:
    """Mean return of uniformly random actions, and its standard error."""
    environment = make_flat(env_id)
    environment.action_space.seed(seed)
    returns = []
    for episode in range(episodes):
        environment.reset(seed=seed + episode)
        total, done = 0.0, False
        while not done:
            _, reward, terminated, truncated, _ = environment.step(environment.action_space.sample())
            total += float(reward)
            done = terminated or truncated
        returns.append(total)
    environment.close()
    return float(np.mean(returns)), float(np.std(returns, ddof=1) / np.sqrt(episodes))


def _main() -> None:
    from vgf.tasks.mujoco import DOMAINS

    for env_id in dict.fromkeys(domain.env_id for domain in DOMAINS.values() if not domain.maze):
        mean, error = measure_random(env_id)
        print(f"{env_id}: {mean:.2f} +- {error:.2f}")


if __name__ == "__main__":
    _main()
