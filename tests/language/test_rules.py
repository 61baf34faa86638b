"""What every rule for text promises, and what single ones do."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from tests.language.tiny import KINDS, classifier, count_good, reference, values
from vgf.config import MethodConfig
from vgf.errors import UserError
from vgf.language import gumbel
from vgf.language.decoding import Sampling, decode
from vgf.language.limits import Limits
from vgf.language.policy import TextPolicy, Values
from vgf.language.rewards import RewardModel
from vgf.language.rules import TEXT_RULES, get_text_rule
from vgf.language.scorers import scorer
from vgf.methods import load_method, method_names
from vgf.transport import Budget
from vgf.transport.kernels import svgd_direction

PROMPTS = ["w1 w2 w3", "w4", "good w5 bad w6 w7"]
METHODS = method_names(TEXT_RULES)
DIRECTED = [name for name in METHODS if "random" in get_text_rule(load_method(name).transport.rule).options]


@pytest.fixture(scope="module")
def policy() -> TextPolicy:
    source = reference()
    return TextPolicy(source, values(source), load_method("hidden"), Sampling(6), batch=2)


def _method(name: str, particles: int = 4, **changes: object) -> MethodConfig:
    method = load_method(name)
    return replace(method, transport=replace(method.transport, particles=particles, **changes))


def test_every_rule_has_a_method() -> None:
    assert {load_method(name).transport.rule for name in METHODS} == set(TEXT_RULES)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("budget", [Budget(steps=0), Budget(size=0.0)])
def test_budget_zero_is_the_reference_token_for_token(policy: TextPolicy, name: str, budget: Budget) -> None:
    for batch in policy.batches(PROMPTS):
        generation = policy.move(batch, budget, 0, _method(name))
        alone = decode(policy.reference, batch, 4, policy.sampling, 0)
        assert torch.equal(generation.moved.tokens, alone.tokens)


@pytest.mark.parametrize("name", METHODS)
def test_a_vanishing_size_moves_no_token_and_a_large_one_does(policy: TextPolicy, name: str) -> None:
    batch = policy.batches(PROMPTS)[0]
    tiny = policy.move(batch, Budget(size=1e-6), 0, _method(name))
    kept = (tiny.moved.tokens == tiny.twins.tokens).all()
    if name != "tilt":  # the candidates that it leaves out are gone at any size
        assert kept
    far = policy.move(batch, Budget(steps=4, size=5.0), 0, _method(name))
    assert (far.moved.tokens != far.twins.tokens).any()


@pytest.mark.parametrize("name", [*METHODS, *(f"{name} random" for name in DIRECTED)])
def test_a_call_can_be_repeated_and_does_not_depend_on_the_batch(policy: TextPolicy, name: str) -> None:
    name, *random = name.split()
    method = _method(name, options=dict.fromkeys(random, True))
    prompts = policy.reference.prompts(PROMPTS)
    first = policy.move(prompts, None, 7, method).moved
    assert torch.equal(first.tokens, policy.move(prompts, None, 7, method).moved.tokens)
    alone = policy.move(policy.reference.prompts(PROMPTS[2:], first=2), None, 7, method).moved
    assert torch.equal(first.tokens[2], alone.tokens[0])


@pytest.mark.parametrize("name", METHODS)
def test_a_prompt_is_completed_alike_whatever_order_the_others_come_in(policy: TextPolicy, name: str) -> None:
    """Noise belongs to a prompt's place: the one that keeps its place keeps its completions."""
    method = _method(name)
    first = policy.move(policy.reference.prompts(PROMPTS), None, 3, method).moved
    turned = policy.move(policy.reference.prompts([PROMPTS[2], PROMPTS[1], PROMPTS[0]]), None, 3, method).moved
    assert torch.equal(first.tokens[1], turned.tokens[1])
    for place, prompt in enumerate(PROMPTS):
        alone = policy.move(policy.reference.prompts([prompt], first=place), None, 3, method).moved
        assert torch.equal(first.tokens[place], alone.tokens[0])


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("level", [0.0, 3.0])
def test_a_constant_reward_moves_no_token(policy: TextPolicy, name: str, level: float) -> None:
    """Heads and reward model that give every text the same. One particle: none repel each other."""
    flat = copy.deepcopy(policy.values)
    assert isinstance(flat.reward, RewardModel)
    with torch.no_grad():
        for head in (flat.heads, flat.tokens):
            assert head is not None
            head.net.output.weight.zero_()
            head.net.output.bias.fill_(level)
        flat.reward.model.score.weight.zero_()
    batch = policy.reference.prompts(PROMPTS)
    moved = policy.move(batch, Budget(steps=3, size=2.0), 0, _method(name, particles=1), values=flat)
    assert torch.equal(moved.moved.tokens, moved.twins.tokens)


