"""The training loop: what it draws, saves and restores, and configurations that must give the same parameters."""

from __future__ import annotations

import copy
import importlib
import json
import time
from dataclasses import replace

import pytest
import torch
from small import problem, small_config

from vgf import UserError, launch
from vgf.config import Config
from vgf.problem import Problem
from vgf.rundir import RunDirectory
from vgf.trainers import offline, resume
from vgf.trainers.loop import Trainer, go_on
from vgf.trainers.offline import objective, train
from vgf.trainers.terms import Draw

CPU = torch.device("cpu")
BROKEN = "the compiler is away"


def make(config: Config, data: Problem | None = None) -> Trainer:
    return Trainer(config, data or problem(), CPU, objective(config))


def draw(trainer: Trainer, size: int = 8) -> Draw:
    trainer.config.batch_size = size
    return trainer.draw(trainer.data, trainer.streams["batches"], trainer.streams)


def parameters(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in trainer.networks.state_dict().items()}


def assert_same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def trained(config: Config, updates: int, data: Problem | None = None) -> Trainer:
    trainer = make(config, data)
    for _ in range(updates):
        trainer.advance()
    return trainer


def test_interrupted_and_restored_equals_uninterrupted(tmp_path):
    whole = trained(small_config(), 9)
    first = trained(small_config(), 5)
    first.save(tmp_path)
    second = make(small_config(seed=99))  # whatever it starts from is replaced
    second.restore(tmp_path)
    assert second.step == 5
    for _ in range(4):
        second.advance()
    assert_same(parameters(whole), parameters(second))
    draws = [draw(trainer, 4).noise for trainer in (whole, second)]
    assert torch.equal(*draws)


def test_a_run_goes_on_with_its_own_data_only(tmp_path, monkeypatch):
    trained(small_config(), 3).save(tmp_path)
    with pytest.raises(
        UserError, match=r"other training data \(60 transitions\) than are here \(60 tr.*environment.txt"
    ):
        make(small_config(), problem(seed=1)).restore(tmp_path)
    with pytest.raises(UserError, match=r"other held-out episodes \(none\) than are here"):
        make(small_config(), problem(validation=True)).restore(tmp_path)
    resume.start_from(make(small_config(), problem(seed=1)), tmp_path)  # another run with its networks: any data
    read = resume.load_checkpoint

    def of_an_early_version(run_dir, training):
        checkpoint = read(run_dir, training=training)
        return replace(checkpoint, manifest={k: v for k, v in checkpoint.manifest.items() if k != "data"})

    monkeypatch.setattr(resume, "load_checkpoint", of_an_early_version)
    make(small_config(), problem(seed=1)).restore(tmp_path)


def test_a_refused_run_keeps_what_it_says_of_its_data(tmp_path):
    class Task:
        prepare = staticmethod(lambda config: replace(problem(seed=1), origin="from elsewhere"))
        environment_factory = staticmethod(lambda config: problem().make_environment)

    config, run = small_config(), RunDirectory(tmp_path / "run")
    run.claim(config)
    run.note("data", "its own")
    trained(config, 3).save(run.path)
    with pytest.raises(UserError, match=r"than are here \(60 transitions\)"):
        launch._train([config], Task, offline, [run], CPU)
    assert "\ndata: its own\n" in (run.path / "environment.txt").read_text()


def test_same_seed_same_parameters_and_another_seed_others():
    assert_same(parameters(trained(small_config(), 4)), parameters(trained(small_config(), 4)))
    other = parameters(trained(small_config(seed=1), 4))
    assert not torch.equal(other["flow.output.weight"], parameters(trained(small_config(), 4))["flow.output.weight"])


@pytest.mark.parametrize(
    "changes",
    [
        {"train__log_every": 1},
        {"train__save_every": 1},
        {"net__extras": ["gradient", "noisy", "flow_map", "optimal"]},
        {"net__judge": False},
    ],
)
def test_what_does_not_concern_the_policy_does_not_change_it(tmp_path, changes):
    """Logging, saving and training further networks leave reference and critic alone."""
    results = []
    for folder, extra in (("plain", {}), ("changed", changes)):
        config = small_config(**extra)
        run = RunDirectory(tmp_path / folder)
        run.claim(config)
        assert train(config, problem(validation=True), run, CPU) == 12
        trainer = make(config, problem(validation=True))
        trainer.restore(run.path)
        results.append({k: v for k, v in parameters(trainer).items() if not k.startswith(("extras.", "judge."))})
    assert_same(*results)


def test_flow_times_lie_on_the_samplers_grid():
    trainer = make(small_config(train__flow_steps=5))
    t = draw(trainer, 500).t
    assert set(t.flatten().mul(5).round(decimals=4).tolist()) == {0, 1, 2, 3, 4, 5}


def test_flow_times_may_lie_between():
    """Uniform times differ from those of the grid, and nothing else that is drawn beside them does."""
    grid, uniform = (draw(make(small_config(train__flow_times=how)), 500) for how in ("grid", "uniform"))
    assert len(uniform.t.unique()) > 400
    assert ((uniform.t >= 0) & (uniform.t < 1)).all()
    assert uniform.t.mean().item() == pytest.approx(0.5, abs=0.06)
    assert torch.equal(grid.noise, uniform.noise)
    assert torch.equal(grid.batch.rows, uniform.batch.rows)


