"""Reward finetuning of a language model: more reward from the same reference, at a budget chosen per call.

    reference, rewards, prompts       prepare
    value heads (or an adapter)       the trainer
    every method on held-out prompts  evaluate, report

By default SmolLM2-135M-Instruct goes on writing film reviews from their first words; the proxy is a reward model on its
own first blocks, the judge a MiniLM trained on other reviews, the second judge VADER.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any

import torch

from vgf.config import Config
from vgf.errors import UserError
from vgf.files import atomic_write_text
from vgf.language.evaluation import example_rows
from vgf.language.hub import quietly
from vgf.language.loading import load_heads, note_parts, open_reference, precision, text_policy, with_own_parts
from vgf.language.models import find_model
from vgf.language.policy import Values
from vgf.language.problem import TextProblem
from vgf.language.processes import useful_processes
from vgf.language.ranks import first_first, is_first, join, leave
from vgf.language.reference import Reference
from vgf.language.rows import read_texts
from vgf.language.rules import TEXT_RULES
from vgf.language.scorers import is_scorer, probe_reward, require_gradient
from vgf.language.settings import RewardConfig
from vgf.language.text import Reviews, movie_reviews, openings, split
from vgf.methods import knob_of, load_method, method_names
from vgf.progress import progress_bar
from vgf.report.text_report import write_text_report
from vgf.rundir import RunDirectory
from vgf.tasks.llm_points import pick_budget
from vgf.tasks.llm_rewards import find_reward
from vgf.tasks.llm_table import EvalTable
from vgf.tasks.llm_workers import evaluate_run, jobs_of

__all__ = ["prepare", "score", "solve"]

_TRACKED = ("proxy", "gold", "second", "nll")
_PARTS = {"reward": 0.4, "gold": 0.4, "prompts": 0.2}  # of the reviews; no review serves two purposes


def solve(config: Config, run: RunDirectory, trainer: ModuleType, device: torch.device) -> None:
    """Prepare, train what the method needs, evaluate, report.

    Raises:
        UserError: whatever keeps a part from being had; and when the memory does not suffice, with the keys to lower.
    """
    try:
        with quietly():
            _solve(config, run, trainer, device)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UserError(
            "out of memory; lower text.batch, transport.particles, text.new_tokens or text.reward.batch_size"
        ) from error


def _solve(config: Config, run: RunDirectory, trainer: ModuleType, device: torch.device) -> None:
    join(device)
    if config.mode == "eval":
        config = with_own_parts(run.path, config)
    with first_first():  # the others find models and rewards where the first process has put them
        if config.mode == "train" and is_first():
            run.claim(config)
        problem = prepare(config, device)
        if config.mode == "train" and is_first():
            _note(config, problem, run)
    if config.mode == "train":
        trainer.train(config, problem, run, device)
    leave()
    if is_first():
        score(config, problem, run, device)


def _note(config: Config, problem: TextProblem, run: RunDirectory) -> None:
    """What the run is made of, and what its reward falls for."""
    warnings = _probe(config, problem)
    for label, line in problem.facts.items():
        run.note(label, line)
    note_parts(run.path, proxy=config.text.reward.model, reward_path=problem.reward_path, facts=problem.facts)
    note_parts(run.path, warnings=warnings)


def prepare(config: Config, device: torch.device) -> TextProblem:
    """Find or make reference, rewards and prompts; no prompt is both learned from and held out.

    Raises:
        UserError: something cannot be had, does not fit, or lacks columns.
    """
    text, cache = config.text, Path(config.text.cache).expanduser()
    reference = open_reference(config, device)
    folder = find_model(text.model, cache)
    parts = split(movie_reviews(), _PARTS, config.seed) if _uses_reviews(config) else {}
    found = {}
    wanted: dict[str, RewardConfig | None] = {"reward": text.reward, "gold": text.gold, "second": text.second}
    for name, settings in wanted.items():
        if settings is not None:
            reviews = parts.get("reward" if name == "reward" else "gold", Reviews((), (), ()))
            found[name] = find_reward(
                name, settings, reference=folder, reviews=reviews, cache=cache, seed=config.seed, device=device,
                dtype=precision(config),
            )  # fmt: skip
    _require_gradient(config, found["reward"].reward, reference)
    prompts, chosen = _prompts(config, parts, found["reward"].reward)
    if len(prompts) <= text.held_out:
        raise UserError(f"there are {len(prompts)} prompts; text.held_out={text.held_out} leaves none to train on")
    facts = {"reference": text.model} | {name: reward.line for name, reward in found.items()}
    kept = len(prompts) - text.held_out
    return TextProblem(
        reference=reference,
        reward=found["reward"].reward,
        judges={name: found[name].reward for name in ("gold", "second") if name in found},
        train_prompts=prompts[:kept][: text.heads.prompts],
        held_out=prompts[kept:],
        chosen=chosen[kept:] if chosen else None,
        reward_path=str(found["reward"].path) if found["reward"].path else None,
        facts=facts,
        remake=prepare,
    )


def _require_gradient(config: Config, reward: Any, reference: Reference) -> None:
    """Refuse a reward without a gradient at the reference's tokens where a rule of this run takes one."""
    beside = [load_method(name).transport.rule for name in config.text.controls if name in method_names(TEXT_RULES)]
    if any("reward" in TEXT_RULES[rule].value for rule in (config.transport.rule, *beside)):
        require_gradient(reward)
        reward.require_gradient(reference)


