"""Methods by name: every YAML in ``configs/method``, and what a budget means to each."""

from __future__ import annotations

import dataclasses
import math

import pytest

from vgf import Budget, UserError
from vgf.config import BudgetConfig, MethodConfig
from vgf.methods import (
    budget_at,
    configured_budget,
    knob_of,
    load_method,
    meant,
    method_names,
    missing_extra,
    named_point,
)
from vgf.nets.extras import EXTRAS
from vgf.transport import RULES, get_rule
from vgf.transport.landscape import check_aggregate
from vgf.transport.select import SELECTORS

METHODS = method_names()
NEEDS = {"cfgrl": "optimal", "a_vgf": "gradient", "robust_q": "noisy", "qpilots_m": "flow_map"}


def test_every_rule_has_a_method_and_every_method_a_rule():
    assert sorted(METHODS) == METHODS
    assert {load_method(name).transport.rule for name in METHODS} == set(RULES)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_file_is_complete(name):
    method = load_method(name)
    assert type(method) is MethodConfig
    assert method.method == name
    assert method.transport.knob in ("steps", "size")
    assert method.transport.select in SELECTORS
    assert method.transport.particles >= 1
    assert math.isfinite(knob_of(method))
    check_aggregate(method.transport.aggregate)
    assert set(method.transport.options) <= set(get_rule(method.transport.rule).options)


@pytest.mark.parametrize("name", METHODS)
def test_a_sweep_starts_at_the_reference_and_rises(name):
    method = load_method(name)
    assert method.sweep[0] == 0
    assert method.sweep == sorted(set(method.sweep))
    for knob in method.sweep:
        assert getattr(budget_at(method, knob), method.transport.knob) == knob


@pytest.mark.parametrize("name", METHODS)
def test_a_swept_knob_leaves_the_other_fields_as_configured(name):
    method = load_method(name)
    knob, configured = method.transport.knob, configured_budget(method)
    assert dataclasses.replace(budget_at(method, 2), **{knob: getattr(configured, knob)}) == configured


def test_open_fields_come_from_the_rule():
    assert configured_budget(MethodConfig(budget=BudgetConfig(size=0.7))) == Budget(None, 0.7)
    assert configured_budget(MethodConfig()) == RULES["qgf"].budget


def test_a_sweep_over_guided_steps_needs_a_number_of_them():
    method = load_method("qgf")
    method.transport.knob = "steps"
    with pytest.raises(UserError, match=r"needs budget.steps"):
        knob_of(method)
    method.budget.steps = 4
    assert knob_of(method) == 4


def test_a_step_count_must_be_whole():
    with pytest.raises(UserError, match=r"method 'vgf' counts whole steps, 1.5 is not one"):
        budget_at(load_method("vgf"), 1.5)


@pytest.mark.parametrize("knob", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["vgf", "qgf"])
def test_a_knob_that_is_no_number_is_a_user_error(name, knob):
    with pytest.raises(UserError):
        budget_at(load_method(name), knob)


def test_an_unknown_name_offers_near_ones():
    with pytest.raises(UserError, match=r"method='qfg' is unknown; use one of a_vgf, .*Did you mean .*'qgf'"):
        load_method("qfg")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_needs_a_network_says_which(name):
    method = load_method(name)
    needed = NEEDS.get(name)
    if needed is None:
        missing_extra(method, [])
        return
    with pytest.raises(UserError, match=rf"method={name} needs .* net.extras=\[{needed}\]"):
        missing_extra(method, set(EXTRAS) - {needed})
    missing_extra(method, [needed])


def test_a_point_is_a_method_at_its_own_budget_or_at_one_that_is_named():
    own = load_method("vgf")
    assert named_point("qgf", own) == (load_method("qgf"), 0.02)
    assert named_point("vgf@2", own) == (own, 2.0)


def test_its_name_means_the_configured_method():
    own = load_method("qgf")
    own.budget.size = 0.5
    assert meant(None, own) is meant("qgf", own) is named_point("qgf@0.1", own)[0] is own
    assert meant("vgf", own) == load_method("vgf")
    assert meant(given := load_method("qgf"), own) is given
    with pytest.raises(UserError, match="method=3 is neither a name"):
        meant(3, own)


@pytest.mark.parametrize("text", ["qgf@", "qgf@much", "vgf@1.5", "qgff@1"])
def test_a_point_that_is_none_is_a_user_error(text):
    with pytest.raises(UserError, match=r"qgf@0\.1|whole|unknown"):
        named_point(text, load_method("qgf"))


def test_a_file_is_parsed_once_and_every_caller_owns_what_it_gets(monkeypatch):
    first = load_method("qgf")
    monkeypatch.setattr("vgf.methods.OmegaConf", None)  # whoever parses again fails
    first.transport.options["changed"] = 1
    first.budget.size = 7.0
    first.sweep.append(9.0)
    again = load_method("qgf")
    assert "changed" not in again.transport.options
    assert (again.budget.size == 7.0, 9.0 in again.sweep) == (False, False)
