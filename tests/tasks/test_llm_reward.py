"""The language task from end to end, on a tiny model, files of one's own and a reward trained on the spot."""

from __future__ import annotations

import csv
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import vgf
from tests.command import run_main
from tests.language.tiny import reference
from tests.test_compose import resolved
from vgf.config import Config
from vgf.cores import cores
from vgf.errors import UserError
from vgf.language.evaluation import TEXT_COLUMNS
from vgf.language.scorers import Scorer
from vgf.language.settings import RewardConfig
from vgf.rundir import RunDirectory
from vgf.tasks.llm_reward import _prompts, _uses_reviews, prepare
from vgf.transport import Budget

pytest.importorskip("trl")
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference, prompts with good completions, and preference pairs: good is chosen, bad is rejected."""
    folder = tmp_path_factory.mktemp("language")
    source = reference()
    source.model.save_pretrained(folder / "model")
    source.tokenizer.save_pretrained(folder / "model")
    dice = random.Random(0)

    def words(count: int) -> list[str]:
        return [f"w{dice.randrange(20)}" for _ in range(count)]

    prompts = [{"prompt": " ".join(words(3)) + " ", "completion": "good good"} for _ in range(24)]
    pairs = []
    for _ in range(80):
        chosen, rejected = words(5), words(5)
        chosen[dice.randrange(5)], rejected[dice.randrange(5)] = "good", "bad"
        pairs.append({"prompt": "w1 ", "chosen": " ".join(chosen), "rejected": " ".join(rejected)})
    for name, rows in (("prompts", prompts), ("pairs", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_reviews_are_read_where_something_is_trained_on_them_or_continues_them() -> None:
    text = Config().text
    text.prompts, text.second = "mine.jsonl", None
    text.reward.model, text.gold.model = "my_reward:score", "length"
    assert not _uses_reviews(Config(text=text))
    for changed in (replace(text, prompts="reviews"), replace(text, gold=replace(text.gold, model="a/model"))):
        assert _uses_reviews(Config(text=changed))


def _arguments(files: Path, run_dir: Path, *more: str) -> list[str]:
    reward = [
        f"text.{name}.{key}"
        for name in ("reward", "gold")
        for key in (f"data={files / 'pairs.jsonl'}", "epochs=3", "learning_rate=1e-2", "layers=2", "train_layers=null")
    ]
    return [
        "task=llm_reward", f"text.model={files / 'model'}", f"text.cache={files / 'cache'}", "text.dtype=float32",
        f"text.prompts={files / 'prompts.jsonl'}", "text.columns.completion=completion", "text.held_out=8",
        "text.new_tokens=6", "text.seeds=2", "text.heads.prompts=16", "text.heads.steps=100", "text.heads.layer=2",
        "text.gold.model=reference", "text.second.model=regex:good", "text.candidates=[10]", "text.batch=4",
        "transport.particles=6", "threads=1", f"run_dir={run_dir}", *reward, *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(files: Path) -> Path:
    folder = files / "run"
    status, output = run_main(_arguments(files, folder, "eval.budgets=[0,0.1,1]"))
    assert status == 0, output
    return folder


def test_a_row_for_every_prompt_seed_and_point(run: Path) -> None:
    with (run / "eval.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == TEXT_COLUMNS
    points = {(row["method"], row["budget"]) for row in rows}
    assert points == {
        ("reference", "0"), ("hidden", "0.1"), ("hidden", "1"), ("best_of_n", "10"), ("temperature", "0.7"),
        ("random", "0.1"), ("tilt", "1"), ("length", "0.1"),
    }  # fmt: skip
    for method, budget in points:
        own = [row for row in rows if (row["method"], row["budget"]) == (method, budget)]
        assert len({(row["seed"], row["prompt"]) for row in own}) == len(own)
        assert {row["prompt"] for row in own} == {str(i) for i in range(8)}
    unmoved = [row for row in rows if row["method"] == "reference"]
    assert all(float(row["tokens_changed"]) == 0 == float(row["travelled"]) for row in unmoved)
    assert all(abs(float(row["kl"])) < 1e-3 for row in unmoved if row["kl"])
    assert all(row["beats_chosen"] for row in rows if row["method"] == "hidden")


def test_the_report_stands_on_its_own(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert "hidden" in page
    assert (run / "curve.png").stat().st_size > 10_000
    samples = json.loads((run / "samples.json").read_text())
    assert all(len(row["changed"]) == len(row["after"]) for row in samples)


def test_the_trained_reward_prefers_good(files: Path) -> None:
    (folder,) = (files / "cache" / "rewards").glob("reward-*")
    assert json.loads((folder / "reward.json").read_text())["accuracy"] > 0.7


def test_the_run_can_be_loaded_and_takes_a_budget_per_call(run: Path) -> None:
    policy = vgf.load(run)
    texts = policy.generate(["w1 w2 ", "w3 "], budget=Budget(steps=0), seed=1)
    assert texts == policy.generate(["w1 w2 ", "w3 "], budget=Budget(size=0.0), seed=1)
    assert texts != policy.generate(["w1 w2 ", "w3 "], budget=Budget(size=3.0), seed=1)


def test_evaluating_again_trains_nothing(files: Path, run: Path) -> None:
    heads = (run / "checkpoints" / "heads.safetensors").read_bytes()
    status, output = run_main(["mode=eval", f"run={run}", "eval.budgets=[0.2]", "text.controls=[]", "text.seeds=1"])
    assert status == 0, output
    assert "hidden" in output
    with (run / "eval.csv").open(newline="") as file:
        points = {(row["method"], row["budget"]) for row in csv.DictReader(file)}
    assert {("hidden", "0.2"), ("hidden", "1"), ("tilt", "1"), ("best_of_n", "10")} <= points  # of this call and before
    assert heads == (run / "checkpoints" / "heads.safetensors").read_bytes()


@pytest.mark.parametrize("given", [["method=gumbel"], ["text.controls=[gumbel]"], ["method=logits"], []])
def test_a_reward_without_a_gradient_is_refused_before_anything_is_trained(
    files: Path, tmp_path: Path, given: list[str]
) -> None:
    guided = resolved("task=llm_reward", f"text.model={files / 'model'}", "text.prompts=reward", *given)
    guided.text.reward, guided.text.gold, guided.text.second = RewardConfig("length"), RewardConfig("vader"), None
    said = "has no gradient" if given else "makes no prompts of its own"  # which is looked at next
    with pytest.raises(UserError, match=said):
        prepare(guided, torch.device("cpu"))


def test_of_several_processes_the_first_holds_the_directory_for_all(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    with RunDirectory(copy).held():
        status, output = run_main(["mode=eval", f"run={copy}"])
        assert (status, "another process is working" in output) == (2, True)
        monkeypatch.setenv("RANK", "1")
        status, output = run_main(["mode=eval", f"run={copy}"])
        assert status == 0, output
    assert (copy / "eval.csv").read_bytes() == (run / "eval.csv").read_bytes()  # the first process evaluates


@pytest.mark.slow
def test_two_processes_give_the_rows_of_one(run: Path) -> None:
    def rows(*more: str) -> list[dict[str, str]]:
        how = [
            "mode=eval",
            f"run={run}",
            "eval.budgets=[0.3]",
            "text.controls=[best_of_n,random]",
            "text.seeds=1",
            *more,
        ]
        status, output = run_main(how)
        assert status == 0, output
        with (run / "eval.csv").open(newline="") as file:
            return [{key: cell for key, cell in row.items() if key != "seconds"} for row in csv.DictReader(file)]

    assert rows("threads=1") == rows("threads=null", "eval.processes=2")
    assert "in 2 processes" in (run / "environment.txt").read_text() or len(cores()) == 1


def test_a_budget_chosen_by_the_judge_is_one_of_the_sweep_and_is_kept(run: Path) -> None:
    more = ["mode=eval", f"run={run}", "budget=auto", "eval.budgets=[0.1,0.5]", "text.controls=[]", "text.seeds=1"]
    status, output = run_main(more)
    assert status == 0, output
    chosen = json.loads((run / "auto_budget.json").read_text())["hidden"]["size"]
    assert chosen in (0.0, 0.1, 0.5)
    assert f"budget=auto: size {chosen:g}" in output
    assert json.loads((run / "text.json").read_text())["picked"] == "auto"


def test_a_run_trained_with_an_automatic_budget_acts_with_it(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    config = (copy / "config.yaml").read_text().replace("auto: false", "auto: true")
    (copy / "config.yaml").write_text(config)
    (copy / "auto_budget.json").write_text(
        json.dumps({"hidden": {"auto": False, "steps": 4, "size": 0.37, "radius": None}})
    )
    assert vgf.load(copy).method.budget.size == 0.37
    assert vgf.load(copy, method="gumbel").method.budget.size != 0.37


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("text.model=nowhere/at/all", "there is no model folder"),
        ("text.new_tokens=0", "text.new_tokens=0"),
        ("text.new_tokens=100", "exceeds the reference's context"),
        ("text.columns.prompt=question", "question"),
        ("text.heads.layer=9", "blocks 1 to 3"),
        ("method=gumble", "gumbel"),
        ("method=qgf", "goes with"),
        ("transport.options.nonsense=1", "no option 'nonsense'"),
        ("text.reward.path=nowhere", "nowhere"),
        ("text.held_out=100", "leaves none to train on"),
    ],
)
def test_bad_input_is_one_line(files: Path, tmp_path: Path, wrong: str, message: str) -> None:
    status, output = run_main(_arguments(files, tmp_path / "run", wrong))
    assert status == 2
    assert message in output.splitlines()[-1]


def test_a_prompt_that_is_there_several_times_is_taken_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, config = tmp_path / "prompts.jsonl", Config()
    rows = [{"prompt": f"p{n % 3}", "completion": f"c{n}"} for n in range(5)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config.text.prompts = str(file)
    assert _prompts(config, {}, None) == (["p0", "p1", "p2"], None)
    config.text.columns = {"completion": "completion"}
    assert _prompts(config, {}, None) == (["p0", "p1", "p2"], ["c0", "c1", "c2"]), "with the first one's answer"
    assert capsys.readouterr().err.splitlines()[-1] == f"{file}: 2 of 5 rows repeat a prompt and are left out"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    assert _prompts(config, {}, None) == (["p0", "p1", "p2"], ["c0", "c1", "c2"])
    assert "repeat a prompt" not in capsys.readouterr().err


def test_prompts_that_the_reward_makes(files: Path, tmp_path: Path) -> None:
    def make(count: int, seed: int) -> list[str]:
        return [f"{seed}: {n // 2}" for n in range(count)]  # every task twice

    made = Scorer("tasks", lambda prompts, completions: [0.0], make)
    config = Config()
    config.text.prompts, config.text.heads.prompts, config.text.held_out, config.seed = "reward", 4, 2, 7
    assert _prompts(config, {}, made) == (["7: 0", "7: 1", "7: 2"], None)
    status, said = run_main(_arguments(files, tmp_path / "none", "text.prompts=reward", "text.columns={}"))
    assert status == 2
    assert said.splitlines()[-1] == "vgf: text.prompts=reward: text.reward.model=reference makes no prompts of its own"
