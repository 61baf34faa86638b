"""Rewards without a gradient: plain functions of prompts and answers, found by name.

They can select among answers and judge them, and value heads and adapters learn from their scores; rules that follow
the reward's own gradient have none to follow.

=========================  ===========================================================================
``vader``                  sentiment of the answer by the rules of VADER, in [-1, 1]
``length``                 number of words of the answer
``regex:PATTERN``          1 where the pattern is found in the answer, else 0
``reasoning_gym:DATASET``  correctness of the answer, in [0, 1]; its prompts are ``text.prompts=reward``
``endpoint:MODEL``         rating of the answer by a model behind an OpenAI-compatible server, in [1, 10]
``package.module:name``    any function, called as ``name(prompts=[...], completions=[...])``, as TRL calls rewards
=========================  ===========================================================================
"""

from __future__ import annotations

import functools
import importlib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from vgf.errors import UserError, did_you_mean
from vgf.language.endpoint import EndpointJudge
from vgf.language.hub import extra

__all__ = ["ScoreFunction", "Scorer", "is_scorer", "names_code", "probe_reward", "require_gradient", "scorer"]

ScoreFunction = Callable[..., Iterable[Any]]
_REASONING_INSTALL = "pip install -c constraints.txt reasoning-gym (three of its parts are built from source)"
_PROBE_PROMPTS = 32
_PROBE_WORDS = 4
_LONG = 8  # times the length of a real answer


