"""What a configuration says of critics, flows and play that a trainer could only ignore or fail at is refused."""

from __future__ import annotations

import pytest

from tests.test_compose import resolved
from vgf.check import check_config
from vgf.errors import UserError


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("train.flow_times=random", "train.flow_times=random is unknown; use one of grid, uniform."),
        ("train.critic=td train.td.rule=qpilots_u train.flow_steps=1", "train.td.rule=qpilots_u guides all steps but"),
        ("train.critic=td train.td.rule=qpilots_g net.reference=gaussian", "train.td.rule=qpilots_g samples the post"),
        ("trainer=qam train.td.rule=a_vgf", r"train.td.rule=a_vgf needs a network of its own; add net.extras=."),
        ("trainer=fql train.critic=td", "train.critic=td says nothing to trainer=fql, .*; use train.critic=iql"),
        ("trainer=rebrac train.td.steps=3", "train.td.steps=3 says nothing to trainer=rebrac, .* train.td.steps=null"),
        ("trainer=fql preset=qpilots/scene train.td.size=0.7", "train.td.size=0.7 says nothing to trainer=fql"),
        ("trainer=online online.method=null method=all", "online.method=null plays the run's own method"),
        ("trainer=online online.method=null budget=auto", "online.method=null plays at the run's own budget"),
        ("trainer=online online.steps=999", "online.start=1000 is beyond online.steps=999: no update would be made"),
        ("train.keep_every=3000", "train.keep_every=3000 is no multiple of train.save_every=2500"),
        ("trainer=fql train.accumulate=2 train.actor.normalize_q=true", "train.accumulate=1 is needed where Q is"),
        ("trainer=rebrac train.accumulate=2", "train.accumulate=1 is needed where Q is"),
        ("trainer=online online.method=a_vgf", r"method=a_vgf needs a network of its own; train with net.extras=."),
    ],
)
def test_what_training_could_only_ignore_or_fail_at_is_one_line(given, said):
    with pytest.raises(UserError, match=said) as error:
        check_config(resolved(*given.split()))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "given",
    [
        "trainer=fql preset=a_vgf/scene net.extras=[] method=qgf",  # the preset's TD target is not what FQL computes
        "trainer=rebrac preset=qpilots_m/scene net.extras=[] method=qgf",
        "trainer=qam train.critic=iql",
        "trainer=qam train.critic=iql net.extras=[optimal]",  # V(s) is learned there as with any trainer
        "trainer=online online.method=null",
        "trainer=online budget=auto",
        "trainer=online online.steps=1000 train.keep_every=5000",
        "train.accumulate=2 train.actor.normalize_q=true",  # which FQL alone reads
        "train.td.rule=qpilots_u train.flow_steps=1",  # no TD target
    ],
)
def test_what_is_of_no_concern_is_let_be(given):
    check_config(resolved(*given.split()))
