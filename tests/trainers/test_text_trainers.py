"""Finetuning: examples are what was decoded, a learnable reward is learnt, finished rounds are not trained again."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_text import CPU, logits, save_model, text_config, text_problem

from vgf.config import Config
from vgf.errors import UserError
from vgf.language.adapters import adapted_reference, adapter_path, round_folder
from vgf.language.loading import load_heads, open_reference
from vgf.language.policy import TextPolicy
from vgf.language.reference import Reference
from vgf.rundir import RunDirectory
from vgf.trainers import distill, dpo, grpo, lora, value

pytest.importorskip("trl")
peft = pytest.importorskip("peft")
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


def _run(folder: Path) -> RunDirectory:
    folder.mkdir(parents=True, exist_ok=True)
    return RunDirectory(folder)


def _train(config: Config, run: RunDirectory) -> list[dict[str, Any]]:
    """Train, and give back the adapter's rows of metrics.jsonl."""
    trainer = importlib.import_module(f"vgf.trainers.{config.trainer}")
    trainer.train(config, text_problem(config), run, CPU)
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if f"{config.trainer}/kl" in row]


@pytest.mark.parametrize(("law", "known"), [({"temperature": 0.5}, True), ({"top_p": 0.9}, False)])
def test_the_reference_has_no_kl_from_itself_as_it_is_sampled(model: Path, law: dict[str, float], known: bool) -> None:
    config = text_config(model)
    config.text = replace(config.text, **law)
    problem = text_problem(config)
    measured = lora._measured(config, problem, problem.reference, "distill")
    assert ("distill/kl" in measured) == known
    assert measured.get("distill/kl", 0.0) == pytest.approx(0.0, abs=1e-4)
    assert measured["distill/nll"] > 0


@pytest.mark.parametrize(
    ("trainer", "changes"),
    [
        ("distill", {"keep": 1, "epochs": 10.0}),
        ("grpo", {"batch_size": 16}),
        ("rloo", {"batch_size": 16}),
        ("dpo", {"beta": 0.1}),
    ],
)
def test_a_learnable_reward_is_learnt(tmp_path: Path, model: Path, trainer: str, changes: dict[str, Any]) -> None:
    config, run = text_config(model, **changes), _run(tmp_path / "run")
    config.trainer = trainer
    before, after = _train(config, run)
    assert after[f"{trainer}/proxy"] > before[f"{trainer}/proxy"] + 0.5
    assert before[f"{trainer}/kl"] == pytest.approx(0, abs=1e-4)
    assert after[f"{trainer}/kl"] > 0.05
    adapted, plain = adapted_reference(config, adapter_path(run.path), CPU), open_reference(config, CPU)
    assert not torch.allclose(logits(adapted), logits(plain), atol=0.1)
    alone = peft.PeftModel.from_pretrained(open_reference(config, CPU).model, adapter_path(run.path))
    assert torch.allclose(logits(Reference(alone.merge_and_unload(), plain.tokenizer)), logits(adapted), atol=1e-5)
    assert not (run.path / "trainer").exists(), "no scratch files are left"


