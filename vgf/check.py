"""Ranges of configuration values, checked before anything is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Literal

from vgf.compose import file_values
from vgf.config import Config, TDConfig
from vgf.errors import UserError
from vgf.language.check import check_text
from vgf.language.rules import TEXT_RULES
from vgf.methods import ALL, check_budgets, knob_of, load_method, missing_extra, named_point, stays_put
from vgf.nets.extras import EXTRAS, extras_for
from vgf.nets.layers import ACTIVATIONS
from vgf.nets.sources import SOURCES
from vgf.policy import require_steerable
from vgf.speed import COMPILE, choose
from vgf.trackers import tracker_names
from vgf.transport import Budget, get_rule
from vgf.transport.landscape import check_aggregate
from vgf.transport.select import SELECTORS
from vgf.transport.steps import STEPS

__all__ = ["CHOICES", "RANGES", "check_config"]

_SEED = 2**32 - 1
_LARGEST = 10**15  # of numbers without another limit that count something: beyond, they are no machine integers

# key: (smallest, largest) value; None: no limit
RANGES: dict[str, tuple[float | None, float | None]] = {
    "data.transitions": (1, None),
    "data.seed": (0, _SEED),
    "data.held_out": (0, 1),
    "data.sac.steps": (1, None),
    "data.sac.environments": (1, 1024),
    "data.sac.updates": (1, None),
    "data.sac.hidden": (1, None),
    "data.sac.learning_rate": (0, None),
    "data.sac.start": (1, None),
    "data.sac.medium": (0, 1),
    "data.sac.rollout": (1, None),
    "data.memory_gb": (1e-6, None),
    "data.swap_every": (1, None),
    "data.processes": (1, 1024),
    "net.hidden": (1, None),
    "net.layers": (1, 1000),
    "net.heads": (1, 1000),
    "train.steps": (0, None),
    "train.batch_size": (1, None),
    "train.accumulate": (1, None),
    "train.learning_rate": (0, None),
    "train.discount": (0, 1),
    "train.chunk": (1, None),
    "train.n_step": (1, 1_000_000),
    "train.flow_steps": (1, 10_000),
    "train.expectile": (0, 1),
    "train.sql_alpha": (1e-6, None),
    "train.td.particles": (1, None),
    "train.td.alpha": (1e-6, None),
    "train.actor.alpha": (0, None),
    "train.actor.critic_alpha": (0, None),
    "train.actor.inverse_temperature": (0, None),
    "train.target_rate": (0, 1),
    "train.updates_per_launch": (1, None),
    "train.log_every": (1, None),
    "train.save_every": (1, None),
    "train.keep_every": (1, None),
    "online.steps": (1, None),
    "online.start": (0, None),
    "online.eval_every": (1, None),
    "eval.episodes": (1, None),
    "eval.seed": (0, _SEED),
    "eval.environments": (1, 1024),
    "eval.processes": (1, 1024),
    "eval.videos": (0, 1024),
    "transport.particles": (1, None),
    "transport.temperature": (1e-6, None),
    "transport.alpha": (1e-12, None),
    "transport.bandwidth": (1e-12, None),
    "transport.expectile": (0, 1),
    "transport.gate": (1, None),
    "seed": (0, _SEED),
    "threads": (1, 1024),
}

CHOICES = {
    "mode": ("train", "eval"),
    "resume": ("auto", "never"),
    "compile": COMPILE,
    "device": ("auto", "cpu", "cuda"),
    "data.source": ("auto", "path", "download", "generate"),
    "data.rewards": ("d4rl", "raw"),
    "train.flow_times": ("grid", "uniform"),
    "train.nonfinite": ("stop", "skip"),
    "train.precision": ("auto", "float32", "bfloat16"),
    "transport.knob": ("steps", "size"),
    "transport.critic": ("target", "online"),
    "train.critic": ("iql", "sql", "sarsa", "td"),
    "train.td.moved_by": ("target", "online"),
    "net.reference": ("flow", "gaussian"),
    "net.activation": tuple(ACTIVATIONS),
}


@dataclass(frozen=True)
class _Trainer:
    """What a trainer makes of a configuration.

    Attributes:
        policy: the source that it trains for reward, a key of ``SOURCES``; None: the reference acts.
        critic: that which train.critic has ``chosen``, its ``own`` as part of the method, or the one that is ``kept``
            from the run it starts from, whose policy is kept as well.
    """

    policy: str | None = None
    critic: Literal["chosen", "own", "kept"] = "chosen"


_TRAINERS = {  # those that are not as ``offline`` is
    "qam": _Trainer("flow"),
    "fql": _Trainer("one_step", "own"),
    "rebrac": _Trainer("deterministic", "own"),
    "extras": _Trainer(critic="kept"),
}
_CRITIC_KEYS = ("train.critic", *(f"train.td.{field.name}" for field in fields(TDConfig)))


def check_config(config: Config) -> None:
    """Raise a UserError for the first value that is out of range, naming its key and the range."""
    for key, (low, high) in RANGES.items():
        value: Any = attrgetter(key)(config)
        if value is None:
            continue
        high = _LARGEST if high is None and isinstance(value, int) else high
        # A comparison before isfinite, which cannot convert integers of hundreds of digits.
        if (low is not None and value < low) or (high is not None and value > high) or not math.isfinite(value):
            limits = f"at least {low}" if high is None else f"between {low} and {high}"
            raise UserError(f"{key}={value} is out of range; it must be {limits}")
    for key, valid in CHOICES.items():
        choose(key, attrgetter(key)(config), valid)
    tracker_names(config.tracker)
    for name in config.net.extras:
        choose("net.extras", name, tuple(EXTRAS))
    for name in config.train.freeze:
        choose("train.freeze", name, ("flow", "q", "v", "policy", "judge", "extras"))
    if config.net.policy is not None:
        choose("net.policy", config.net.policy, tuple(SOURCES))
    if config.transport.rule in TEXT_RULES or config.task == "llm_reward":
        check_text(config)
        return
    _check_training(config)
    choose("transport.select", config.transport.select, tuple(SELECTORS))
    if config.transport.step is not None:
        choose("transport.step", config.transport.step, tuple(STEPS))
    for aggregate in (config.transport.aggregate, config.train.aggregate, config.train.td.aggregate):
        check_aggregate(aggregate)
    knob_of(config)
    if config.mode == "train":
        missing_extra(config, config.net.extras)
        for name in config.eval.baselines:
            missing_extra(named_point(name, config)[0], config.net.extras)
    if config.transport.gate is not None and config.net.heads < 2:
        raise UserError("transport.gate compares the critic's heads; it needs net.heads of 2 or more")
    if config.transport.step == "norm_matched" and get_rule(config.transport.rule).where == "after":
        raise UserError(
            "transport.step=norm_matched scales by the flow's velocity: only rules inside the flow have one"
        )
    if config.budget.auto and config.mode == "train" and not config.net.judge:
        raise UserError("budget=auto asks the judge; it needs net.judge=true")
    if config.budget.auto and (config.method == ALL or stays_put(config.method)):
        raise UserError(f"budget=auto: method={config.method} has no budget of its own to turn; name one method")
    check_budgets("eval.budgets", config, config.eval.budgets or [])
    for name in config.eval.baselines:
        named_point(name, config)


def _check_training(config: Config) -> None:
    """Parts of training that need one another."""
    train, trainer = config.train, _TRAINERS.get(config.trainer, _Trainer())
    if train.steps == 0 and not (config.trainer == "online" and config.init):
        raise UserError(
            "train.steps=0 is out of range; it must be at least 1 (0 goes with trainer=online init=RUN_DIR)"
        )
    if train.batch_size % train.accumulate:
        raise UserError(
            f"train.accumulate={train.accumulate} does not divide train.batch_size={train.batch_size}; "
            "micro-batches are of one size"
        )
    divided = config.trainer == "rebrac" or (config.trainer == "fql" and train.actor.normalize_q)
    if train.accumulate > 1 and divided:
        raise UserError(
            "train.accumulate=1 is needed where Q is divided by its mean size in the batch (trainer=rebrac, "
            "train.actor.normalize_q): micro-batches have other means"
        )
    if train.keep_every and train.keep_every % train.save_every:
        raise UserError(
            f"train.keep_every={train.keep_every} is no multiple of train.save_every={train.save_every}, at which "
            "checkpoints are written"
        )
    if config.trainer == "online" and config.mode == "train":
        if config.online.start > config.online.steps:
            raise UserError(
                f"online.start={config.online.start} is beyond online.steps={config.online.steps}: "
                "no update would be made"
            )
        _check_explorer(config)
    if config.trainer == "extras" and config.mode == "train":
        if config.init is None:
            raise UserError("trainer=extras adds networks to a finished run; give it as init=RUN_DIR")
        if not config.net.extras:
            raise UserError("trainer=extras has nothing to train; name networks, such as net.extras=[flow_map]")
    for td_budget in ("steps", "size"):
        _require_budget(f"train.td.{td_budget}", **{td_budget: getattr(train.td, td_budget)})
    if config.mode == "train" and trainer.critic != "kept":
        if config.net.policy != trainer.policy:
            raise UserError(
                f"net.policy={config.net.policy} does not go with trainer={config.trainer}; it must be {trainer.policy}"
            )
        (_check_own_critic if trainer.critic == "own" else _check_critic)(config)
    if config.trainer == "qam" and (train.flow_steps < 2 or config.net.reference != "flow"):
        raise UserError(
            "trainer=qam fine-tunes a flow of two or more steps; use net.reference=flow, train.flow_steps=10"
        )
    one_kind = config.net.reference == "flow" and config.net.policy in (None, "flow")
    if "flow_map" in config.net.extras and not one_kind:
        raise UserError("net.extras=[flow_map] is distilled from a flow-matching source; use net.reference=flow")
    learns_v = trainer.critic != "own" and train.critic in ("iql", "sql")
    if "optimal" in config.net.extras and not learns_v:
        raise UserError(
            f"net.extras=[optimal] clones actions better than V(s), which train.critic={train.critic} with "
            f"trainer={config.trainer} does not learn; use train.critic=iql, or leave it out of net.extras"
        )


def _require_budget(key: str, **field: float | None) -> None:
    """Raise a UserError that names ``key`` unless the field is a budget's."""
    try:
        Budget(**field)  # type: ignore[arg-type]
    except UserError as error:
        raise UserError(f"{key}: {error}") from None


