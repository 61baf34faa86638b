"""What a language run evaluates: its method over a sweep of budgets, and the controls beside it."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from vgf.config import Config
from vgf.errors import UserError
from vgf.language.evaluation import TextPoint, more_candidates, moving, sharper
from vgf.language.heads import ValueHeads
from vgf.language.policy import TextPolicy, Values
from vgf.language.problem import TextProblem
from vgf.language.rules import TEXT_RULES
from vgf.language.scorers import scorer
from vgf.methods import budget_at, knob_of, load_method, with_knob
from vgf.progress import progress_bar

__all__ = ["pick_budget", "points_of"]

Heads = dict[str, ValueHeads]
_SHARPER = 0.7
_SEED_OFFSET = 15_485  # the noise on which a budget is chosen is not that of the evaluation


def points_of(config: Config, heads: Heads) -> list[TextPoint]:
    """The configured method over its budgets, then every control."""
    return [
        point
        for name in dict.fromkeys([config.method, *config.text.controls])
        for point in _POINTS.get(name, _method_points)(name, config, heads)
    ]


def pick_budget(config: Config, policy: TextPolicy, problem: TextProblem) -> Config:
    """``budget=auto``: the knob of the sweep where the judge's lower bound on the gain is highest.

    The judge reads moved samples of training prompts, without selection. The bound is the mean gain over the same noise
    unmoved, less one standard error over prompts: whole samples are judged, so that nothing is believed of moves that
    were not made. The judge has then chosen the budget it reports on, though on other prompts.

    Raises:
        UserError: fewer than two training prompts to choose on.
    """
    prompts = problem.train_prompts[-config.text.auto_prompts :]
    if len(prompts) < 2:
        raise UserError("budget=auto compares budgets on text.auto_prompts training prompts; it needs 2 or more")
    judge, seed = problem.judges["gold"], config.eval.seed + _SEED_OFFSET
    knobs = sorted({*_sweep(config), knob_of(config)} - {0.0})
    bounds = {0.0: 0.0}
    with progress_bar("choosing the budget", len(knobs), "budget") as bar:
        batches = [
            (batch, policy.move(batch, budget_at(config, 0.0), seed, config)) for batch in policy.batches(prompts)
        ]
        for knob in knobs:
            gains = []
            for batch, unmoved in batches:
                moved = policy.move(batch, budget_at(config, knob), seed, config, unmoved=unmoved).moved
                gains.append(policy.score(moved, judge).mean(1) - policy.score(unmoved.twins, judge).mean(1))
            gain = torch.cat(gains)
            bounds[knob] = float(gain.mean() - gain.std() / math.sqrt(len(gain)))
            bar.update()
    best = max(bounds, key=lambda knob: bounds[knob])
    print(f"budget=auto: {config.transport.knob} {best:g}, where the judge's lower bound on the gain is highest")
    return replace(config, budget=with_knob(config, best))


def _sweep(config: Config) -> list[float]:
    given = config.sweep if config.eval.budgets is None else config.eval.budgets
    return [float(knob) for knob in given]


def _method_points(name: str, config: Config, heads: Heads) -> list[TextPoint]:
    """The configured method over its budgets; another one at its own."""
    if name != config.method:
        other = load_method(name)
        other.transport.particles = config.transport.particles
        return [_beside(config, moving(name, other, knob_of(other), config.text.sweep_seeds))]
    own = knob_of(config)
    others = [moving(name, config, knob, config.text.sweep_seeds) for knob in sorted({*_sweep(config)} - {0.0, own})]
    mine = [moving(name, config, own, config.text.seeds)] if own else []
    return mine + [_beside(config, point) for point in others]


def _beside(config: Config, point: TextPoint) -> TextPoint:
    """A point that no claim rests on: fewer seeds and prompts do for the shape of a curve."""
    return replace(point, prompts=config.text.sweep_prompts)


def _random(name: str, config: Config, heads: Heads) -> list[TextPoint]:
    """The same budget along random directions, where the rule has a direction."""
    if "random" not in TEXT_RULES[config.transport.rule].options:
        return []
    return [moving(name, config, knob_of(config), config.text.seeds, random=True)]


def _length(name: str, config: Config, heads: Heads) -> list[TextPoint]:
    """The same method, guided by nothing but length; only value heads can follow it."""
    if TEXT_RULES[config.transport.rule].value != ("heads",) or "length" not in heads:
        return []
    point = moving(name, config, knob_of(config), config.text.sweep_seeds, Values(scorer("length"), heads["length"]))
    return [_beside(config, point)]


def _sharper(name: str, config: Config, heads: Heads) -> list[TextPoint]:
    text = config.text
    if text.temperature == 0:  # the likeliest tokens alone: as sharp as can be
        return []
    return [sharper(_SHARPER * text.temperature if text.sharper is None else text.sharper, text.seeds)]


def _best_of_n(name: str, config: Config, heads: Heads) -> list[TextPoint]:
    return more_candidates([n for n in config.text.candidates if n > config.transport.particles], config.text.seeds)


_POINTS = {"random": _random, "length": _length, "temperature": _sharper, "best_of_n": _best_of_n}
