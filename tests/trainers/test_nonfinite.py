"""Updates that are not finite: named on the step they happen, kept, made again, and stopped at or left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small import problem, small_config

from vgf import UserError
from vgf.config import Config
from vgf.problem import Problem
from vgf.rundir import RunDirectory
from vgf.trainers import loop, online, replay
from vgf.trainers.offline import objective
from vgf.trainers.terms import Draw

CPU = torch.device("cpu")
BAD_ROW = 23


def spoiled(validation: bool = False) -> Problem:
    """Data with one reward whose square is beyond float32; finite itself, so that no reader complains."""
    made = problem(validation=validation)
    made.train["rewards"][BAD_ROW] = 1e30
    return made


def config_of(**changes) -> Config:
    """Nothing is logged on the way: what is found is not found by logging."""
    return small_config(**({"train__log_every": 1000, "train__n_step": 2, "train__steps": 40} | changes))


def trainer_of(config: Config, data: Problem) -> loop.Trainer:
    return loop.Trainer(config, data, CPU, objective(config))


def state(trainer: loop.Trainer) -> dict[str, torch.Tensor]:
    """Networks (targets among them) and optimiser, copied."""
    held = {name: t.clone() for name, t in trainer.networks.state_dict().items()}
    for name, parameter in trainer.parameters.items():
        held |= {f"adam.{k}.{name}": t.clone() for k, t in trainer.optimizer.state.get(parameter, {}).items()}
    return held


def advance(trainer: loop.Trainer, updates: int, before: Callable[[], None] = lambda: None) -> None:
    for _ in range(updates):
        before()
        trainer.advance()


def run_until_bad(folder: Path, config: Config, data: Problem) -> tuple[str, Path]:
    """The complaint of a run, and the folder of the update it names."""
    run = RunDirectory(folder)
    run.claim(config)
    with pytest.raises(UserError) as caught:
        loop.go_on(trainer_of(config, data), config, run)
    assert "\n" not in str(caught.value)
    (kept,) = (folder / "nonfinite").iterdir()
    return str(caught.value), kept


def test_a_bad_row_is_named_on_its_step_not_at_logging(tmp_path):
    said, kept = run_until_bad(tmp_path, config_of(), spoiled())
    finding = json.loads((kept / "finding.json").read_text())
    assert finding["step"] < 39
    assert f"at step {finding['step']}" in said
    assert finding["tensors"][0] == "critic/loss"
    assert all(name.startswith("critic/") or "gradient of q." in name for name in finding["tensors"])
    # Chunks of two rows: the reward belongs to the chunk that begins at it and to the one before.
    assert finding["data_rows"]
    assert set(finding["data_rows"]) <= {BAD_ROW - 1, BAD_ROW}
    draw = Draw.of({k.removeprefix("draw."): v for k, v in load_file(kept / "draw.safetensors").items()})
    bad = ~(draw.batch.returns.abs() < 1e20) & (draw.batch.valid > 0)
    assert finding["rows"] == bad.nonzero().flatten().tolist()
    assert f"rows {finding['rows']} of the batch (rows {finding['data_rows']} of its data)" in said


def test_the_update_that_is_refused_changes_nothing():
    trainer = trainer_of(config_of(), spoiled())
    held = [state(trainer)]
    with pytest.raises(UserError, match="not finite"):
        advance(trainer, 40, before=lambda: held.append(state(trainer)))
    before, after = held[-1], state(trainer)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_skipping_leaves_parameters_targets_and_optimiser_and_is_counted(tmp_path):
    config = config_of(train__nonfinite="skip", train__log_every=1)
    trainer, skipped = trainer_of(config, spoiled()), 0
    for step in range(40):
        before = state(trainer)
        if trainer.advance() is None:
            skipped += 1
            after = state(trainer)
            assert all(parameter.grad is None for parameter in trainer.parameters.values())
            assert all(torch.equal(before[name], after[name]) for name in before)
        assert trainer.step == step + 1
    assert skipped == trainer.guard.skipped > 0
    assert all(t.isfinite().all() for t in state(trainer).values())
    run = RunDirectory(tmp_path)
    run.claim(config)
    assert loop.go_on(trainer_of(config, spoiled()), config, run) == 40
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["skipped"] == skipped
    assert len(list((tmp_path / "nonfinite").iterdir())) == min(skipped, 10)


def test_skips_are_counted_on_after_a_restart(tmp_path):
    config = config_of(train__nonfinite="skip")
    whole, first, second = (trainer_of(config, spoiled()) for _ in range(3))
    for _ in range(40):
        whole.advance()
    for _ in range(25):
        first.advance()
    first.save(tmp_path)
    second.restore(tmp_path)
    assert 0 < second.guard.skipped == first.guard.skipped
    for _ in range(15):
        second.advance()
    assert second.guard.skipped == whole.guard.skipped
    assert all(torch.equal(t, state(second)[name]) for name, t in state(whole).items())


def test_without_bad_batches_skip_and_stop_are_the_same():
    trainers = [trainer_of(config_of(train__nonfinite=how), problem()) for how in ("stop", "skip")]
    for trainer in trainers:
        for _ in range(5):
            assert trainer.advance() is not None
    assert all(torch.equal(t, state(trainers[1])[name]) for name, t in state(trainers[0]).items())


def test_an_update_of_an_online_run_is_found_again(tmp_path):
    config = config_of(trainer="online", online__steps=5)
    run = RunDirectory(tmp_path)
    run.claim(config)
    with pytest.raises(UserError, match="not finite"):
        online.train(config, spoiled(), run, CPU)
    (kept,) = (tmp_path / "nonfinite").iterdir()
    finding, losses = replay.replay(kept)
    assert finding.tensors
    assert losses["critic/loss"] == float("inf")


@pytest.mark.parametrize("extras", [[], ["gradient", "noisy", "flow_map", "optimal"]])
def test_a_kept_update_is_found_again(tmp_path, capsys, extras):
    """With and without a judge's batch beside it."""
    config = config_of(net__extras=extras)
    _, kept = run_until_bad(tmp_path, config, spoiled(validation=bool(extras)))
    stored = json.loads((kept / "finding.json").read_text())
    finding, losses = replay.replay(kept)
    assert {name: stored[name] for name in vars(finding)} == vars(finding)
    assert losses["critic/loss"] == float("inf")
    assert replay.main([str(kept)]) == 1
    assert f"not finite: {stored['tensors'][0]}" in capsys.readouterr().out


