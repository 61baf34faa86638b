"""Keys that a run would not read are refused, those that it reads pass."""

from __future__ import annotations

from operator import attrgetter

import pytest

from vgf import UserError
from vgf.config import Config
from vgf.unread import _READ_WITH, _UNREAD_WITH, require_read

ROWS = [(key, *row) for table in (_READ_WITH, _UNREAD_WITH) for key, row in table.items()]


def config_with(**changes: str) -> Config:
    config = Config()
    for key, value in changes.items():
        group, _, name = key.rpartition("__")
        setattr(attrgetter(group)(config) if group else config, name, value)
    return config


@pytest.mark.parametrize(("key", "by", "values"), ROWS)
def test_every_key_of_the_tables_is_one_of_the_configuration(key, by, values):
    attrgetter(key)(Config())
    attrgetter(by)(Config())
    assert values


@pytest.mark.parametrize(
    ("key", "changes", "said"),
    [
        ("train.td.particles", {}, "train.critic=iql; use train.critic=td"),
        ("train.td", {}, "train.critic=iql; use train.critic=td"),
        ("train.expectile", {"train__critic": "sql"}, "train.critic=sql; use train.critic=iql"),
        ("train.sql_alpha", {}, "train.critic=iql; use train.critic=sql"),
        ("train.expectile", {"trainer": "rebrac"}, "trainer=rebrac; leave it out"),
        ("train.td.size", {"trainer": "extras", "train__critic": "td"}, "trainer=extras; leave it out"),
        ("train.actor.alpha", {}, "trainer=offline; use trainer=fql"),
        ("train.actor.critic_alpha", {"trainer": "fql"}, "trainer=fql; use trainer=rebrac"),
        ("train.flow_times", {"net__reference": "gaussian"}, "net.reference=gaussian; use net.reference=flow"),
        ("train.updates_per_launch", {}, "compile=off; use compile=graph"),
        ("transport.temperature", {"transport__select": "max"}, "transport.select=max; use transport.select=softmax"),
        ("transport.expectile", {}, "transport.select=none; use transport.select=expectile"),
        ("transport.bandwidth", {}, "transport.rule=qgf; use transport.rule=vgf"),
        ("transport.bandwidth", {"task": "llm_reward", "transport__rule": "hidden"}, "task=llm_reward; leave it out"),
        ("text.finetune.beta", {}, "task=ogbench; use task=llm_reward"),
        ("net.hidden", {"task": "llm_reward"}, "task=llm_reward; leave it out"),
        ("eval.episodes", {"task": "llm_reward"}, "task=llm_reward; leave it out"),
    ],
)
def test_what_would_not_be_read_is_refused_with_what_would_read_it(key, changes, said):
    with pytest.raises(UserError) as refusal:
        require_read(config_with(**changes), ["seed", key])
    assert str(refusal.value).startswith(f"{key} says nothing to {said}")


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("train.td.particles", {"train__critic": "td"}),
        ("train.expectile", {}),
        ("train.actor.alpha", {"trainer": "rebrac"}),
        ("train.flow_times", {}),
        ("train.updates_per_launch", {"compile": "graph"}),
        ("online.steps", {"trainer": "online"}),
        ("transport.temperature", {"transport__select": "softmax"}),
        ("transport.bandwidth", {"transport__rule": "vgf"}),
        ("eval.budgets", {"task": "llm_reward"}),
        ("eval.seed", {"task": "llm_reward"}),
        ("text.model", {"task": "llm_reward"}),
        ("train.steps", {}),
        ("train", {}),
    ],
)
def test_what_is_read_passes(key, changes):
    require_read(config_with(**changes), [key])