@pytest.mark.parametrize("name", METHODS)
def test_keep_best_is_never_below_the_twin(policy: TextPolicy, name: str) -> None:
    generation = policy.move(policy.batches(PROMPTS)[0], None, 1, _method(name, keep_best=True))
    assert (generation.rewards >= generation.twin_rewards).all()
    torch.testing.assert_close(generation.rewards, policy.score(generation.moved, policy.values.reward))


@pytest.mark.parametrize("name", METHODS)
def test_the_best_is_the_best_of_moved_and_unmoved(policy: TextPolicy, name: str) -> None:
    generation = policy.move(policy.batches(PROMPTS)[0], None, 2, _method(name))
    best, place = generation.best()
    everything = torch.cat([generation.rewards, generation.twin_rewards], 1)
    torch.testing.assert_close(policy.score(best, policy.values.reward)[:, 0], everything.amax(1))
    assert (place < 8).all()
    several, places = generation.best(3)
    assert torch.equal(several.tokens[:, :1], best.tokens)
    rewards = everything.gather(1, places)
    assert (rewards[:, :-1] >= rewards[:, 1:]).all()


def test_particles_that_did_not_move_are_there_once(policy: TextPolicy) -> None:
    unmoved = policy.move(policy.batches(PROMPTS)[0], Budget(steps=0), 2, _method("hidden"))
    count = unmoved.rewards.shape[1]
    _, places = unmoved.best(count)
    assert torch.equal(places.sort(1).values, torch.arange(count).expand_as(places))
    assert torch.equal(unmoved.best(2 * count)[1][:, :count], places), "the others come after them"


def test_repulsion_is_that_of_the_particles_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    source, seen = reference(), []

    def noted(x: torch.Tensor, *rest: object, **how: object) -> torch.Tensor:
        seen.append(x)
        return svgd_direction(x, *rest, **how)

    monkeypatch.setattr(gumbel, "svgd_direction", noted)
    policy = TextPolicy(source, values(source), load_method("embedding"), Sampling(6))
    policy.move(policy.batches(PROMPTS)[0], Budget(steps=2, size=1.0), 0, _method("embedding"))
    first, second = seen
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("changes", [{"keep_best": True}, {"limits": Limits(changed=0.5)}])
def test_particles_that_are_chosen_by_what_came_of_them_have_no_law(policy: TextPolicy, changes: dict) -> None:
    limits = changes.pop("limits", None)
    limited = TextPolicy(policy.reference, policy.values, policy.method, policy.sampling, limits=limits)
    assert policy.move(policy.batches(PROMPTS)[0], None, 0, _method("hidden")).law
    assert not limited.move(policy.batches(PROMPTS)[0], None, 0, _method("hidden", **changes)).law


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_of_models_moves(kind: str) -> None:
    source = reference(kind)
    small = TextPolicy(
        source, replace(values(source, steps=100), reward=classifier(kind)), _method("hidden"), Sampling(5)
    )
    for name in METHODS:
        generation = small.move(small.batches(PROMPTS)[0], Budget(steps=3, size=3.0), 0, _method(name))
        assert (generation.moved.tokens != generation.twins.tokens).any(), name
        assert generation.moved.mask.any(-1).all(), name


def test_hidden_raises_what_the_heads_have_learned(policy: TextPolicy) -> None:
    """The heads are fitted to ``count_good``: moved particles say good more often, and not because they are moved."""

    def score(size: float, **options: bool) -> float:
        method = _method("hidden", particles=64, options=options)
        moved = policy.move(policy.reference.prompts(PROMPTS), Budget(steps=4, size=size), 3, method).moved
        texts = policy.texts(moved)
        return sum(count_good(texts, texts)) / len(texts)

    assert score(1.0) > score(0.0) + 0.1
    assert score(1.0) > score(1.0, random=True) + 0.05


def test_gumbel_raises_the_reward_itself(policy: TextPolicy) -> None:
    many = _method("gumbel", particles=32)
    generation = policy.move(policy.reference.prompts(PROMPTS), Budget(steps=3, size=1.0), 3, many)
    assert generation.rewards.mean() > generation.twin_rewards.mean()
    control = _method("gumbel", particles=32, options={"random": True})
    random = policy.move(policy.reference.prompts(PROMPTS), Budget(steps=3, size=1.0), 3, control)
    assert generation.rewards.mean() > random.rewards.mean()


@pytest.mark.parametrize(("name", "steps"), [("tilt", 1), ("expected", 2), ("embedding", 3), ("logits", 3)])
def test_a_step_is_up_the_value_or_reward_that_it_follows(policy: TextPolicy, name: str, steps: int) -> None:
    """Token values are fitted to ``count_good``; the others climb the reward."""
    method, batch = _method(name, particles=64), policy.reference.prompts(PROMPTS)
    generation = policy.move(batch, Budget(steps=steps, size=1.0), 3, method)
    if "reward" in TEXT_RULES[method.transport.rule].value:
        moved, unmoved = generation.rewards.mean(), generation.twin_rewards.mean()
    else:
        counts = (count_good([], policy.texts(samples)) for samples in (generation.moved, generation.twins))
        moved, unmoved = (torch.tensor(count).mean() for count in counts)
    assert moved > unmoved + 0.1


