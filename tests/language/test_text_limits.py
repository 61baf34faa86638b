"""Limits on moved texts hold for every particle, whatever the budget."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.language.tiny import reference, values
from vgf.errors import UserError
from vgf.language.decoding import Samples, Sampling
from vgf.language.limits import Limits, share_changed
from vgf.language.policy import TextPolicy
from vgf.methods import load_method
from vgf.transport import Budget


@pytest.mark.parametrize("limits", [Limits(changed=0.5), Limits(nll_rise=0.2), Limits(changed=0.0)])
def test_limits_hold_for_every_particle(limits: Limits) -> None:
    source, method, far = reference(), load_method("hidden"), Budget(steps=4, size=1.0)
    method = replace(method, transport=replace(method.transport, particles=32))
    policy = TextPolicy(source, values(source), method, Sampling(6), batch=2)
    limited = TextPolicy(source, policy.values, method, policy.sampling, limits=limits)
    batch = source.prompts(["w1 w2 w3", "w4", "good w5 bad w6 w7"])
    free, generation = policy.move(batch, far, 0, method), limited.move(batch, far, 0, method)

    def nll(samples: Samples) -> torch.Tensor:
        return -source.log_probs(batch, samples.tokens, samples.mask).sum(-1) / samples.mask.sum(-1)

    def within(moved: Samples, twins: Samples) -> torch.Tensor:
        if limits.nll_rise is None:
            return share_changed(moved, twins) <= limits.changed
        return nll(moved) - nll(twins) <= limits.nll_rise

    assert within(generation.moved, generation.twins).all()
    assert not within(free.moved, free.twins).all(), "the limit should bind somewhere"
    torch.testing.assert_close(generation.rewards, policy.score(generation.moved, policy.values.reward))


@pytest.mark.parametrize("wrong", [{"changed": 1.5}, {"nll_rise": -1.0}])
def test_limits_out_of_range_name_their_key(wrong: dict) -> None:
    with pytest.raises(UserError, match=f"text.limits.{next(iter(wrong))}"):
        Limits(**wrong)