def test_samples_of_one_length_have_no_heads_for_it(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in languages that are written without spaces."""
    sampled = value._sampled

    def one_word(*how: Any) -> dict[int, Any]:
        return {k: part | {"lengths": torch.ones_like(part["lengths"])} for k, part in sampled(*how).items()}

    monkeypatch.setattr(value, "_sampled", one_word)
    config = text_config(model)
    run = _run(tmp_path)
    value.train(config, text_problem(config), run, CPU)
    assert set(load_heads(run.path, CPU)) == {"heads", "tokens"}
    assert "value heads (length): left out" in capsys.readouterr().out


def test_examples_are_the_tokens_that_were_decoded(tmp_path: Path, model: Path) -> None:
    config = text_config(model, reference_share=0.5)
    problem, run = text_problem(config), _run(tmp_path)
    value.train(config, problem, run, CPU)
    policy = lora.policy_on(problem.reference, config, problem, run.path)
    rows = distill._examples(config, problem, policy, 1)
    assert len(rows) == 64, "two of each of 16 prompts, and as many of the reference's"
    end, texts = problem.reference.tokenizer.eos_token_id, problem.train_prompts
    for i, row in enumerate(rows[:32]):
        prompt = problem.reference.tokenizer(texts[i // 2])["input_ids"]
        answer = row["input_ids"][len(prompt) :]
        assert row["input_ids"][: len(prompt)] == prompt
        assert row["labels"] == [-100] * len(prompt) + answer
        assert len(answer) == 6 or answer[-1] == end, "only what has ended is short"
        assert end not in answer[:-1], "and nothing comes after the end"
    said = [sum(token == 3 for token in row["labels"]) for row in rows]
    assert sum(said[:32]) > 1.5 * sum(said[32:]), "the best come first, the plain ones after them"
    assert any(len(row["labels"]) and row["labels"][-1] != end for row in rows), "nothing is ended that was not"
    second = distill._examples(config, problem, policy, 2)
    for half in (slice(32), slice(32, None)):
        assert second[half] != rows[half], "the same prompts, and another round's noise"


def test_a_round_takes_the_next_prompts_and_begins_again_after_the_last() -> None:
    prompts = list("abcde")
    rounds = ["".join(distill._prompts_of_round(prompts, 2, number)) for number in (1, 2, 3)]
    assert rounds == ["ab", "cd", "ea"]
    assert sorted(distill._prompts_of_round(prompts, 9, 2)) == prompts, "each at most once a round"


def test_finished_rounds_are_not_trained_again_and_further_ones_go_on(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config, trained = _run(tmp_path / "run"), text_config(model, rounds=2, epochs=1.0), []
    whole = distill._sft

    def sft(*args: Any) -> Any:
        trained.append(args[-1])
        if trained == [1, 2]:
            raise KeyboardInterrupt
        return whole(*args)

    monkeypatch.setattr(distill, "_sft", sft)
    with pytest.raises(KeyboardInterrupt):
        _train(config, run)
    first = (adapter_path(run.path) / "adapter_model.safetensors").read_bytes()
    (run.path / "metrics.jsonl").unlink()
    assert [row["step"] for row in _train(config, run)] == [0, 1, 2], "rows that are gone are written again"
    assert trained == [1, 2, 2]
    assert (adapter_path(run.path) / "adapter_model.safetensors").read_bytes() != first
    assert len(_train(config, run)) == 3
    assert trained == [1, 2, 2], "all rounds are there"
    for folder in (run.path, round_folder(run.path, 1), round_folder(run.path, 2)):
        assert set(load_heads(folder, CPU)) == {"heads", "tokens", "length"}

    straight = _run(tmp_path / "straight")
    rows = _train(config, straight)
    assert rows[-1]["distill/kl"] == pytest.approx(_train(config, run)[-1]["distill/kl"], rel=1e-3)


def test_an_adapter_of_other_settings_or_another_trainer_is_not_taken_for_ours(tmp_path: Path, model: Path) -> None:
    config, run = text_config(model, epochs=1.0), _run(tmp_path)
    _train(config, run)
    with pytest.raises(UserError, match=r"text\.finetune\.lora=4, not 2"):
        lora.rounds_done(text_config(model, epochs=1.0, lora=2), run)
    config.trainer = "grpo"
    with pytest.raises(UserError, match="trainer=distill, not grpo"):
        grpo.train(config, text_problem(config), run, CPU)
    (adapter_path(run.path) / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match="damaged"):
        lora.rounds_done(config, run)


def test_a_reward_that_is_always_earned_ends_the_rounds_and_keeps_the_adapter(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run = text_config(model, epochs=1.0, rounds=3), _run(tmp_path)
    whole = value.fit

    def fit(config: Config, problem: Any, where: RunDirectory, processes: int = 1) -> None:
        if where is not run:
            problem = replace(problem, reward=lambda prompts, texts: [1.0] * len(texts))
        whole(config, problem, where, processes)

    monkeypatch.setattr(value, "fit", fit)
    assert [row["step"] for row in _train(config, run)] == [0, 1]
    assert "stopping before round 2" in capsys.readouterr().out


def test_dpo_sees_the_decoded_tokens_and_no_end_token(tmp_path: Path, model: Path) -> None:
    config = text_config(model)
    problem = text_problem(config)
    rows = dpo._pairs(config, problem)
    collator = importlib.import_module("trl.trainer.dpo_trainer").DataCollatorForPreference(1)
    batch = dpo._AsDecoded(collator)(
        [row | {"prompt_ids": [7], "chosen_ids": [1], "rejected_ids": [1]} for row in rows]
    )
    for k, name in enumerate(("chosen", "rejected")):
        for i, row in enumerate(rows):
            place = k * len(rows) + i
            seen = batch["input_ids"][place][batch["attention_mask"][place].bool()].tolist()
            assert seen == row["decoded_prompt_ids"] + row[f"decoded_{name}_ids"]
            learnt = batch["input_ids"][place][batch["completion_mask"][place].bool()].tolist()
            assert learnt == row[f"decoded_{name}_ids"]
    assert all(row["decoded_chosen_ids"].count(3) > row["decoded_rejected_ids"].count(3) for row in rows)


def test_an_adapter_is_not_measured_on_the_noise_it_was_fitted_to(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, seeds = text_config(model), []
    problem, whole = text_problem(config), TextPolicy.samples

    def samples(self: TextPolicy, batch: Any, particles: int, seed: int) -> Any:
        seeds.append(seed)
        return whole(self, batch, particles, seed)

    monkeypatch.setattr(TextPolicy, "samples", samples)
    dpo._pairs(config, problem)
    fitted = set(seeds)
    seeds.clear()
    lora._measured(config, problem, problem.reference, "dpo")
    assert seeds
    assert fitted.isdisjoint(seeds)


def test_what_cannot_be_compared_is_refused(tmp_path: Path, model: Path) -> None:
    config = text_config(model, batch_size=6)
    config.trainer = "grpo"
    with pytest.raises(UserError, match=r"batch_size=6 is not a multiple of text\.finetune\.generations=4"):
        grpo.train(config, text_problem(config), _run(tmp_path), CPU)


def _length_of_both(prompts: list[str], completions: list[str]) -> list[float]:
    return [float(len("".join(pair))) for pair in zip(prompts, completions, strict=True)]


def test_trl_is_told_the_reward_that_selection_sees(tmp_path: Path, model: Path) -> None:
    config = text_config(model)
    problem = text_problem(config, _length_of_both)
    policy = lora.policy_on(problem.reference, config, problem)
    batch = policy.batches(problem.train_prompts)[0]
    samples = policy.samples(batch, 3, 0)
    ids = [answer for _, answer in lora.token_rows(samples)]
    texts = [text for text in batch.texts for _ in range(3)]
    told = lora.reward_function(problem)(text=texts, completion_ids=ids, completions=None, trainer_state=None)
    assert told == policy.score(samples, problem.reward).flatten().tolist()
    answers = problem.reference.tokenizer.batch_decode(ids, skip_special_tokens=True)
    longest = max(range(len(answers)), key=lambda i: len(answers[i]))
    stop = answers[longest][2]
    cut = lora.reward_function(problem, [stop])(text=texts, completion_ids=ids)
    assert cut[longest] == len(texts[longest]) + answers[longest].index(stop)
    rows = lora.prompt_rows(config, problem)
    assert rows["prompt"] == rows["text"] == problem.train_prompts


def test_the_first_weights_of_an_adapter_follow_the_seed(model: Path) -> None:
    drawn = []
    for seed in (3, 3, 4):
        lora.trainable(text_config(model), CPU, seed)
        drawn.append(float(torch.rand(())))
    assert drawn[0] == drawn[1] != drawn[2]