def test_particles_that_repel_each_other_move_apart() -> None:
    x = torch.randn(1, 2, 3, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[[True, True, True], [True, True, False]]])
    repulsion = gumbel._coupled(x, mask, torch.zeros_like(x), alpha=1.0)

    def distance(x: torch.Tensor) -> torch.Tensor:
        first, second = ((x * mask.unsqueeze(-1)).sum(2) / mask.sum(2, keepdim=True))[0]
        return (first - second).norm()

    assert distance(x + 0.1 * repulsion) > distance(x)


def test_both_flows_together_are_either_one_where_the_other_does_nothing(policy: TextPolicy) -> None:
    batch, size = policy.reference.prompts(PROMPTS), 0.5

    def moved(name: str, budget: Budget, values: Values | None = None, **options: float) -> torch.Tensor:
        return policy.move(batch, budget, 5, _method(name, particles=8, options=options), values=values).moved.tokens

    both = moved("hidden_gumbel", Budget(4, size), rounds=2, ratio=3.0)
    hidden = moved("hidden", Budget(4, size))
    assert torch.equal(moved("hidden_gumbel", Budget(4, size), ratio=0.0), hidden)
    flat = copy.deepcopy(policy.values)
    assert flat.heads is not None
    with torch.no_grad():
        flat.heads.net.output.weight.zero_()
    gumbel = moved("gumbel", Budget(2, 3 * size))
    assert torch.equal(moved("hidden_gumbel", Budget(4, size), flat, rounds=2, ratio=3.0), gumbel)
    assert not torch.equal(both, hidden)
    assert not torch.equal(both, gumbel)
    with pytest.raises(UserError, match="rounds=0"):
        moved("hidden_gumbel", Budget(4, size), rounds=0)


def test_a_reward_without_a_gradient_is_refused_where_one_is_needed(policy: TextPolicy) -> None:
    blind = Values(scorer("length"), policy.values.heads, policy.values.tokens)
    batch = policy.batches(PROMPTS)[0]
    for name in METHODS:
        if "reward" in TEXT_RULES[_method(name).transport.rule].value:
            with pytest.raises(UserError, match="no gradient"):
                policy.move(batch, None, 0, _method(name), values=blind)
        else:
            policy.move(batch, None, 0, _method(name), values=blind)


@pytest.mark.parametrize("name", METHODS)
def test_a_radius_of_nothing_moves_nothing(policy: TextPolicy, name: str) -> None:
    batch, far = policy.batches(PROMPTS)[0], Budget(steps=4, size=5.0, radius=1e-6)
    if not TEXT_RULES[_method(name).transport.rule].radius:
        with pytest.raises(UserError, match="has no radius"):
            policy.move(batch, far, 0, _method(name))
        return
    generation = policy.move(batch, far, 0, _method(name))
    assert torch.equal(generation.moved.tokens, generation.twins.tokens)


def test_heads_that_were_not_fitted_are_missed(policy: TextPolicy) -> None:
    with pytest.raises(UserError, match="needs value heads"):
        policy.move(policy.batches(PROMPTS)[0], None, 0, _method("hidden"), values=Values(policy.values.reward))


def test_generate_takes_a_budget_per_call(policy: TextPolicy) -> None:
    texts = policy.generate(PROMPTS, budget=Budget(steps=0), seed=0)
    assert len(texts) == 3
    assert policy.generate(PROMPTS, budget=Budget(steps=0), seed=0) == texts
    assert policy.generate(PROMPTS, budget=Budget(size=5.0), seed=0) != texts


@pytest.mark.parametrize("name", METHODS)
def test_stop_strings_end_moved_and_unmoved_texts(policy: TextPolicy, name: str) -> None:
    stop = ("good", "w3")
    sampling = Sampling(8, stop=stop)
    stopping = TextPolicy(policy.reference, policy.values, policy.method, sampling)
    batch = stopping.batches(PROMPTS)[0]
    generation = stopping.move(batch, Budget(steps=2, size=2.0), 0, _method(name, particles=16))
    alone = decode(policy.reference, batch, 16, sampling, 0)
    assert torch.equal(generation.twins.tokens, alone.tokens)
    for samples in (generation.moved, generation.twins):
        whole = policy.reference.texts(samples.tokens.flatten(0, 1), samples.mask.flatten(0, 1))
        assert any(s in text for s in stop for text in whole)
        assert not any(s in text for s in stop for text in stopping.texts(samples))
    texts = stopping.generate(PROMPTS, budget=Budget(size=2.0), method=_method(name))
    assert not any(s in text for s in stop for text in texts)


def test_an_unknown_rule_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"gumbel"):
        get_text_rule("gumble")
