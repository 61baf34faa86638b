"""Two configurations that mean the same give the same; what should change nothing changes nothing. Every trainer.

(Micro-batches and the whole batch: ``test_loop.py``. Budget zero, permuted particles, constant values: ``transport``.)
"""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from small import problem, small_config

from vgf.config import Config
from vgf.data.store import TransitionStore
from vgf.policy import Policy
from vgf.rundir import RunDirectory
from vgf.side_by_side import set_side_threads
from vgf.trainers import loop, online
from vgf.trainers.loop import Trainer
from vgf.transport import Budget

CPU = torch.device("cpu")
TRAINERS = {
    "offline": {"net__extras": ["gradient", "noisy", "flow_map", "optimal"]},
    "offline, td": {"train__critic": "td", "train__td__particles": 3},
    "fql": {"net__policy": "one_step"},
    "rebrac": {"net__policy": "deterministic"},
    "qam": {"net__policy": "flow"},
    "online": {"train__steps": 6, "online__steps": 6, "online__start": 2},
}
every_trainer = pytest.mark.parametrize("name", TRAINERS)


def trainer_of(name: str, **changes) -> tuple[Config, Trainer]:
    kind = name.split(",")[0]
    config = small_config(**({"trainer": kind} | TRAINERS[name] | changes))
    if kind == "online":
        return config, online.OnlineTrainer(config, problem(validation=True), CPU)
    module = importlib.import_module(f"vgf.trainers.{kind}")
    return config, Trainer(config, problem(validation=True), CPU, module.objective(config))


def copied(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.networks.state_dict().items()}


@every_trainer
def test_learning_rate_zero_changes_no_network(name):
    """Adam's moments do change: they see the gradients. Targets are online networks from the start and stay so."""
    _, trainer = trainer_of(name, train__learning_rate=0.0)
    before = copied(trainer)
    for _ in range(8):
        trainer.advance()
    after = copied(trainer)
    assert all(torch.equal(before[key], after[key]) for key in before)
    moments = [state["exp_avg"] for state in trainer.optimizer.state.values()]
    assert moments
    assert any((moment != 0).any() for moment in moments)


@every_trainer
def test_from_learning_rate_zero_on_targets_alone_move(name):
    """Towards the online networks, which stay."""
    _, trainer = trainer_of(name)
    for _ in range(6):
        trainer.advance()
    trainer.optimizer.param_groups[0]["lr"] = 0.0
    before = copied(trainer)
    for _ in range(3):
        trainer.advance()
    moved = {key for key, tensor in copied(trainer).items() if not torch.equal(tensor, before[key])}
    assert moved
    assert all("target" in key for key in moved)


@every_trainer
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_any_number_of_threads_gives_the_same_bits(name, precision):
    """Terms, rows of the TD target and Adam's parameters are divided between threads; no sum is."""
    results = []
    try:
        for threads in (1, 2, 3):
            set_side_threads(threads)
            trainer = trainer_of(name, train__precision=precision, train__accumulate=2)[1]
            results.append(copied_after(trainer, updates=7))
    finally:
        set_side_threads(1)
    for other in results[1:]:
        assert all(torch.equal(tensor, other[key]) for key, tensor in results[0].items())


@every_trainer
def test_the_same_seed_gives_the_same_however_often_is_logged_and_saved(name, tmp_path):
    results = []
    for often in (1, 5, 100):
        config, trainer = trainer_of(name, train__log_every=often, train__save_every=often)
        run = RunDirectory(tmp_path / f"{often}")
        run.claim(config)
        loop.go_on(trainer, config, run)
        results.append(copied(trainer))
    for other in results[1:]:
        assert all(torch.equal(tensor, other[key]) for key, tensor in results[0].items())


@pytest.mark.parametrize("changes", [{"eval_every": 2}, {"eval_every": 3, "budgets": [0.0, 0.1, 1.0], "episodes": 3}])
def test_evaluating_more_often_or_more_budgets_changes_no_training(tmp_path, changes):
    """Online training evaluates on the way, with copies of its networks and random streams of their own."""
    parameters, rows = [], []
    for folder, more in (("plain", {"eval_every": 1000}), ("more", changes)):
        config = small_config(trainer="online", **TRAINERS["online"], online__eval_every=more["eval_every"])
        config.eval.budgets, config.eval.episodes = more.get("budgets", [0.0]), more.get("episodes", 1)
        config.eval.environments = config.eval.processes = 1
        run = RunDirectory(tmp_path / folder)
        run.claim(config)
        online.train(config, problem(validation=True), run, CPU)
        _, trainer = trainer_of("online")
        trainer.restore(run.path)
        parameters.append(copied(trainer) | {f"replay.{k}": v for k, v in trainer.replay.state().items()})
        rows.append(len((run.path / "eval.csv").read_text().splitlines()))
    assert rows[0] < rows[1]
    assert all(torch.equal(tensor, parameters[1][key]) for key, tensor in parameters[0].items())


def test_a_chunk_of_one_action_is_no_chunk():
    """Batches are the data's own rows, and a chunked decision is the decision."""
    data = problem().train
    store = TransitionStore(data, chunk=1, n_step=1, discount=0.9)
    batch = store.batch(torch.arange(len(data["actions"])))
    for ours, theirs in (("observations", "observations"), ("actions", "actions"), ("returns", "rewards")):
        np.testing.assert_array_equal(getattr(batch, ours).numpy(), data[theirs])
    np.testing.assert_array_equal(batch.next_observations.numpy(), data["next_observations"])
    np.testing.assert_allclose(batch.discounts.numpy(), 0.9 * data["masks"], rtol=1e-6)
    assert (batch.valid == 1).all()
    assert (batch.valid_actions == 1).all()
    inside = data["terminals"][:-1] == 0
    np.testing.assert_array_equal(batch.next_actions.numpy()[:-1][inside], data["actions"][1:][inside])
    _, trainer = trainer_of("offline", train__chunk=1)
    policy = Policy(trainer.networks, trainer_of("offline")[0], flow_steps=3)
    obs = data["observations"][:5]
    chunk = policy.act_chunk(obs, Budget(size=0.1))
    assert chunk.shape == (5, 1, 2)
    np.testing.assert_array_equal(policy.act(obs, Budget(size=0.1)), chunk[:, 0])


def test_a_chunk_of_one_trains_like_n_step_one():
    """train.n_step=null is the chunk's length."""
    results = [copied_after(trainer_of("offline", train__chunk=1, train__n_step=n)[1]) for n in (None, 1)]
    assert all(torch.equal(tensor, results[1][key]) for key, tensor in results[0].items())


def copied_after(trainer: Trainer, updates: int = 4) -> dict[str, torch.Tensor]:
    for _ in range(updates):
        trainer.advance()
    return copied(trainer)
