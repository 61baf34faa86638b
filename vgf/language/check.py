"""Ranges of a language run's configuration, checked before anything is made."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from vgf.errors import UserError
from vgf.language.decoding import Sampling
from vgf.language.limits import Limits
from vgf.language.rules import TEXT_RULES, get_text_rule
from vgf.methods import check_budgets, knob_of, load_method, method_names
from vgf.speed import choose
from vgf.transport.steps import STEPS

__all__ = ["check_text"]

_AT_LEAST = {
    "held_out": 1, "opening": 1, "batch": 1, "seeds": 1, "sweep_seeds": 0, "sweep_prompts": 1, "auto_prompts": 1,
    "sharper": 0,    "heads.prompts": 2, "heads.hidden": 1, "heads.heads": 1, "heads.steps": 1, "heads.batch_size": 1,
    "heads.learning_rate": 0, "heads.weight_decay": 0, "finetune.rounds": 1, "finetune.prompts": 1, "finetune.keep": 1,
    "finetune.generations": 2, "finetune.beta": 0, "finetune.max_steps": 1, "finetune.lora": 1,
    "finetune.learning_rate": 0, "finetune.epochs": 0, "finetune.batch_size": 1, "finetune.measured": 1,
    "finetune.reference_share": 0,
}  # fmt: skip
_OF_REWARDS = {
    "words": 1, "layers": 1, "train_layers": 0, "lora": 1, "epochs": 0, "batch_size": 1, "learning_rate": 0,
    "max_length": 2, "pairs": 1,
}  # fmt: skip
_CONTROLS = ("best_of_n", "temperature", "random", "length")


def check_text(config: Any) -> None:
    """Raise a UserError for the first value that is out of range, naming its key and the range."""
    if config.task != "llm_reward":
        raise UserError(f"method={config.method} moves text; it goes with task=llm_reward, not task={config.task}")
    if config.transport.rule not in TEXT_RULES:
        names = ", ".join(method_names(TEXT_RULES))
        raise UserError(f"method={config.method} moves actions; task=llm_reward goes with {names}")
    limits = dict(_AT_LEAST)
    for name in ("reward", "gold", "second"):
        if getattr(config.text, name) is not None:
            limits |= {f"{name}.{key}": low for key, low in _OF_REWARDS.items()}
    for key, low in limits.items():
        value = attrgetter(key)(config.text)
        if value is not None and value < low:
            raise UserError(f"text.{key}={value} is out of range; it must be at least {low}")
    if config.text.finetune.reference_share >= 1:
        raise UserError("text.finetune.reference_share must be below 1: it is the share of plain samples")
    if config.mode == "train" and config.trainer == "distill" and config.budget.auto:
        raise UserError(
            "trainer=distill trains at a budget that is named: the judge, which budget=auto asks, is kept from "
            "training; set budget.size=..., and use budget=auto with mode=eval"
        )
    sharper, temperature = config.text.sharper, config.text.temperature
    if sharper is not None and "temperature" in config.text.controls and 0 < temperature <= sharper:
        raise UserError(
            f"text.sharper={sharper:g} is not below text.temperature={temperature:g}: the control would not sharpen; "
            "lower it, or leave it out: text.sharper=null"
        )
    choose("text.dtype", config.text.dtype, ("auto", "float32", "bfloat16"))
    Sampling(config.text.new_tokens, config.text.temperature, config.text.top_k, config.text.top_p)
    Limits(config.text.limits.changed, config.text.limits.nll_rise)
    rule = get_text_rule(config.transport.rule)
    for option in config.transport.options:
        if option not in rule.options:
            valid = ", ".join(rule.options) or "none"
            raise UserError(f"rule {config.transport.rule!r} has no option {option!r} (its options: {valid})")
    if config.transport.step is not None:
        choose("transport.step", config.transport.step, tuple(STEPS))
    knob_of(config)
    check_budgets("eval.budgets", config, config.eval.budgets or [])
    for name in config.text.controls:
        if name not in _CONTROLS:
            get_text_rule(load_method(name).transport.rule)
