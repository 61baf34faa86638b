"""Methods by name: each file of ``configs/method`` is one."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Collection, Container, Iterable
from dataclasses import replace
from importlib import resources
from typing import cast

from omegaconf import OmegaConf

from vgf.config import BudgetConfig, MethodConfig
from vgf.errors import UserError, did_you_mean
from vgf.language.rules import TEXT_RULES, get_text_rule
from vgf.nets.extras import extras_for
from vgf.transport import RULES, Budget, get_rule

__all__ = [
    "ALL", "budget_at", "check_budgets", "configured_budget", "knob_of", "load_method", "meant", "method_names",
    "missing_extra", "named_point", "same_budget", "stays_put", "with_knob",
]  # fmt: skip

ALL = "all"  # not a method: all of them


def method_names(rules: Container[str] = RULES) -> list[str]:
    """Names of the methods whose rule is in a table (that of control, unless another is given), sorted."""
    return [name for name in _all_names() if load_method(name).transport.rule in rules]


@functools.cache
def _all_names() -> list[str]:
    folder = resources.files("vgf.configs") / "method"
    names = {f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")}
    return sorted(names - {ALL})


def load_method(name: str) -> MethodConfig:
    """Read one method's YAML. UserError with the nearest names when there is none."""
    names = _all_names()
    if name not in names:
        raise UserError(f"method={name!r} is unknown; use one of {', '.join(names)}.{did_you_mean(name, names)}")
    return copy.deepcopy(_parsed(name))  # a method's fields may be set, and are the caller's own


@functools.cache
def _parsed(name: str) -> MethodConfig:
    """Parsing takes milliseconds, and reports ask for every method many times."""
    text = (resources.files("vgf.configs") / "method" / f"{name}.yaml").read_text()
    return cast(
        MethodConfig, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(MethodConfig), OmegaConf.create(text)))
    )


def meant(method: object, own: MethodConfig) -> MethodConfig:
    """The configuration that a method argument means: a name, a configuration, or None.

    Args:
        method: a name brings the settings of its file, but for the name of ``own``.
        own: what None and its own name mean, as it is configured.

    Raises:
        UserError: an unknown name, or something else.
    """
    if method is None:
        return own
    if isinstance(method, str):
        return own if method == own.method else load_method(method)
    if not isinstance(method, MethodConfig):
        raise UserError(f"method={method!r} is neither a name, such as 'qgf', nor a configuration")
    return method


def named_point(text: str, own: MethodConfig) -> tuple[MethodConfig, float]:
    """A method and a value of its knob: ``qgf`` at its own budget, ``qgf@0.1`` at another.

    Args:
        text: such a name; see :func:`meant`.
        own: the method that is configured.

    Raises:
        UserError: no such method, or a value that is no budget of it.
    """
    name, at, value = text.partition("@")
    method = meant(name, own)
    if not at:
        return method, knob_of(method)
    try:
        knob = float(value)
    except ValueError:
        raise UserError(f"{text}: {value!r} is not a number; write METHOD@BUDGET, such as qgf@0.1") from None
    check_budgets(text, method, [knob])
    return method, knob


def check_budgets(where: str, method: MethodConfig, knobs: Iterable[float]) -> None:
    """Raise a UserError that begins with ``where`` unless all are values of the method's knob."""
    for knob in knobs:
        try:
            budget_at(method, knob)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None


def configured_budget(method: MethodConfig) -> Budget:
    """The budget that the method's configuration names, open fields filled from its rule."""
    budget = Budget(method.budget.steps, method.budget.size, method.budget.radius)
    rule = method.transport.rule
    return budget.filled((get_text_rule(rule) if rule in TEXT_RULES else get_rule(rule)).budget)


def missing_extra(method: MethodConfig, trained: Collection[str]) -> None:
    """Raise a UserError when the method's rule takes a network that is not among the ``trained`` extras."""
    for name in extras_for(get_rule(method.transport.rule).options):
        if name not in trained:
            raise UserError(f"method={method.method} needs a network of its own; train with net.extras=[{name}]")


def stays_put(method: str) -> bool:
    """Whether a method of this name moves no particle, whatever its budget."""
    if method not in _all_names():
        return False
    rule = load_method(method).transport.rule
    return rule in RULES and RULES[rule].where == "nowhere"


def same_budget(one: float, other: float) -> bool:
    """Whether two values of a knob agree to the six digits that ``eval.csv`` keeps."""
    return math.isclose(one, other, rel_tol=1e-5)


def with_knob(method: MethodConfig, knob: float) -> BudgetConfig:
    """The configured budget with its knob set to a value, and no longer ``auto``."""
    turned = budget_at(method, knob)
    return BudgetConfig(auto=False, steps=turned.steps, size=turned.size, radius=turned.radius)


def knob_of(method: MethodConfig) -> float:
    """Value of the method's knob at its configured budget.

    Raises:
        UserError: when the knob is the number of guided steps and none is configured.
    """
    value = getattr(configured_budget(method), method.transport.knob)
    if value is None:
        raise UserError(f"method={method.method} with transport.knob={method.transport.knob} needs budget.steps=...")
    return float(value)


def budget_at(method: MethodConfig, knob: float) -> Budget:
    """The configured budget with the method's own knob turned to ``knob``.

    Raises:
        UserError: when the knob counts steps and the value is not whole, or is not a budget at all.
    """
    if method.transport.knob == "size":
        return replace(configured_budget(method), size=knob)
    if not math.isfinite(knob) or knob != int(knob):
        raise UserError(f"method {method.method!r} counts whole steps, {knob} is not one")
    return replace(configured_budget(method), steps=int(knob))
