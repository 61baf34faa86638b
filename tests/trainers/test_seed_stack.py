"""Seeds trained at once: each as it would be alone, up to rounding, and each with checkpoints of its own."""

from __future__ import annotations

import importlib
import json

import pytest
import torch
from small import problem, small_config

from vgf import UserError
from vgf.config import Config, TDConfig
from vgf.data.store import TransitionStore
from vgf.problem import Problem
from vgf.rundir import RunDirectory
from vgf.trainers import loop, seeds

CPU = torch.device("cpu")
SEEDS = (3, 4, 5)
FLOAT32 = {"train__precision": "float32"}


def td(rule: str) -> dict:
    return {"train__critic": "td", "train__td": TDConfig(rule=rule, particles=3)}


CASES = {
    "iql": ("offline", {}),
    "sql": ("offline", {"train__critic": "sql"}),
    "sarsa": ("offline", {"train__critic": "sarsa"}),
    "td by vgf": ("offline", td("vgf")),
    "td by qgf": ("offline", td("qgf")),
    "td by qpilots_u": ("offline", td("qpilots_u")),
    "td by qpilots_g": ("offline", td("qpilots_g")),
    "extras": ("offline", {"net__extras": ["gradient", "noisy", "flow_map", "optimal"]}),
    "frozen gaussian": ("offline", {"net__reference": "gaussian", "train__freeze": ["q"]}),
    "fql": ("fql", {"net__policy": "one_step"}),
    "rebrac": ("rebrac", {"net__policy": "deterministic"}),
    "micro-batches": ("offline", {"train__accumulate": 2}),
    "qam": ("qam", {"net__policy": "flow", **td("best_of_n")}),
}


def make(name: str, config: Config, data: Problem | None = None) -> loop.Trainer:
    objective = importlib.import_module(f"vgf.trainers.{name}").objective(config)
    return loop.Trainer(config, data or problem(validation=True), CPU, objective)


def assert_near(a: dict, b: dict, tolerance: float = 1e-6) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", CASES)
def test_each_seed_is_its_single_run(case):
    name, changes = CASES[case]
    configs = [small_config(seed=seed, **FLOAT32, **changes) for seed in SEEDS]
    alone, stack = [make(name, c) for c in configs], seeds.SeedStack([make(name, c) for c in configs])
    for _ in range(5):
        together = stack.advance()
        losses = [trainer.advance() for trainer in alone]
    for k, trainer in enumerate(alone):
        assert_near(trainer.networks.state_dict(), stack.trainers[k].networks.state_dict())
        assert losses[k] is not None
        assert_near(losses[k], {name: loss[k] for name, loss in together.items()}, 1e-5)


def test_a_seed_that_diverges_is_named_and_kept(tmp_path):
    stack = seeds.SeedStack([make("offline", small_config(seed=seed, **FLOAT32)) for seed in SEEDS])
    for seed, trainer in zip(SEEDS, stack.trainers, strict=True):
        trainer.guard.folder = tmp_path / str(seed)
    stack.advance()
    with torch.no_grad():
        stack.parameters["flow.output.weight"][1].fill_(float("nan"))
    with pytest.raises(UserError, match=r"flow\.output\.weight.* is not finite at step 1"):
        stack.advance()
    assert [path.name for path in tmp_path.iterdir()] == [str(SEEDS[1])]


def train(folder, steps: int, which=SEEDS, **changes) -> list[RunDirectory]:
    """Train seeds together into folder/SEED, going on from what is there."""
    configs = [small_config(seed=seed, train__steps=steps, **FLOAT32, **changes) for seed in which]
    runs = [RunDirectory(folder / str(seed)) for seed in which]
    for run in runs:
        run.path.mkdir(parents=True, exist_ok=True)
    objective = importlib.import_module("vgf.trainers.offline").objective(configs[0])
    seeds.train(configs, problem(validation=True), runs, CPU, objective)
    return runs


def restored(run: RunDirectory) -> loop.Trainer:
    trainer = make("offline", small_config(**FLOAT32))
    trainer.restore(run.path)
    return trainer


def single(folder, seed: int, steps: int) -> RunDirectory:
    config, run = small_config(seed=seed, train__steps=steps, **FLOAT32), RunDirectory(folder / str(seed))
    run.path.mkdir(parents=True, exist_ok=True)
    loop.go_on(make("offline", config), config, run)
    return run


def assert_same_run(a: RunDirectory, b: RunDirectory, tolerance: float) -> None:
    """Networks, optimiser and random streams are those of the same moment of the same run."""
    one, two = restored(a), restored(b)
    assert one.step == two.step
    assert one.trained == two.trained
    assert_near(one.networks.state_dict(), two.networks.state_dict(), tolerance)
    for name, p in one.parameters.items():
        assert_near(one.optimizer.state[p], two.optimizer.state[two.parameters[name]], tolerance)
    for name, stream in one.streams.items():
        assert torch.equal(stream.get_state(), two.streams[name].get_state())


def test_interrupted_and_restored_equals_uninterrupted(tmp_path):
    whole = train(tmp_path / "whole", 9)
    train(tmp_path / "parts", 5)
    for a, b in zip(whole, train(tmp_path / "parts", 9), strict=True):
        assert_same_run(a, b, 0)


def test_single_runs_and_stacked_ones_go_on_with_each_other(tmp_path):
    for seed in SEEDS:
        single(tmp_path / "alone", seed, 4)
    stacked = train(tmp_path / "alone", 8)
    train(tmp_path / "together", 4)
    for seed, run in zip(SEEDS, stacked, strict=True):
        assert_same_run(run, single(tmp_path / "together", seed, 8), 1e-6)
        assert_same_run(run, single(tmp_path / "reference", seed, 8), 1e-6)


def test_seeds_at_different_steps_catch_up(tmp_path):
    single(tmp_path / "apart", SEEDS[0], 6)
    single(tmp_path / "apart", SEEDS[1], 2)
    for a, b in zip(train(tmp_path / "apart", 8), train(tmp_path / "whole", 8), strict=True):
        assert_same_run(a, b, 1e-6)


def test_every_seed_logs_its_own_metrics(tmp_path):
    logged = [
        [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        for run in (*train(tmp_path / "together", 8), *(single(tmp_path / "alone", seed, 8) for seed in SEEDS))
    ]
    timing = {"seconds", "steps_per_second"}
    for together, alone in zip(logged[:3], logged[3:], strict=True):
        assert [row["step"] for row in together] == [4, 8]
        for a, b in zip(together, alone, strict=True):
            assert a.keys() == b.keys()
            assert all(a[key] == pytest.approx(b[key], rel=1e-4, abs=1e-6) for key in a.keys() - timing)
    assert logged[0][-1]["flow/loss"] != logged[1][-1]["flow/loss"]


def test_data_are_held_once():
    data = problem()
    made = [make("offline", small_config(seed=seed), data) for seed in SEEDS]
    store = seeds._shared(TransitionStore)
    settings = {"chunk": 2, "n_step": 2, "discount": 0.9, "device": CPU}
    assert store(data.train, **settings) is store(data.train, **settings)
    assert made[0].data is not made[1].data


def test_shards_are_refused(monkeypatch):
    class Shards:
        pass

    monkeypatch.setattr(seeds, "ShardedStore", Shards)
    with pytest.raises(UserError, match="-m seed=0,1,2"):
        seeds._shared(lambda data: Shards())({})
