"""The presets tldr and hh: what they resolve to, and the whole path on tiny models and files of the public schemas."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.command import run_main
from tests.test_presets import composed
from vgf.errors import UserError
from vgf.language.rows import SCHEMAS, read_texts

transformers = pytest.importorskip("transformers")
pytest.importorskip("trl")
torch.set_num_threads(1)

WORDS = ["the", "cat", "sat", "on", "a", "red", "mat", "while", "my", "dog", "slept", "and", "tea", "for", "two"]
POST = "SUBREDDIT: r/{}\n\nTITLE: {}\n\nPOST: {}\n\nTL;DR:"
TALK = "\n\nHuman: {}\n\nAssistant: {}\n\nHuman: {}\n\nAssistant:"
DICE = random.Random(0)


def _words(count: int) -> str:
    return " ".join(DICE.choice(WORDS) for _ in range(count))


def _tldr_prompt() -> str:
    return POST.format(_words(1), _words(3), _words(12))


def _hh_row() -> dict[str, str]:
    start = TALK.format(_words(4), _words(5), _words(3))
    return {"chosen": f"{start} {_words(5)} thanks", "rejected": f"{start} {_words(6)}"}


ROWS = {  # as trl-lib/tldr, trl-lib/tldr-preference and Anthropic/hh-rlhf have them
    "tldr": [{"prompt": _tldr_prompt(), "completion": f" {_words(5)}"} for _ in range(12)],
    "tldr-preference": [
        {"prompt": _tldr_prompt(), "chosen": f" {_words(4)} thanks", "rejected": f" {_words(5)}"} for _ in range(48)
    ],
    "hh": [_hh_row() for _ in range(48)],
}
FILES = {"tldr": ("tldr", "tldr-preference"), "hh": ("hh", "hh")}  # prompts and pairs of each preset


def _model(folder: Path, kind: str, **sizes: Any) -> None:
    """A tiny model of a family, with a byte-level tokenizer that can read any text."""
    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    texts = [text for rows in ROWS.values() for row in rows for text in row.values()]
    trained.train_from_iterator(texts, vocab_size=sizes["vocab_size"], special_tokens=["<|endoftext|>"])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, eos_token="<|endoftext|>")
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        kind, hidden_size=32, intermediate_size=48, num_attention_heads=2, num_hidden_layers=3,
        max_position_embeddings=160, bos_token_id=0, eos_token_id=0, **sizes,
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("presets")
    for name, rows in ROWS.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _model(folder / "pythia", "gpt_neox", vocab_size=320)
    _model(folder / "qwen", "qwen2", vocab_size=300, num_key_value_heads=2)
    return folder


def _arguments(preset: str, files: Path, run_dir: Path) -> list[str]:
    """The preset with local models and files in the place of the hub's, and everything else small."""
    prompts, pairs = (files / f"{name}.jsonl" for name in FILES[preset])
    return [
        f"preset={preset}", f"text.model={files / 'pythia'}", f"text.gold.model={files / 'qwen'}",
        f"text.prompts={prompts}@1/1", f"text.reward.data={pairs}@1/2", f"text.gold.data={pairs}@2/2",
        f"text.second.data={pairs}@2/2", f"text.cache={files / 'cache'}", f"run_dir={run_dir}", "text.dtype=float32",
        "text.reward.lora=2", "text.held_out=4", "text.new_tokens=6", "text.seeds=1", "text.candidates=[4]",
        "text.heads.prompts=8", "text.heads.steps=20", "text.heads.layer=2", "transport.particles=3",
        "eval.budgets=[0,1]", "budget.steps=1", "threads=1",
    ]  # fmt: skip


CONTROLS = {("best_of_n", "4"), ("hidden", "0.1"), ("temperature", "0.4")}