def test_a_gradient_alone_is_named_with_its_operation(tmp_path):
    """The root of an error that is exactly zero: a finite loss with no finite gradient."""
    trainer = trainer_of(config_of(), problem())
    trainer.guard.folder = tmp_path
    honest = trainer.objective["cloning"].losses

    def rooted(nets, draw, train):
        found = honest(nets, draw, train)
        miss = (nets.flow.velocity(draw.batch.observations, draw.noise, draw.t) * (draw.t > 0.5)).square().sum(-1)
        return {"flow/loss": found["flow/loss"] + miss.sqrt().mean()}

    trainer.objective = dict(trainer.objective) | {"cloning": type(trainer.objective["cloning"])(rooted)}
    with pytest.raises(UserError, match=r"gradient of flow\.") as caught:
        advance(trainer, 10)
    assert "/loss" not in str(caught.value).split(" is not finite")[0]
    assert "from rows" in str(caught.value)
    (kept,) = tmp_path.iterdir()
    finding = json.loads((kept / "finding.json").read_text())
    assert finding["operation"] == "PowBackward0"  # of the square, whose zero meets the infinite slope of the root
    t = load_file(kept / "draw.safetensors")["draw.t"]
    assert finding["rows"] == (t <= 0.5).flatten().nonzero().flatten().tolist()


def test_a_parameter_that_is_no_number_is_the_cause(tmp_path):
    config = config_of(train__nonfinite="skip")
    trainer = trainer_of(config, problem())
    trainer.guard.folder = tmp_path
    with torch.no_grad():
        trainer.parameters["v.output.weight"][0, 0, 0] = float("nan")
    with pytest.raises(
        UserError, match=r"^v.output.weight .and \d+ more. is not finite at step 99, as in the 100 updates"
    ):
        advance(trainer, 150)
    assert len(list(tmp_path.iterdir())) == 10


def test_a_norm_that_overflows_names_the_largest_gradient():
    trainer = trainer_of(config_of(), problem())
    huge = trainer.objective["cloning"].losses

    def scaled(nets, draw, train):
        loss = huge(nets, draw, train)["flow/loss"]
        return {"flow/loss": loss * 1e-18 + (loss - loss.detach()) * 1e25}

    trainer.objective = dict(trainer.objective) | {"cloning": type(trainer.objective["cloning"])(scaled)}
    with pytest.raises(UserError, match=r"^norm of the gradient of flow\.\S+ is not finite at step 0"):
        trainer.advance()


def test_an_update_that_is_finite_when_made_again_is_still_one_line(tmp_path):
    """What a compiler or micro-batches make of an update may overflow where the plain one does not."""
    trainer = trainer_of(config_of(compile="on"), problem())
    trainer.guard.folder = tmp_path
    plain = trainer._loss
    trainer.loss = lambda *draws: {name: loss * float("inf") for name, loss in plain(*draws).items()}
    with pytest.raises(UserError, match=r"^a loss or gradient was not finite at step 0, and all were when") as caught:
        trainer.advance()
    assert "\n" not in str(caught.value)
    (kept,) = tmp_path.iterdir()
    assert json.loads((kept / "finding.json").read_text())["tensors"] == []


def test_bad_held_out_rows_are_named_as_such(tmp_path):
    data = problem(validation=True)
    assert data.validation is not None
    data.validation["rewards"][:] = np.float32(1e30)
    said, kept = run_until_bad(tmp_path, config_of(), data)
    assert "judge/critic/loss" in said
    assert "of the held-out batch" in said
    assert replay.replay(kept)[0].held_out


def test_folders_that_hold_no_update(tmp_path, capsys):
    assert replay.main([str(tmp_path)]) == 2
    assert "does not hold an update" in capsys.readouterr().err
    _, kept = run_until_bad(tmp_path / "run", config_of(), spoiled())
    (kept / "networks.safetensors").write_bytes(b"broken")
    assert replay.main([str(kept)]) == 2


def test_replay_says_when_all_is_finite(tmp_path, capsys):
    _, kept = run_until_bad(tmp_path, config_of(), spoiled())
    draw = load_file(kept / "draw.safetensors")
    draw["draw.batch.returns"].clamp_(-1, 1)
    save_file(draw, kept / "draw.safetensors")
    assert replay.main([str(kept)]) == 0
    assert "every loss and gradient is finite" in capsys.readouterr().out


def test_parameters_that_are_no_numbers_are_not_saved(tmp_path):
    trainer = trainer_of(config_of(), problem())
    trainer.advance()
    with torch.no_grad():
        trainer.parameters["flow.output.weight"][0, 0, 0] = float("inf")
    with pytest.raises(UserError, match=r"^flow.output.weight is not finite after 1 updates"):
        trainer.save(tmp_path)
    assert not (tmp_path / "checkpoints").exists()
