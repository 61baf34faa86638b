"""A maze, a cloned policy, and a budget per call. A script, or cell by cell in an editor that knows ``# %%``.

python -m vgf.run preset=maze run_dir=runs/maze     # about a minute and a half on an idle core: data, training, scores
python examples/control.py runs/maze
"""

# %% The policy of a finished run. Nothing below trains anything.
import sys
from pathlib import Path

import gymnasium
import numpy as np
import ogbench  # noqa: F401  (registers the mazes)
import torch

from vgf import Budget, load, transport
from vgf.wrappers import Predictor, collect

RUN = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/maze")
policy = load(RUN)
env = gymnasium.make("pointmaze-medium-singletask-task1-v0")
obs, _ = env.reset(seed=0)
print(f"{RUN}: method {policy.method.method}, observations of {policy.networks.sizes.observation} numbers")

# %% The budget is an argument of the call. Size 0 is the cloned policy, bit for bit.
for size in (0.0, 0.1, 0.3):
    action = policy.act(obs, budget=Budget(size=size), seed=0)
    print(f"size {size:<4g} first action {np.round(action, 3)}")
assert (policy.act(obs, Budget(size=0.0), seed=0) == policy.act(obs, Budget(steps=0), seed=0)).all()

# %% Another rule moves the same particles; ten of them, coupled, by the Stein gradient.
print("vgf, 3 steps", np.round(policy.act(obs, Budget(steps=3), seed=0, method="vgf"), 3))

# %% What the move does: where the particles go, and how far they end up from their twins.
method = policy.method
noise = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 32, policy.networks.sizes.particle), np.float32))
state = torch.from_numpy(obs.astype(np.float32))[None]
for size in (0.0, 0.1, 0.3):
    moved = policy.move(state, noise, Budget(size=size), method)
    print(f"size {size:<4g} value {moved.values.mean():8.3f}   travelled {moved.travelled.mean():.3f}")

# %% The same operator without a run: any critic, any start. Here particles climb the value -|x - 1/2|^2.
start = torch.zeros(1, 4, 2)
goal = torch.tensor([0.5, 0.5])
climbed = transport(
    "grad_step", torch.zeros(1, 1), start, budget=Budget(steps=20, size=0.1, radius=0.4),
    critic=lambda context, x: -(x - goal).square().sum(-1).unsqueeze(0),
)  # fmt: skip
print("after 20 steps, held within a radius of 0.4:", climbed.particles[0, 0].numpy(), climbed.travelled[0, 0].item())

# %% Playing an episode: chunks open loop, fresh noise for every plan.
predictor, plan = Predictor(policy, budget=Budget(size=0.3), action_space=env.action_space), None
obs, _ = env.reset(seed=0)
for _ in range(200):
    action, plan = predictor.predict(obs, plan)
    obs, reward, terminated, truncated, info = env.step(action)
    if terminated or truncated:
        break
print(f"played at size 0.3: success {info['success']}")

# %% What the moved policy does, as a Minari data set.
short = gymnasium.make("pointmaze-medium-singletask-task1-v0", max_episode_steps=20)
recording = collect(short, policy, RUN / "collected" / "maze-v0", episodes=2, budget=Budget(size=0.3))
print(recording.origin, recording.observations.shape)
