r"""QAM, Q-learning with Adjoint Matching (Li, Levine 2026, arXiv 2601.14234): the flow fine-tuned to the tilted law.

The goal is pi(a|s) ~ pi_beta(a|s) exp(tau Q(s,a)). Adjoint matching (Domingo-Enrich et al. 2024, arXiv 2409.08861)
simulates the fine-tuned flow with memoryless noise, sends grad Q back along the path through the *cloned* flow
(the lean adjoint), and regresses the fine-tuned velocity on what comes out:

.. math::
    L_\theta = \sum_k \Big\| \frac{2}{\sigma_k} (v_\theta - v_\beta)(s, X_k, t_k) + \sigma_k g_{k+1} \Big\|^2, \quad
    g_K = -\tau \nabla_a \tfrac1E \sum_e \bar Q_e(s, X_K), \quad g_k = J_k^\top g_{k+1}

with J_k the Jacobian of one noisy step of the cloned flow. The gradient is that of the mean of the target heads, as in
the authors' code (read in a public copy, hbin0701/qam, agents/qam.py). The critic is TD on the fine-tuned policy's
actions (``train.critic=td`` with ``rule=best_of_n``), valued by ``train.aggregate``, mean - 0.5 std there and here.

Deviations. There, v_beta is a Polyak average of the cloned flow, which also makes the path's last step, and the joint
gradient of all networks is clipped to norm 1; here v_beta is the cloned flow itself, the fine-tuned flow makes every
step, and nothing is clipped. The papers discretise dX = (2v - X/t) dt + sigma dW, sigma^2 = 2(1-t)/t, by Euler's
method, which is singular at t = 0 and coarse for ten steps. Here a step from t to t' is the exact transition of that
process given the denoised estimate c = x + (1-t) v (ancestral sampling; r is the ratio of the squared noise levels
(1-t)/t)::

    x' = t' [ (1 - r) c + r x / t ] + (1 - t') sqrt(1 - r) eps,   sigma_k^2 / 2 = (1 - t')^2 / (t' (1 - t))

Both agree as the steps get small. The last step has no noise, hence no control, and is left out of the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from vgf.config import Config, TrainConfig
from vgf.nets import ActorCritic
from vgf.problem import Problem
from vgf.rundir import RunDirectory
from vgf.trainers import loop
from vgf.trainers.cloning import CLONING
from vgf.trainers.critics import CRITICS
from vgf.trainers.extra_losses import action_gradient, extra_terms
from vgf.trainers.terms import Draw, Losses, Term
from vgf.transport.gradient import gradient_at
from vgf.transport.landscape import Velocity

__all__ = ["adjoint_path", "control_scale", "noisy_step", "objective", "qam_losses", "train"]


def noisy_step(velocity: Velocity, s: Tensor, x: Tensor, eps: Tensor, k: int, steps: int) -> Tensor:
    """One memoryless step from t = k/K to (k+1)/K: x, eps [B, D] -> [B, D]."""
    t, after = k / steps, (k + 1) / steps
    clean = x + (1 - t) * velocity(s, x, x.new_full((len(x), 1), t))
    if k == 0:  # infinitely much noise: the old place says nothing but what the denoiser makes of it
        return after * clean + (1 - after) * eps
    ratio = ((1 - after) / after * t / (1 - t)) ** 2
    return after * ((1 - ratio) * clean + ratio * x / t) + (1 - after) * (1 - ratio) ** 0.5 * eps


def control_scale(k: int, steps: int) -> float:
    """sigma_k^2 / 2: how far the velocity moves per unit of adjoint at step k."""
    t, after = k / steps, (k + 1) / steps
    return (1 - after) ** 2 / (after * (1 - t))


def adjoint_path(
    policy: Velocity, cloned: Velocity, climb: Callable[[Tensor], Tensor], s: Tensor, noise: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Noisy path of the policy, and the lean adjoint along it.

    Args:
        policy: fine-tuned velocity that makes the path.
        cloned: velocity that the adjoint goes back through.
        climb: tau grad Q at clean actions [B, D].
        s: [B, S].
        noise: [K, B, D], the starting point and the noise of the first K - 1 of K steps.

    Returns:
        (X_k, g_{k+1}) for k = 0 .. K - 1, [B, D] each.
    """
    steps = len(noise)
    eps = [*noise[1:], torch.zeros_like(noise[0])]
    path = [noise[0]]
    with torch.no_grad():
        for k in range(steps):
            path.append(noisy_step(policy, s, path[k], eps[k], k, steps))
    adjoint = -climb(path[steps])
    pairs = []
    for k in reversed(range(steps)):
        pairs.append((path[k], adjoint))
        carried = partial(_along, cloned, s, eps[k], k, steps, adjoint)
        adjoint = gradient_at(carried, path[k])
    return pairs[::-1]


def _along(cloned: Velocity, s: Tensor, eps: Tensor, k: int, steps: int, adjoint: Tensor, x: Tensor) -> Tensor:
    """<adjoint, noisy_step(x)>, whose gradient is the adjoint one step earlier."""
    return (noisy_step(cloned, s, x, eps, k, steps) * adjoint).sum()


def qam_losses(nets: ActorCritic, draw: Draw, config: TrainConfig) -> Losses:
    """Adjoint matching of the fine-tuned flow; cloned flow and critic have terms of their own."""
    s, steps = draw.batch.actor_observations, config.flow_steps
    noise = draw.spare["qam"].view(len(s), steps, -1).transpose(0, 1)  # [K, B, D]
    assert nets.policy is not None

    def climb(x: Tensor) -> Tensor:
        gradient = action_gradient(lambda s, a: nets.target_critic(s, a).mean(0), s, x.clamp(-1, 1))
        return config.actor.inverse_temperature * gradient

    pairs = adjoint_path(nets.policy.velocity, nets.flow.velocity, climb, s, noise)[:-1]
    x, adjoint = (torch.cat(column) for column in zip(*pairs, strict=True))  # [(K-1) B, D]
    t = torch.arange(steps - 1, device=s.device).repeat_interleave(len(s)).unsqueeze(-1) / steps
    scale = torch.cat([s.new_full((len(s), 1), control_scale(k, steps)) for k in range(steps - 1)])
    many = s.repeat(steps - 1, 1)
    with torch.no_grad():
        goal = nets.flow.velocity(many, x, t) - scale * adjoint
    error = (nets.policy.velocity(many, x, t) - goal).square()
    return {
        "actor/loss": (2 / scale * error).mean(),
        "actor/distance": (scale * adjoint).square().mean(),
    }


def objective(config: Config) -> dict[str, Term]:
    """What is minimised, term by term."""
    return {
        **CRITICS[config.train.critic],
        "cloning": CLONING[config.net.reference],
        "qam": Term(qam_losses, spare=lambda sizes, config: config.flow_steps * sizes.particle),
        **extra_terms(config),
    }


def train(config: Config, problem: Problem, run: RunDirectory, device: torch.device) -> int:
    """Train cloned flow, critic and fine-tuned flow; see :func:`vgf.trainers.loop.train`."""
    return loop.train(config, problem, run, device, objective(config))
