"""What is measured on: made-up transitions of cube-single's shape, and agents of stated sizes on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vgf.config import Config
from vgf.problem import Problem
from vgf.speed import pick_device
from vgf.trainers.loop import Trainer
from vgf.trainers.offline import objective

__all__ = ["ACTION", "OBSERVATION", "Case", "columns", "made_up", "operations", "trainer"]

OBSERVATION, ACTION = 28, 5  # cube-single's
_ROWS = 100_000
_EPISODE = 1000


@dataclass(frozen=True)
class Case:
    """Sizes of one comparison.

    Attributes:
        method: ``qgf`` (IQL critic, GELU, LayerNorm everywhere) or ``vgf`` (TD on moved particles, ReLU, LayerNorm in
            critics alone), each with the networks of its paper's code.
        hidden, layers: width and hidden layers of every network.
        batch, particles, moves: B, N and the transport's steps; the latter two of vgf.
    """

    method: str
    hidden: int = 256
    layers: int = 3
    batch: int = 256
    particles: int = 10
    moves: int = 3

    @property
    def label(self) -> str:
        """Such as ``4x512, batch 256``."""
        size = f"{self.layers}x{self.hidden}, batch {self.batch}"
        return size if self.method == "qgf" else f"{size}, N {self.particles}, {self.moves} moves"

    def config(self, *, compile: str = "off", precision: str = "auto") -> Config:
        """The run's configuration."""
        config = Config(run_dir="unused", compile=compile)
        config.net.hidden, config.net.layers = self.hidden, self.layers
        config.train.batch_size, config.train.precision = self.batch, precision
        if self.method == "vgf":
            config.net.activation, config.net.policy_norm = "relu", False
            config.train.critic, config.train.aggregate = "td", "mean"
            config.train.td.particles, config.train.td.steps, config.train.td.size = self.particles, self.moves, 0.05
        return config


def made_up(rows: int = _ROWS, seed: int = 0) -> dict[str, np.ndarray]:
    """Transitions without meaning: speed does not depend on what they say."""
    rng = np.random.default_rng(seed)
    data = {
        "observations": rng.standard_normal((rows, OBSERVATION)),
        "actions": rng.uniform(-1, 1, (rows, ACTION)),
        "rewards": rng.uniform(-1, 0, rows),
        "masks": np.ones(rows),
        "terminals": np.arange(rows) % _EPISODE == _EPISODE - 1,
        "next_observations": rng.standard_normal((rows, OBSERVATION)),
    }
    return {name: column.astype(np.float32) for name, column in data.items()}


def columns(data: Mapping[str, np.ndarray], discount: float = 0.99) -> dict[str, np.ndarray]:
    """The same transitions as the references take them: one-step returns, discounts and weights."""
    taken = {name: data[name] for name in ("observations", "actions", "next_observations")}
    return taken | {
        "returns": data["rewards"],
        "discounts": discount * data["masks"],
        "valid": np.ones_like(data["masks"]),
    }


def trainer(case: Case, *, device: str = "cpu", rows: int = _ROWS, **settings: str) -> Trainer:
    """Our trainer, through the classes that ``python -m vgf.run`` uses."""
    config = case.config(**settings)
    problem = Problem("made up", made_up(rows), None, "random numbers")
    return Trainer(config, problem, pick_device(device), objective(config))


def operations(case: Case) -> float:
    """Floating-point operations of an update's matrix products: 2 a weight and row forward, twice that backward."""
    networks = trainer(case, rows=2000).networks
    flow, q, v = (sum(p.numel() for p in net.parameters()) for net in (networks.flow, networks.q, networks.v))
    trained = 6 * case.batch * (flow + q)
    if case.method == "qgf":
        return trained + case.batch * (6 * v + 2 * v + 2 * q)
    rows = case.batch * case.particles
    return trained + rows * (10 * 2 * flow + case.moves * 4 * q + 2 * q)