@pytest.mark.parametrize(
    ("preset", "more", "controls"),
    [("tldr", [], CONTROLS), pytest.param("hh", ["text.controls=[]"], set(), marks=pytest.mark.slow)],
    ids=["tldr", "hh"],
)
def test_the_whole_path_to_the_report(
    preset: str, more: list[str], controls: set[tuple[str, str]], files: Path
) -> None:
    run = files / f"run-{preset}"
    status, output = run_main([*_arguments(preset, files, run), *more])
    assert status == 0, output
    with (run / "eval.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    points = {(row["method"], row["budget"]) for row in rows}
    assert points == {("reference", "0"), ("embedding", "1"), *controls}
    moved = [row for row in rows if row["method"] == "embedding"]
    assert {row["prompt"] for row in moved} == {"0", "1", "2", "3"}
    assert all(0 <= float(row["beats_chosen"]) <= 1 for row in moved)
    rewards = {folder.name.split("-")[0]: folder for folder in (files / "cache" / "rewards").iterdir()}
    assert json.loads((rewards["gold"] / "config.json").read_text())["model_type"] == "qwen2"
    assert json.loads((rewards["reward"] / "config.json").read_text())["model_type"] == "gpt_neox"
    assert "embedding" in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("preset", "prompts", "pairs", "new_tokens", "longest"),
    [("tldr", "trl-lib/tldr", "trl-lib/tldr-preference", 53, 512), ("hh", *["Anthropic/hh-rlhf"] * 2, 128, 1024)],
)
def test_what_a_preset_resolves_to(preset: str, prompts: str, pairs: str, new_tokens: int, longest: int) -> None:
    config = composed(f"preset={preset}")
    text = config.text
    assert (config.task, config.method, config.trainer, config.preset) == ("llm_reward", "embedding", "value", preset)
    assert (text.model, text.prompts, text.split, text.new_tokens) == (
        "EleutherAI/pythia-2.8b", f"{prompts}@1/1", "test", new_tokens,
    )  # fmt: skip
    assert "completion" in text.columns
    assert text.controls == ["best_of_n", "hidden", "temperature"]
    assert (text.reward.model, text.reward.data, text.reward.layers) == ("reference", f"{pairs}@1/2", None)
    assert (text.gold.model, text.gold.data) == ("Qwen/Qwen2.5-0.5B", f"{pairs}@2/2")
    assert text.reward.max_length == text.gold.max_length == longest
    assert text.second is not None
    assert text.second.model == "length"


@pytest.mark.parametrize("preset", ["tldr", "hh"])
def test_prompt_and_chosen_answer_read_as_they_were_written(preset: str, files: Path) -> None:
    name = FILES[preset][0]
    rows = read_texts(str(files / f"{name}.jsonl"), SCHEMAS["completions"])
    written = [row.get("chosen") or row["prompt"] + row["completion"] for row in ROWS[name]]
    assert [row["prompt"] + row["completion"] for row in rows] == written
    assert all(row["prompt"].endswith(":") and row["completion"].startswith(" ") for row in rows)


def test_parts_share_no_prompt_and_leave_nothing_out(files: Path, tmp_path: Path) -> None:
    twice = tmp_path / "twice.jsonl"
    rows = [*ROWS["tldr-preference"], *({**row, "chosen": " other"} for row in ROWS["tldr-preference"])]
    twice.write_text("".join(json.dumps(row) + "\n" for row in rows))
    parts = [read_texts(f"{twice}@{part}/3", SCHEMAS["pairs"]) for part in (1, 2, 3)]
    prompts = [{row["prompt"] for row in part} for part in parts]
    assert sum(map(len, prompts)) == len(set.union(*prompts)) == len({row["prompt"] for row in rows})
    assert sorted(row["chosen"] for part in parts for row in part) == sorted(row["chosen"] for row in rows)
    backwards = tmp_path / "backwards.jsonl"
    backwards.write_text("".join(json.dumps(row) + "\n" for row in rows[::-1]))
    again = read_texts(f"{backwards}@2/3", SCHEMAS["prompts"])
    assert again == [{"prompt": row["prompt"]} for row in parts[1]]


def test_a_part_that_is_not_there_is_one_line(files: Path) -> None:
    for part, message in {"0/2": "parts count from 1", "3/2": "parts count from 1", "1/9999": "is empty"}.items():
        with pytest.raises(UserError, match=message):
            read_texts(f"{files / 'tldr.jsonl'}@{part}", SCHEMAS["prompts"])


def test_any_answer_of_a_dialogue_can_be_the_completion(files: Path) -> None:
    rows = read_texts(str(files / "hh.jsonl"), SCHEMAS["completions"], columns={"completion": "rejected"})
    assert [row["prompt"] + row["completion"] for row in rows] == [row["rejected"] for row in ROWS["hh"]]
    with pytest.raises(UserError, match="no column 'answer'"):
        read_texts(str(files / "hh.jsonl"), SCHEMAS["completions"], columns={"completion": "answer"})


def test_a_data_set_with_prompts_is_not_taken_for_dialogues(files: Path) -> None:
    with pytest.raises(UserError, match="no column 'completion'; its columns are prompt, chosen, rejected"):
        read_texts(str(files / "tldr-preference.jsonl"), SCHEMAS["completions"])
