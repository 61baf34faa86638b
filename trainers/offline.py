r"""Offline training: a behaviour-cloned reference, a critic on action chunks, the networks of single rules beside them.

.. math::
    L = \underbrace{\sum_e \big( Q_e(s, a_{0:H}) - (R_n + \gamma^n m V'(s_n)) \big)^2}_{\text{critic}}
      + \underbrace{\| v(s, x_t, t) - (a_{0:H} - x_0) \|^2}_{\text{cloning}} + \text{extras}

One training run serves every method and budget: they only differ at test time. By default it is QGF's recipe, an IQL
critic and a flow; ``train.critic`` chooses another critic, ``net.reference`` another source, ``net.extras`` adds the
networks that single rules need.

Source: QGF, arXiv 2606.11087, code zhouzypaul/qgf. As there, t is uniform on {0, 1/T, ..., 1}, the
grid the sampler visits, and chunks that cross an episode's end are masked out.

Deviations: n may exceed the chunk length H (uncorrected n-step returns; n = H by default). The losses share one Adam;
their parameters are disjoint, so this changes nothing.
"""

from __future__ import annotations

import torch

from vgf.config import Config
from vgf.problem import Problem
from vgf.rundir import RunDirectory
from vgf.trainers import loop
from vgf.trainers.cloning import CLONING
from vgf.trainers.critics import CRITICS
from vgf.trainers.extra_losses import extra_terms
from vgf.trainers.terms import Term

__all__ = ["objective", "train"]


def objective(config: Config) -> dict[str, Term]:
    """Critic, cloning and extras, as configured."""
    return {
        **CRITICS[config.train.critic],
        "cloning": CLONING[config.net.reference],
        **extra_terms(config),
    }


def train(config: Config, problem: Problem, run: RunDirectory, device: torch.device) -> int:
    """Train until ``config.train.steps`` updates are made; see :func:`vgf.trainers.loop.train`."""
    return loop.train(config, problem, run, device, objective(config))
