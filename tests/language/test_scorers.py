"""Named rewards without a gradient, what they refuse, and the probes with null answers."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vgf.errors import UserError
from vgf.language.scorers import Scorer, probe_reward, require_gradient, scorer


def test_vader_tells_praise_from_blame() -> None:
    pytest.importorskip("vaderSentiment")
    praise, plain, blame = scorer("vader")(["p"] * 3, ["a wonderful film", "a film", "a terrible film"])
    assert -1 <= blame < plain == 0 < praise <= 1


@given(st.lists(st.sampled_from(["yes", "no", ""]), max_size=6))
def test_length_counts_words(words: list[str]) -> None:
    assert scorer("length")(["p"], [" ".join(words)]) == [len([word for word in words if word])]


def test_a_pattern_may_hold_colons() -> None:
    assert scorer(r"regex:^a: \d")(["p", "p"], ["a: 7", "b: 7"]) == [1.0, 0.0]


@pytest.fixture
def own_module(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], str]:
    """Put a function in an importable module and return the name its scorer has."""

    def make(function: Any) -> str:
        module = types.ModuleType("own_rewards")
        module.reward = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "own_rewards", module)
        return "own_rewards:reward"

    return make


@pytest.mark.parametrize("kind", [list, tuple, torch.tensor])
def test_a_function_of_ones_own(own_module: Callable[[Any], str], kind: Any) -> None:
    def reward(prompts: list[str], completions: list[str], **_: Any) -> Any:
        return kind([len(p) + 0.5 * len(c) for p, c in zip(prompts, completions, strict=True)])

    assert scorer(own_module(reward))(["a", "bb"], ["", "b"]) == [1.0, 2.5]


WRONG = [
    ([1.0], "own_rewards:reward returned 1 scores for 2 completions"),
    ([1.0, float("nan")], "own_rewards:reward returned nan for row 1"),
    ([float("inf"), 1.0], "returned inf for row 0"),
    ([1.0, None], "returned None for row 1, which is not a number"),
    (3.0, "returned float, not a list of numbers"),
    (torch.tensor(3.0), "returned Tensor, not a list of numbers"),
]


@pytest.mark.parametrize(("returned", "message"), WRONG)
def test_wrong_scores_name_the_scorer_and_the_row(
    own_module: Callable[[Any], str], returned: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        scorer(own_module(lambda prompts, completions: returned))(["a", "b"], ["c", "d"])


UNKNOWN = [
    ("vadr", "no scorer 'vadr'; use vader, length, regex:PATTERN.* Did you mean 'vader'"),
    ("regex", "needs a pattern: regex:PATTERN"),
    ("regex:", "needs a pattern"),
    ("regex:(", "not a regular expression"),
    ("length:3", "takes nothing after a colon"),
    ("no_such_package.rewards:f", "no_such_package cannot be imported"),
    ("json:dump_it", "json has no function 'dump_it'. Did you mean 'dump'"),
]


@pytest.mark.parametrize(("name", "message"), UNKNOWN)
def test_names_that_lead_nowhere(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        scorer(name)


@pytest.mark.parametrize(
    ("name", "package", "line"),
    [("vader", "vaderSentiment", r"\[llm\]"), ("reasoning_gym:x", "reasoning_gym", "pip install .*reasoning-gym")],
)
def test_a_missing_package_names_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str, line: str
) -> None:
    for module in [m for m in sys.modules if m.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"{package} is not installed.*{line}"):
        scorer(name)


def test_unequal_numbers_are_refused() -> None:
    with pytest.raises(UserError, match="2 prompts for 1 completions"):
        scorer("length")(["a", "b"], ["c"])


def test_guidance_without_a_gradient_is_refused() -> None:
    with pytest.raises(UserError, match="length has no gradient: use it with selection or judging"):
        require_gradient(scorer("length"))
    require_gradient(torch.nn.Linear(1, 1))


def test_reasoning_tasks_score_their_own_answers() -> None:
    try:
        import reasoning_gym
    except ImportError:
        pytest.skip("reasoning-gym is not installed")
    reward = scorer("reasoning_gym:leg_counting")
    assert reward.make_prompts is not None
    prompts = reward.make_prompts(3, 7)
    assert prompts == reward.make_prompts(3, 7)
    answers = [entry["answer"] for entry in reasoning_gym.create_dataset("leg_counting", size=3, seed=7)]
    assert reward(prompts, answers) == [1.0, 1.0, 1.0]
    assert reward(prompts, [f"I say <answer>{answer}</answer>." for answer in answers]) == [1.0, 1.0, 1.0]
    assert max(reward(prompts, ["-1"] * 3)) < 1
    assert scorer("reasoning_gym:leg_counting")(prompts, answers) == [1.0, 1.0, 1.0]  # as a judge beside it
    with pytest.raises(UserError, match=r"row 0 is not one of its own; set text\.prompts=reward"):
        reward(["another"], ["1"])
    with pytest.raises(UserError, match="Did you mean 'leg_counting'"):
        scorer("reasoning_gym:leg_count")


PROMPTS = [f"Tell me about film number {n}" for n in range(10)]
ANSWERS = [f"film number {n} was rather good, I would say{' indeed' * (n % 3)}" for n in range(10)]


def _reward(function: Callable[[str, str], float]) -> Scorer:
    return Scorer("own", lambda prompts, completions: map(function, prompts, completions))


NULLS = [
    (lambda prompt, text: len(text), "an answer repeated many times"),
    (lambda prompt, text: -len(text), "an empty answer"),
    (lambda prompt, text: text.count("number") / (len(text) + 1), "the word 'number' repeated"),
    (lambda prompt, text: len(set(prompt.split()) & set(text.split())), "the prompt repeated"),
]


@pytest.mark.parametrize(("function", "kind"), NULLS)
def test_each_null_answer_is_found_out(function: Callable[[str, str], float], kind: str) -> None:
    assert any(line.startswith(kind) for line in probe_reward(_reward(function), PROMPTS, ANSWERS))


def test_a_reward_that_wants_the_answer_passes() -> None:
    wanted = dict(zip(PROMPTS, ANSWERS, strict=True))
    reward = _reward(lambda prompt, text: float(text == wanted[prompt]) + 0.01 * (prompt < PROMPTS[5]))
    assert probe_reward(reward, PROMPTS, ANSWERS) == []


def test_a_constant_reward_is_found_out() -> None:
    assert "all 10 real answers score the same (1)" in probe_reward(_reward(lambda p, t: 1.0), PROMPTS, ANSWERS)[0]


def test_nothing_to_probe_with_is_refused() -> None:
    with pytest.raises(UserError, match="0 and 0 are given"):
        probe_reward(scorer("length"), [], [])