def test_no_two_random_streams_begin_alike():
    config = small_config(net__extras=["flow_map"], train__critic="td")
    trainer = make(config, problem(validation=True))
    streams = [*trainer.streams.values(), *make(small_config(seed=1), problem(validation=True)).streams.values()]
    first = [tuple(torch.randn(4, generator=stream).tolist()) for stream in streams]
    assert len(trainer.streams) == 4  # batches, judge, the TD target's particles, the flow map
    assert len(set(first)) == len(first)
    asked = []
    trainer.draw = lambda data, generator, spare: asked.append([generator, *spare.values()]) or 1 / 0
    with pytest.raises(ZeroDivisionError):
        trainer.metrics({})
    (metrics,) = asked
    assert len({tuple(torch.randn(4, generator=stream).tolist()) for stream in metrics}) == len(metrics) == 3


def test_going_on_on_another_kind_of_device_is_one_line(tmp_path, monkeypatch):
    trained(small_config(), 3).save(tmp_path)
    read = resume.load_checkpoint

    def elsewhere(run_dir, training):
        checkpoint = read(run_dir, training=training)
        return replace(checkpoint, training=checkpoint.training | {"stream.judge": torch.zeros(16, dtype=torch.uint8)})

    monkeypatch.setattr(resume, "load_checkpoint", elsewhere)
    with pytest.raises(
        UserError, match=r"another kind of device than cpu; go on with device=cuda, or .* init="
    ) as error:
        make(small_config()).restore(tmp_path)
    assert "\n" not in str(error.value)


def test_evaluations_on_the_way_take_no_time_of_training(tmp_path, monkeypatch):
    config, run = small_config(train__log_every=1), RunDirectory(tmp_path)
    run.claim(config)
    trainer, clock, evaluations = make(config), time.perf_counter, []
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + 1000 * len(evaluations))
    assert go_on(trainer, config, run, lambda: evaluations.append("of 1000 seconds")) == 12
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(evaluations) == 13
    assert trainer.seconds < 1000
    assert all(row["steps_per_second"] > 1 / 1000 for row in rows)


def test_a_budget_that_an_untrained_judge_would_choose_is_refused_before_training(tmp_path):
    for changes, data in (({"train__freeze": ["judge"]}, problem(validation=True)), ({}, problem())):
        config, run = small_config(budget__auto=True, **changes), RunDirectory(tmp_path)
        with pytest.raises(UserError, match=r"^budget=auto asks the judge, which this run does not train"):
            train(config, data, run, CPU)
    assert not (tmp_path / "checkpoints").exists()


def test_chunks_across_episode_ends_have_no_weight_in_the_critic():
    trainer = make(small_config(train__precision="float32"))
    drawn = draw(trainer, 32)
    crossing = drawn.batch.valid == 0
    assert crossing.any()
    broken = copy.copy(drawn.batch)
    object.__setattr__(broken, "returns", torch.where(crossing, 1e3, drawn.batch.returns))
    losses = [trainer._loss(d)["critic/loss"] for d in (drawn, Draw(broken, drawn.noise, drawn.t, drawn.spare))]
    assert torch.equal(*losses)


def test_extras_learn_what_they_are_for():
    """The losses of gradient net and flow map fall; what the losses are, test_formulas.py says."""
    config = small_config(net__extras=["gradient", "noisy", "flow_map"], train__learning_rate=3e-3)
    trainer = make(config)
    names = ("gradient/loss", "noisy/loss", "flow_map/loss")
    first = [trainer.advance() for _ in range(20)]
    for _ in range(400):
        trainer.advance()
    last = [trainer.advance() for _ in range(20)]
    for name in names[:1] + names[2:]:
        assert sum(float(x[name].detach()) for x in last) < sum(float(x[name].detach()) for x in first)
    assert trainer.networks.extras["flow_map"].target.output.weight.grad is None


@pytest.mark.parametrize("trainer_name", ["offline", "fql", "qam"])
def test_micro_batches_are_the_batch(trainer_name):
    """2 x 128 accumulated is 256: same draws, same losses, same parameters within rounding, judge and extras too."""
    module = importlib.import_module(f"vgf.trainers.{trainer_name}")
    policy = {"fql": "one_step", "qam": "flow"}.get(trainer_name)
    extras = ["gradient", "noisy", "flow_map", "optimal"] if trainer_name == "offline" else []
    results = []
    for count in (1, 2, 4):
        config = small_config(
            trainer=trainer_name, train__batch_size=256, train__accumulate=count, train__precision="float32",
            net__policy=policy, net__extras=extras,
        )  # fmt: skip
        trainer = Trainer(config, problem(validation=True), CPU, module.objective(config))
        losses = [trainer.advance() for _ in range(6)]
        results.append((parameters(trainer), losses))
    for others, logged in results[1:]:
        for name, expected in results[0][0].items():
            torch.testing.assert_close(others[name], expected, rtol=1e-3, atol=2e-5, msg=name)
        for one, other in zip(results[0][1], logged, strict=True):
            assert one.keys() == other.keys()
            for name in one:
                torch.testing.assert_close(other[name], one[name], rtol=1e-4, atol=1e-5, msg=name)


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
        make(small_config(train__n_step=1))
    longer, whole = (make(small_config(train__n_step=n)).data for n in (10**9, 7))
    assert torch.equal(longer.returns, whole.returns)  # sums end with the episode, whatever they were asked to reach
    with pytest.raises(UserError, match=r"train.chunk=1000000000000 is longer than every"):
        make(small_config(train__chunk=10**12))
    short = problem(validation=True)
    short.validation["terminals"][:] = 1
    with pytest.raises(
        UserError, match=r"^held-out episodes: train.chunk=2 is longer .*longest: 1 steps\); or hold out"
    ):
        make(small_config(), short)
    with pytest.raises(UserError, match=r"^train.chunk=8 is longer than every episode of the data .longest: 7"):
        make(small_config(train__chunk=8))
