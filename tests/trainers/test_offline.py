"""The offline trainer: its losses against plain loops, and configurations that must give the same parameters."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from vgf import UserError
from vgf.config import Config
from vgf.problem import Problem
from vgf.rundir import RunDirectory
from vgf.trainers.extras import Draw
from vgf.trainers.offline import OfflineTrainer, train

CPU = torch.device("cpu")
BROKEN = "the compiler is away"


def small_config(**changes) -> Config:
    config = Config(run_dir="unused")
    config.net.hidden, config.net.layers = 16, 2
    config.train.steps, config.train.batch_size, config.train.chunk = 12, 8, 2
    config.train.log_every, config.train.save_every = 4, 4
    for key, value in changes.items():
        group, _, name = key.rpartition("__")
        setattr(getattr(config, group) if group else config, name, value)
    return config


def problem(seed: int = 0, rows: int = 60) -> Problem:
    rng = np.random.default_rng(seed)
    data = {
        "observations": rng.normal(size=(rows, 3)),
        "actions": rng.uniform(-1, 1, size=(rows, 2)),
        "rewards": rng.normal(size=rows),
        "masks": (rng.random(rows) > 0.1) * 1.0,
        "terminals": (np.arange(rows) % 7 == 6) * 1.0,
        "next_observations": rng.normal(size=(rows, 3)),
    }
    data = {k: v.astype(np.float32) for k, v in data.items()}
    return Problem("toy", data, None, "made up")


def parameters(trainer: OfflineTrainer) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in trainer.networks.state_dict().items()}


def assert_same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def trained(config: Config, updates: int, data: Problem | None = None) -> OfflineTrainer:
    trainer = OfflineTrainer(config, data or problem(), CPU)
    for _ in range(updates):
        trainer.update()
    return trainer


def test_interrupted_and_restored_equals_uninterrupted(tmp_path):
    whole = trained(small_config(), 9)
    first = trained(small_config(), 5)
    first.save(tmp_path)
    second = OfflineTrainer(small_config(seed=99), problem(), CPU)  # whatever it starts from is replaced
    second.restore(tmp_path)
    assert second.step == 5
    for _ in range(4):
        second.update()
    assert_same(parameters(whole), parameters(second))
    draws = [trainer._draw(trainer.data, 4, trainer.generator).noise for trainer in (whole, second)]
    assert torch.equal(*draws)


def test_same_seed_same_parameters_and_another_seed_others():
    assert_same(parameters(trained(small_config(), 4)), parameters(trained(small_config(), 4)))
    other = parameters(trained(small_config(seed=1), 4))
    assert not torch.equal(other["flow.output.weight"], parameters(trained(small_config(), 4))["flow.output.weight"])


@pytest.mark.parametrize(
    "changes", [{"train__log_every": 1}, {"train__save_every": 1}, {"net__extras": ["gradient", "noisy"]}]
)
def test_what_does_not_concern_the_policy_does_not_change_it(tmp_path, changes):
    """Logging, saving and training further networks leave reference and critic alone."""
    results = []
    for folder, extra in (("plain", {}), ("changed", changes)):
        config = small_config(**extra)
        run = RunDirectory(tmp_path / folder)
        run.claim(config)
        assert train(config, problem(), run, CPU) == 12
        trainer = OfflineTrainer(config, problem(), CPU)
        trainer.restore(run.path)
        results.append({k: v for k, v in parameters(trainer).items() if not k.startswith("extras.")})
    assert_same(*results)


def test_learning_rate_zero_changes_nothing():
    before = parameters(OfflineTrainer(small_config(train__learning_rate=0.0), problem(), CPU))
    assert_same(before, parameters(trained(small_config(train__learning_rate=0.0), 3)))


def test_losses_are_the_formulas():
    trainer = trained(small_config(train__precision="float32"), 3)
    nets, config = trainer.networks, trainer.config
    draw = trainer._draw(trainer.data, 8, trainer.generator)
    losses = trainer._loss(draw)
    b = draw.batch
    q_loss = v_loss = flow_loss = 0.0
    with torch.no_grad():
        for i in range(8):
            s, a, after = b.observations[i : i + 1], b.actions[i : i + 1], b.next_observations[i : i + 1]
            y = b.returns[i] + b.discounts[i] * nets.value(after)[0]
            q_loss += sum(float(b.valid[i] * (q - y) ** 2) for q in nets.critic(s, a)[:, 0])
            u = float(nets.target_critic(s, a).min() - nets.value(s)[0])
            v_loss += abs(config.expectile - (u <= 0)) * u**2
            x_t = (1 - draw.t[i]) * draw.noise[i] + draw.t[i] * a
            miss = nets.velocity(s, x_t, draw.t[i : i + 1]) - (a - draw.noise[i])
            flow_loss += float((b.valid_actions[i] * miss**2).mean())
    for name, expected in (("critic", q_loss), ("value", v_loss), ("flow", flow_loss)):
        assert float(losses[f"{name}/loss"].detach()) == pytest.approx(expected / 8, rel=1e-4)


def test_flow_times_lie_on_the_samplers_grid():
    trainer = OfflineTrainer(small_config(train__flow_steps=5), problem(), CPU)
    t = trainer._draw(trainer.data, 500, trainer.generator).t
    assert set(t.flatten().mul(5).round(decimals=4).tolist()) == {0, 1, 2, 3, 4, 5}


def test_chunks_across_episode_ends_have_no_weight_in_the_critic():
    trainer = OfflineTrainer(small_config(train__precision="float32"), problem(), CPU)
    draw = trainer._draw(trainer.data, 32, trainer.generator)
    crossing = draw.batch.valid == 0
    assert crossing.any()
    broken = copy.copy(draw.batch)
    object.__setattr__(broken, "returns", torch.where(crossing, 1e3, draw.batch.returns))
    losses = [trainer._loss(d)["critic/loss"] for d in (draw, Draw(broken, draw.noise, draw.t, draw.spare))]
    assert torch.equal(*losses)


def test_extras_learn_what_they_are_for():
    """On a fixed critic the gradient net nears grad Q and the noisy critic nears Q where there is no noise."""
    config = small_config(net__extras=["gradient", "noisy", "flow_map"], train__learning_rate=3e-3)
    trainer = OfflineTrainer(config, problem(), CPU)
    names = ("gradient/loss", "noisy/loss", "flow_map/loss")
    first = [trainer.update() for _ in range(20)]
    for _ in range(400):
        trainer.update()
    last = [trainer.update() for _ in range(20)]
    for name in names[:1] + names[2:]:
        assert sum(float(x[name].detach()) for x in last) < sum(float(x[name].detach()) for x in first)
    assert trainer.networks.extras["flow_map"].target.output.weight.grad is None


def test_a_loss_that_is_no_number_is_named():
    trainer = trained(small_config(), 1)
    with pytest.raises(UserError, match="value/loss is not finite at step 1"):
        trainer.metrics({"critic/loss": torch.tensor(1.0), "value/loss": torch.tensor(float("nan"))})


def test_without_a_compiler_training_goes_on_with_one_warning(monkeypatch, capsys):
    def compile_nothing(function):
        def fail(*args):
            raise RuntimeError(BROKEN)

        return fail

    monkeypatch.setattr(torch, "compile", compile_nothing)
    expected = parameters(trained(small_config(), 3))
    assert_same(expected, parameters(trained(small_config(compile="on"), 3)))
    assert capsys.readouterr().err.count(BROKEN) == 1


def test_settings_that_do_not_suit_the_data():
    with pytest.raises(UserError, match=r"train.n_step=1 is shorter than train.chunk=2"):
        OfflineTrainer(small_config(train__n_step=1), problem(), CPU)
    with pytest.raises(UserError, match=r"train.chunk=8 is longer than every episode of the data .longest: 7"):
        OfflineTrainer(small_config(train__chunk=8), problem(), CPU)