def _check_explorer(config: Config) -> None:
    """What plays while training goes on: a method at a budget that is known by then."""
    if config.online.method is not None:
        missing_extra(load_method(config.online.method), config.net.extras)
    elif config.method == ALL:
        raise UserError("online.method=null plays the run's own method, and method=all is many; name one of the two")
    elif config.budget.auto:
        raise UserError(
            "online.method=null plays at the run's own budget, which budget=auto chooses after training; name a budget "
            "or the method that plays"
        )


def _check_own_critic(config: Config) -> None:
    """Nothing is said of the critic, where it is part of the trainer's method."""
    preset = file_values("preset", config.preset)  # made for another trainer, it may say what that one's critic is
    default = Config()
    for key in _CRITIC_KEYS:
        value, usual = attrgetter(key)(config), attrgetter(key)(default)
        if value not in (usual, preset.get(key, usual)):
            raise UserError(
                f"{key}={value} says nothing to trainer={config.trainer}, whose critic is part of the method; "
                f"use {key}={'null' if usual is None else usual}"
            )


def _check_critic(config: Config) -> None:
    """A TD target's rule can move the source, with the networks that it needs."""
    if config.train.critic != "td":
        return
    name, rule = f"train.td.rule={config.train.td.rule}", get_rule(config.train.td.rule)
    for extra in extras_for(rule.options):
        if extra not in config.net.extras:
            raise UserError(f"{name} needs a network of its own; add net.extras=[{extra}]")
    source = SOURCES[config.net.policy or config.net.reference]
    require_steerable(name, rule, source, source.steps or config.train.flow_steps)
