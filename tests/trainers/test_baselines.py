"""What every trainer must do, and what single baselines are: a new trainer is covered by adding its row."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from small import problem, small_config

from vgf import Budget, UserError, load
from vgf.checkpoint import load_checkpoint
from vgf.config import Config
from vgf.rundir import RunDirectory
from vgf.trainers import resume
from vgf.trainers.loop import Trainer
from vgf.trainers.qam import adjoint_path, control_scale

CPU = torch.device("cpu")
CONFIGS = Path(__file__).parents[2] / "configs" / "trainer"
TRAINERS = [  # of control: those of text are in test_text_trainers.py
    name
    for name in sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    if {"objective", "OnlineTrainer"} & vars(importlib.import_module(f"vgf.trainers.{name}")).keys()
]


def configured(name: str, **changes) -> Config:
    """A small run with what the trainer's own file sets."""
    if name == "online":  # four updates offline, then eight steps with play
        changes = {"online__steps": 8, "online__start": 2, "online__eval_every": 100, "train__steps": 4} | changes
    file = OmegaConf.create((CONFIGS / f"{name}.yaml").read_text())
    merged = OmegaConf.merge(OmegaConf.structured(small_config(**changes)), file)
    return OmegaConf.to_object(merged)


def run(name: str, path: Path, **changes):
    config = configured(name, **changes)
    directory = RunDirectory(path)
    directory.claim(config)
    train = importlib.import_module(f"vgf.trainers.{name}").train
    return train(config, problem(validation=True), directory, CPU)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished offline run."""
    path = tmp_path_factory.mktemp("runs") / "offline"
    run("offline", path)
    return path


def init_of(name: str, finished: Path) -> dict:
    return {"init": str(finished), "net__extras": ["gradient", "flow_map"]} if name == "extras" else {}


@pytest.mark.parametrize("name", TRAINERS)
def test_resumed_equals_uninterrupted_and_the_policy_acts(name, tmp_path, finished):
    init = init_of(name, finished)
    key = "online.steps" if name == "online" else "train.steps"
    assert run(name, tmp_path / "whole", **init) == 12
    run(name, tmp_path / "parts", **init, **{key.replace(".", "__"): 5})
    config = OmegaConf.load(tmp_path / "parts" / "config.yaml")
    OmegaConf.update(config, key, 8 if name == "online" else 12)
    OmegaConf.save(config, tmp_path / "parts" / "config.yaml")
    assert run(name, tmp_path / "parts", **init) == 12
    whole, parts = (load_checkpoint(tmp_path / p, training=True) for p in ("whole", "parts"))
    for a, b in ((whole.networks, parts.networks), (whole.training, parts.training)):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a)
    untrained = Trainer(configured(name, **init), problem(validation=True), CPU, {}).networks.state_dict()
    prefix = {"offline": "flow.", "online": "flow.", "extras": "extras.gradient"}.get(name, "policy.")
    assert any(k.startswith(prefix) and not torch.equal(v, whole.networks[k]) for k, v in untrained.items())
    policy = load(tmp_path / "whole")
    obs = problem().train["observations"][:5]
    still, moved = (policy.act(obs, budget=Budget(size=size)) for size in (0.0, 0.3))
    assert still.shape == (5, 2)
    assert (still != moved).any()  # a trained policy is a source of particles like any other


def test_extras_afterwards_leave_the_run_as_it_is(tmp_path, finished):
    run("extras", tmp_path / "more", init=str(finished), net__extras=["flow_map"])
    old, new = load_checkpoint(finished).networks, load_checkpoint(tmp_path / "more").networks
    assert all(torch.equal(new[k], v) for k, v in old.items())
    assert {k.split(".")[1] for k in new.keys() - old.keys()} == {"flow_map"}


def test_an_extra_that_is_left_behind_is_named_and_not_called_trained(tmp_path, finished, capsys):
    run("extras", tmp_path / "map", init=str(finished), net__extras=["flow_map"])
    run("extras", tmp_path / "more", init=str(tmp_path / "map"), net__extras=["gradient"])
    assert f"left behind: flow_map of init={tmp_path / 'map'}" in capsys.readouterr().out
    trained = load_checkpoint(tmp_path / "more").manifest["trained"]
    assert [name for name in trained if name.startswith("extras.")] == ["extras.gradient"]


def test_better_actions_are_not_cloned_against_values_that_nobody_learned(tmp_path, finished):
    run("extras", tmp_path / "more", init=str(finished), net__extras=["optimal"])
    run("fql", tmp_path / "fql")
    with pytest.raises(UserError, match=r"better than V\(s\), which init=.*fql has not learned"):
        run("extras", tmp_path / "none", init=str(tmp_path / "fql"), net__extras=["optimal"])


def test_networks_of_other_sizes_cannot_be_taken_over(tmp_path, finished):
    with pytest.raises(UserError, match=r"networks of another build .hidden 16, here 8"):
        run("extras", tmp_path / "c", init=str(finished), net__extras=["noisy"], net__hidden=8)


@pytest.mark.parametrize("name", ["fql", "rebrac"])
def test_a_strong_penalty_keeps_the_policy_at_the_data(name):
    """alpha = 1e4 against 0: the distance that is penalised ends smaller."""
    distances = []
    for alpha in (0.0, 1e4):
        config = configured(name, train__learning_rate=3e-3)
        config.train.actor.alpha = alpha
        objective = importlib.import_module(f"vgf.trainers.{name}").objective(config)
        trainer = Trainer(config, problem(), CPU, objective)
        losses = [trainer.advance() for _ in range(300)]
        distances.append(sum(float(x["actor/distance"]) for x in losses[-50:]))
    assert distances[1] < 0.5 * distances[0]


# --- QAM: on a Gaussian everything is known --------------------------------------------------------

MEAN, STD, PULL, GOAL = 0.4, 0.5, 3.0, -1.0  # data N(MEAN, STD^2), tau Q(x) = -PULL/2 (x - GOAL)^2


def gaussian_velocity(mean: float, std: float):
    def velocity(_, x, t):
        variance = t**2 * std**2 + (1 - t) ** 2
        clean = mean + t * std**2 / variance * (x - t * mean)
        return (clean - x) / (1 - t)

    return velocity


def test_adjoint_matching_is_at_rest_at_the_tilted_law():
    """With the policy at N * exp(tau Q), the regression target's conditional mean is that policy's own velocity."""
    precision = 1 / STD**2 + PULL
    tilted = gaussian_velocity((MEAN / STD**2 + PULL * GOAL) / precision, precision**-0.5)
    cloned = gaussian_velocity(MEAN, STD)
    steps, rows = 200, 20_000
    noise = torch.randn(steps, rows, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    s = torch.zeros(rows, 1, dtype=torch.float64)
    pairs = adjoint_path(tilted, cloned, lambda x: -PULL * (x - GOAL), s, noise)
    for k in (40, 100, 160):
        x, adjoint = pairs[k]
        t = torch.full_like(x, k / steps)
        goal = cloned(s, x, t) - control_scale(k, steps) * adjoint  # [B, 1]; its mean given x is linear in x
        design = torch.cat([torch.ones_like(x), x], 1)
        fitted = design @ torch.linalg.lstsq(design, goal).solution
        away = (fitted - tilted(s, x, t)).square().mean().sqrt()
        assert away < 0.1 * (cloned(s, x, t) - tilted(s, x, t)).square().mean().sqrt()


def test_noisy_path_of_a_flow_ends_in_its_law_and_forgets_its_start():
    steps, rows = 400, 20_000
    noise = torch.randn(steps, rows, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    s = torch.zeros(rows, 1, dtype=torch.float64)
    velocity = gaussian_velocity(MEAN, STD)
    x, _ = adjoint_path(velocity, velocity, torch.zeros_like, s, noise)[-1]
    end = x + velocity(s, x, torch.full_like(x, 1 - 1 / steps)) / steps
    assert end.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert end.std().item() == pytest.approx(STD, abs=0.02)
    assert abs(torch.corrcoef(torch.cat([noise[0], end], 1).T)[0, 1].item()) < 4 / math.sqrt(rows)


def test_a_policy_of_another_kind_is_not_taken_over(tmp_path):
    run("fql", tmp_path / "fql", net__heads=10, net__policy_norm=False)
    trainer = Trainer(configured("qam"), problem(), CPU, {})
    fresh = {k: v.clone() for k, v in trainer.networks.state_dict().items()}
    resume.start_from(trainer, tmp_path / "fql")
    theirs = load_checkpoint(tmp_path / "fql").networks
    for name, value in trainer.networks.state_dict().items():
        assert torch.equal(value, fresh[name] if name.startswith("policy.") else theirs[name]), name
    assert {"flow", "q"} <= trainer.inherited
    assert "policy" not in trainer.inherited
