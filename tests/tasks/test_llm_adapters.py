"""The adapter's rows beside the reference's: alone at budget 0, and with the method on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from omegaconf import OmegaConf
from small_text import CPU, save_model, text_config, text_problem

import vgf
from vgf.errors import UserError
from vgf.language.adapters import adapter_path, load_adapted, round_folder, save_adapter
from vgf.language.evaluation import evaluate
from vgf.language.loading import heads_path, note_parts, open_reference
from vgf.language.policy import Generation
from vgf.methods import budget_at
from vgf.rundir import RunDirectory
from vgf.serve.app import make_app
from vgf.tasks.llm_adapters import adapter_points
from vgf.trainers import distill, lora
from vgf.transport import Budget

pytest.importorskip("trl")
peft = pytest.importorskip("peft")
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("run")
    config = text_config(save_model(folder / "tiny"), keep=1, epochs=10.0)
    run = RunDirectory(folder / "run")
    run.path.mkdir()
    problem = text_problem(config)
    distill.train(config, problem, run, CPU)
    return config, problem, run


def _rows(setup: Any, run: RunDirectory) -> list[dict[str, Any]]:
    config, problem, _ = setup
    policy = lora.policy_on(problem.reference, config, problem, setup[2].path)
    points = adapter_points(config, problem, run, CPU)
    found = evaluate(policy, problem.held_out, points, problem.judges, seeds=[0], particles=4)
    return [row for rows, _ in found for row in rows]


def _mean(rows: list[dict[str, Any]], method: str, budget: float, column: str) -> float:
    chosen = [row[column] for row in rows if (row["method"], row["budget"]) == (method, budget)]
    return sum(chosen) / len(chosen)


def test_a_run_without_an_adapter_has_no_points(setup: Any, tmp_path: Path) -> None:
    config, problem, _ = setup
    assert adapter_points(config, problem, RunDirectory(tmp_path), CPU) == []


def test_the_adapter_alone_and_with_budget_on_top(setup: Any) -> None:
    rows = _rows(setup, setup[2])
    assert {(row["method"], row["budget"]) for row in rows} == {("reference", 0.0), ("distill", 0.0), ("distill", 0.1)}
    assert _mean(rows, "distill", 0.0, "gold") > _mean(rows, "reference", 0.0, "gold") + 0.3
    assert _mean(rows, "distill", 0.0, "kl") > 0.1, "under the original reference, not under itself"
    assert 0 < _mean(rows, "distill", 0.0, "tokens_changed") < 1, "the same noise as the reference's"
    for column in ("gold_selected", "proxy_selected"):
        assert _mean(rows, "distill", 0.0, column) >= _mean(rows, "reference", 0.0, column)


def test_an_adapter_of_zeros_changes_nothing(setup: Any, tmp_path: Path) -> None:
    config = setup[0]
    fresh = peft.get_peft_model(open_reference(config, CPU).model, lora.lora_config(config))
    facts = {"settings": {"trainer": "distill"}, "rounds": 1, "metrics": []}
    save_adapter(adapter_path(tmp_path), fresh, facts)
    rows = _rows(setup, RunDirectory(tmp_path))
    assert {row["budget"] for row in rows} == {0.0}, "no value heads were fitted to it: it cannot be moved"
    assert _mean(rows, "distill", 0.0, "tokens_changed") == 0
    for column in ("proxy", "gold", "nll"):
        same = pytest.approx(_mean(rows, "reference", 0.0, column), abs=1e-4)
        assert _mean(rows, "distill", 0.0, column) == same


def test_time_on_top_counts_the_reference_the_adapter_and_the_move(setup: Any) -> None:
    config, problem, run = setup
    policy = lora.policy_on(problem.reference, config, problem, run.path)
    still = policy.move(policy.batches(problem.held_out)[0], budget_at(config, 0.0), 0, config)
    alone, moved = (point.generate(policy, still, 0) for point in adapter_points(config, problem, run, CPU))
    assert isinstance(moved, Generation)
    assert still.seconds < alone.seconds < moved.seconds
    assert heads_path(round_folder(run.path, 1)).is_file()


def test_the_adapted_model_is_loaded_from_the_run(setup: Any, tmp_path: Path) -> None:
    config, problem, run = setup
    note_parts(run.path, proxy="regex:good", reward_path=None)
    policy = load_adapted(run.path, config)
    prompts = policy.batches(problem.held_out)[0]
    unmoved = policy.move(prompts, Budget(steps=0), 0, config)
    alone = adapter_points(config, problem, run, CPU)[0]
    plain = lora.policy_on(problem.reference, config, problem).move(prompts, Budget(steps=0), 0, config)
    assert torch.equal(unmoved.moved.tokens, alone.generate(policy, plain, 0).moved.tokens)
    assert not torch.equal(unmoved.moved.tokens, plain.moved.tokens)
    assert not torch.equal(policy.move(prompts, None, 0, config).moved.tokens, unmoved.moved.tokens)
    with pytest.raises(UserError, match="has no adapter"):
        load_adapted(tmp_path, config)


def test_loading_and_serving_a_run_take_the_adapter_it_has_trained(setup: Any) -> None:
    config, _, run = setup
    note_parts(run.path, proxy="regex:good", reward_path=None)
    (run.path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(config), resolve=True))
    prompts = ["the film", "a"]
    adapted, reference = vgf.load(run.path), vgf.load(run.path, adapter=False)
    with_adapter = load_adapted(run.path, config).generate(prompts, Budget(size=0))
    assert adapted.generate(prompts) == with_adapter  # alone, unless a call names a budget
    assert adapted.generate(prompts, Budget(size=2)) != with_adapter
    assert reference.generate(prompts, Budget(size=0)) != with_adapter
    assert reference.method.budget.size == config.budget.size
    for chosen, named in ((True, "distill"), (False, None)):
        info = TestClient(make_app(run.path, adapter=chosen)).get("/info").json()
        assert (info["adapter"], info["largest"]["size"] >= config.budget.size) == (named, True)
        assert info["budget"]["size"] == (0 if chosen else config.budget.size)