def _uses_reviews(config: Config) -> bool:
    rewards = [r for r in (config.text.reward, config.text.gold, config.text.second) if r is not None]
    trained = [r for r in rewards if r.path is None and not is_scorer(r.model)]
    return config.text.prompts == "reviews" or any(r.data == "reviews" for r in trained)


def _prompts(config: Config, parts: Mapping[str, Reviews], reward: Any) -> tuple[list[str], list[str] | None]:
    """All prompts, each once, and the good completion of each where the data set has one."""
    text = config.text
    if text.prompts == "reward":
        if getattr(reward, "make_prompts", None) is None:
            raise UserError(f"text.prompts=reward: text.reward.model={text.reward.model} makes no prompts of its own")
        made = reward.make_prompts(text.heads.prompts + text.held_out, config.seed)
        return list(dict.fromkeys(made)), None
    if text.prompts == "reviews":
        return openings(parts["prompts"], text.heads.prompts + text.held_out, text.opening), None
    columns = ("prompt", "completion") if "completion" in text.columns else ("prompt",)
    rows = _one_a_prompt(text.prompts, read_texts(text.prompts, columns, columns=text.columns, split=text.split))
    return [row["prompt"] for row in rows], [row["completion"] for row in rows] if len(columns) == 2 else None


def _one_a_prompt(source: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first row of each prompt."""
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        first.setdefault(row["prompt"], row)
    if left_out := len(rows) - len(first):
        print(f"{source}: {left_out} of {len(rows)} rows repeat a prompt and are left out", file=sys.stderr)
    return list(first.values())


def _probe(config: Config, problem: TextProblem) -> list[str]:
    """What empty, repeated and very long answers score; warnings are told before heads or adapters are trained."""
    prompts = problem.train_prompts[:32]
    policy = text_policy(config, problem.reference, Values(problem.reward))
    samples = [policy.samples(batch, 1, config.seed) for batch in policy.batches(prompts)]
    warnings = probe_reward(problem.reward, prompts, [text for some in samples for text in policy.texts(some)])
    for warning in warnings:
        print(f"warning: {warning}")
    return warnings


def score(config: Config, problem: TextProblem, run: RunDirectory, device: torch.device) -> None:
    """Evaluate on the held-out prompts, write ``eval.csv``, ``samples.json`` and the report, and print its table."""
    heads, picked = load_heads(run.path, device), "auto" if config.budget.auto else "before"
    policy = text_policy(config, problem.reference, Values(problem.reward, heads.get("heads"), heads.get("tokens")))
    if config.budget.auto:
        config = pick_budget(config, policy, problem)
        run.note_auto_budget(config.method, config.budget)
    table = EvalTable(run.path, config)
    _describe(config, problem, run, picked)
    rows: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    began, jobs = time.perf_counter(), jobs_of(config, problem)
    processes = useful_processes(config, device, jobs)
    with progress_bar("evaluating", jobs, "batch") as bar:
        for found, shown in evaluate_run(config, problem, run, device, prepare, processes):
            rows += found
            examples += shown
            table.add(found)
            bar.update()
    table.close()
    atomic_write_text(run.path / "samples.json", json.dumps(example_rows(examples), indent=1) + "\n")
    _track(run, rows)
    run.note("evaluation", f"{time.perf_counter() - began:.0f} s in {processes} processes")
    print(f"\n{write_text_report(run.path)}\n\nreport: {run.path / 'report.html'}\ncurve:  {run.path / 'curve.png'}")


def _track(run: RunDirectory, rows: list[dict[str, Any]]) -> None:
    """Means of what trackers are told, for each method and budget."""
    groups: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["budget"]), []).append(row)
    for (method, budget), found in groups.items():
        columns = {name: [float(row[name]) for row in found if row.get(name) is not None] for name in _TRACKED}
        run.track_evaluation(0, method, budget, {name: fmean(column) for name, column in columns.items() if column})


def _describe(config: Config, problem: TextProblem, run: RunDirectory, picked: str) -> None:
    """Write what the report says about the run into ``text.json``."""
    text = config.text
    note_parts(
        run.path,
        method=config.method,
        knob=config.transport.knob,
        budget=knob_of(config),
        picked=picked,
        particles=config.transport.particles,
        seeds=text.seeds,
        prompts=len(problem.held_out),
        proxy=text.reward.path or text.reward.model,
        gold=text.gold.path or text.gold.model,
        second=None if text.second is None else text.second.path or text.second.model,
        reference=text.model,
    )