@dataclass(frozen=True)
class Scorer:
    """A named reward.

    Attributes:
        name: as the user wrote it.
        function: takes the keywords ``prompts`` and ``completions`` and returns one number for each completion.
        make_prompts: ``(count, seed)`` to prompts, for a reward that can only score its own; else None.
        has_gradient: False; :func:`require_gradient` refuses such a reward for guidance.
    """

    name: str
    function: ScoreFunction
    make_prompts: Callable[[int, int], list[str]] | None = None
    has_gradient: bool = False

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Score each completion.

        Raises:
            UserError: the function did not return one finite number for each completion.
        """
        if len(prompts) != len(completions):
            raise UserError(f"{self.name}: there are {len(prompts)} prompts for {len(completions)} completions")
        scores = self.function(prompts=list(prompts), completions=list(completions))
        try:
            scores = list(scores.tolist() if hasattr(scores, "tolist") else scores)
        except TypeError:
            raise UserError(f"{self.name} returned {type(scores).__name__}, not a list of numbers") from None
        if len(scores) != len(completions):
            raise UserError(f"{self.name} returned {len(scores)} scores for {len(completions)} completions")
        return [self._number(row, score) for row, score in enumerate(scores)]

    def _number(self, row: int, score: Any) -> float:
        try:
            number = float(score)
        except (TypeError, ValueError):
            raise UserError(f"{self.name} returned {score!r} for row {row}, which is not a number") from None
        if not math.isfinite(number):
            raise UserError(f"{self.name} returned {number} for row {row}; scores must be finite")
        return number


def scorer(name: str) -> Scorer:
    """Return the scorer of this name (see the table at the top).

    Raises:
        UserError: there is none, its pattern or data set is wrong, or a package it needs is not installed.
    """
    head, colon, rest = name.partition(":")
    if head in _SCORERS:
        takes = _TAKES.get(head)
        if takes and not rest:
            raise UserError(f"the scorer {head!r} needs a {takes}: {head}:{takes.upper()}")
        if colon and not takes:
            raise UserError(f"the scorer {head!r} takes nothing after a colon; write {head}")
        return _SCORERS[head](name, rest)
    if colon and re.fullmatch(r"\w+(\.\w+)*", head) and rest.isidentifier():
        return Scorer(name, _imported(name, head, rest))
    known = [f"{n}:{_TAKES[n].upper()}" if n in _TAKES else n for n in _SCORERS]
    hint = did_you_mean(head, _SCORERS)
    raise UserError(f"there is no scorer {name!r}; use {', '.join(known)} or package.module:function.{hint}")


def is_scorer(name: str) -> bool:
    """Whether a name means a function here, rather than a model."""
    head, colon, _ = name.partition(":")
    return head in _SCORERS or bool(colon)


def names_code(name: str) -> bool:
    """Whether a name means a function of a module, whose code runs when it is imported."""
    return is_scorer(name) and name.partition(":")[0] not in _SCORERS


def require_gradient(reward: Any) -> None:
    """Raise UserError unless ``reward`` can guide; rewards that say nothing about it are taken to have a gradient."""
    if not getattr(reward, "has_gradient", True):
        raise UserError(f"the reward {reward.name} has no gradient: use it with selection or judging")


def _vader(name: str, _: str) -> Scorer:
    analyser = extra("vaderSentiment.vaderSentiment").SentimentIntensityAnalyzer()

    def score(prompts: list[str], completions: list[str]) -> list[float]:
        return [analyser.polarity_scores(text)["compound"] for text in completions]

    return Scorer(name, score)


def _length(name: str, _: str) -> Scorer:
    return Scorer(name, lambda prompts, completions: [len(text.split()) for text in completions])


def _regex(name: str, pattern: str) -> Scorer:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"the pattern of {name!r} is not a regular expression: {error}") from None
    return Scorer(name, lambda prompts, completions: [float(bool(compiled.search(text))) for text in completions])


@functools.cache  # a judge of the same name scores the prompts that the proxy has made
def _reasoning(name: str, dataset: str) -> Scorer:
    """Tasks are told apart by their prompt: only prompts that ``make_prompts`` gave, in this process, can be scored."""
    gym = extra("reasoning_gym", _REASONING_INSTALL)
    extract = extra("reasoning_gym.utils", _REASONING_INSTALL).extract_answer
    known = extra("reasoning_gym.factory", _REASONING_INSTALL).DATASETS
    if dataset not in known:
        raise UserError(f"reasoning_gym has no data set {dataset!r}.{did_you_mean(dataset, known)}")
    tasks: dict[str, tuple[Any, dict[str, Any]]] = {}

    def make_prompts(count: int, seed: int) -> list[str]:
        made = gym.create_dataset(dataset, size=count, seed=seed)
        entries = list(made)
        tasks.update({entry["question"]: (made, entry) for entry in entries})
        return [entry["question"] for entry in entries]

    def score(prompts: list[str], completions: list[str]) -> list[float]:
        if unknown := [row for row, prompt in enumerate(prompts) if prompt not in tasks]:
            raise UserError(f"{name}: the prompt of row {unknown[0]} is not one of its own; set text.prompts=reward")
        scores = []
        for prompt, text in zip(prompts, completions, strict=True):
            made, entry = tasks[prompt]
            scores.append(made.score_answer(answer=extract(text) or text.strip(), entry=entry))
        return scores

    return Scorer(name, score, make_prompts)


def _endpoint(name: str, model: str) -> Scorer:
    return Scorer(name, EndpointJudge(model))


def _imported(name: str, module: str, function: str) -> ScoreFunction:
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(f"scorer {name!r}: {error.name} cannot be imported; install it or set PYTHONPATH") from error
    if not callable(getattr(found, function, None)):
        callables = [key for key, value in vars(found).items() if callable(value)]
        raise UserError(f"scorer {name!r}: {module} has no function {function!r}.{did_you_mean(function, callables)}")
    return getattr(found, function)


_SCORERS: dict[str, Callable[[str, str], Scorer]] = {
    "vader": _vader,
    "length": _length,
    "regex": _regex,
    "reasoning_gym": _reasoning,
    "endpoint": _endpoint,
}
_TAKES = {"regex": "pattern", "reasoning_gym": "dataset", "endpoint": "model"}


def probe_reward(
    score: Callable[[list[str], list[str]], Sequence[float]], prompts: Sequence[str], completions: Sequence[str]
) -> list[str]:
    """Say how the reward can be had without an answer: one line for each kind of null answer that scores too well.

    Null answers are empty, one word of the best answer over and over, a real answer many times over, and the prompt
    repeated. A kind scores too well when its median lies above the 90th percentile of the real answers.

    Args:
        score: any reward, ``(prompts, completions)`` to one number each.
        prompts: of the real answers; the first 32 are used.
        completions: real answers, one a prompt.

    Returns:
        Warnings, none when all is well.

    Raises:
        UserError: there is not one completion for each prompt, or none at all.
    """
    if not prompts or len(prompts) != len(completions):
        raise UserError(f"a reward is probed with one answer a prompt; {len(prompts)} and {len(completions)} are given")
    asked, answers = list(prompts[:_PROBE_PROMPTS]), list(completions[:_PROBE_PROMPTS])
    real = [float(value) for value in score(asked, answers)]
    bar = sorted(real)[math.ceil(0.9 * len(real)) - 1]
    warnings = []
    if min(real) == max(real) and len(real) > 1:
        warnings.append(f"all {len(real)} real answers score the same ({bar:.3g}): this reward cannot tell them apart")
    for kind, nulls in _null_answers(asked, answers, answers[real.index(max(real))]).items():
        if (typical := median(map(float, score(asked, nulls)))) > bar:
            warnings.append(
                f"{kind} scores {typical:.3g} (median), above the 90th percentile of real answers ({bar:.3g}): "
                "this reward can be raised without answering"
            )
    return warnings


def _null_answers(prompts: list[str], answers: list[str], best: str) -> dict[str, list[str]]:
    typical = max(1, round(median(len(answer.split()) for answer in answers)))
    words = sorted(set(re.findall(r"\w+", best)), key=lambda word: (-len(word), word))[:_PROBE_WORDS]
    return {
        "an empty answer": ["" for _ in prompts],
        "an answer repeated many times": [" ".join([answer] * _LONG) for answer in answers],
        "the prompt repeated": list(prompts),
        **{f"the word {word!r} repeated": [" ".join([word] * typical)] * len(prompts) for word in words},
    }
