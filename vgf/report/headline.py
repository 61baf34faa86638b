"""What a run shows, in sentences: the headline of the report, and what its numbers can and cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from vgf.methods import load_method, method_names
from vgf.report.conditions import Conditions, episodes_note, settings_notes
from vgf.report.facts import Facts
from vgf.report.points import (
    Configured,
    Point,
    best_of_sweep,
    budget_label,
    episodes_text,
    find,
    interval_text,
    known,
    latest,
    number_text,
    score_text,
    unswept,
)

__all__ = ["headline", "notes", "reference_of"]

_FEW_EPISODES = 20
_FEW_METHODS = 3  # that the headline names
_OFFLINE_NOTE = (
    "Gains are measured on states of held-out episodes (of the data, where there are none), without an "
    "environment: the value of the chosen action less that at budget 0, under the critic that does the moving and "
    "under the judge, a critic of the held-out episodes that never moves anything. Where the one rises and the "
    "other does not, the critic is being exploited. W2 (exact optimal transport), MMD (RBF kernel, median "
    "heuristic) and the bound on W_inf compare the moved with the unmoved particles of a state."
)


def reference_of(points: Sequence[Point], configured: Configured) -> Point | None:
    """The budget-0 point of the configured method, else of the first method that is swept."""
    methods = [configured[0]] if configured else [p.method for p in points if p.method not in unswept(points)]
    return next((point for point in points if point.budget == 0 and point.method in methods), None)


def headline(points: Sequence[Point], configured: Configured, facts: Facts) -> str:
    """Sentences about the last checkpoint: the configured budget, the reference, methods without a sweep, moved or not.

    A better budget of the same sweep gets a sentence of its own that says it was picked after the fact.
    """
    points = latest(points)
    chosen, reference = find(points, configured), reference_of(points, configured)
    if not known(points, "score"):
        return _measured(chosen, configured)
    clauses = []
    if chosen and configured:
        name = ", ".join(part for part in (chosen.method, budget_label(chosen)) if part != "-")
        clauses.append(_statement(f"At the configured budget ({name}) the policy", chosen, first=True))
    elif configured:
        clauses.append(f"The configured budget ({configured[0]}, {configured[1]:g}) was not evaluated at this step")
    told = {point.method for point in (chosen, reference) if point}
    others = [point for point in points if point.method in unswept(points) and point.method not in told]
    subjects = [(_unmoved(reference, configured, facts), reference)] if reference and reference != chosen else []
    subjects += [(_plain_name(point), point) for point in others]
    clauses += [_statement(name, point, first=not chosen and i == 0) for i, (name, point) in enumerate(subjects)]
    sentences = ["; ".join(clauses)] if clauses else []
    sentences += _moved_once(points, configured)
    if (best := best_of_sweep(points, configured)) and best != reference:
        name = f"{best.method} with {budget_label(best)}"
        score = f"{score_text(best)} {interval_text(best)}"
        sentences.append(f"Best of the sweep, picked after the fact, is {name}: {score}")
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)


def _moved_once(points: Sequence[Point], configured: Configured) -> list[str]:
    """The best of the methods that were moved by one budget each, which no sweep tells of."""
    moved = [point for point in points if point.budget > 0 and not (configured and point.method == configured[0])]
    methods = [point.method for point in moved]
    once = sorted((p for p in moved if methods.count(p.method) == 1), key=lambda p: p.score, reverse=True)
    if not once:
        return []
    named = "; ".join(f"{p.method} ({budget_label(p)}) {score_text(p)} {interval_text(p)}" for p in once[:_FEW_METHODS])
    if len(once) <= _FEW_METHODS:
        return [f"methods played at one budget each: {named}"]
    return [f"of {len(once)} methods played at one budget each the highest, picked after the fact, are {named}"]


def _measured(chosen: Point | None, configured: Configured) -> str:
    """The headline of a run without an environment."""
    if chosen is None or configured is None:
        return "Nothing was played, and the configured budget was not measured."
    judged = f"{number_text(chosen.judge_gain)} by the judge" if known([chosen], "judge_gain") else "there is no judge"
    return (
        f"On held-out states the configured budget ({chosen.method}, {budget_label(chosen)}) gains "
        f"{number_text(chosen.value_gain)} in value by the critic that moves and {judged}, "
        f"{number_text(chosen.travelled)} away from the reference. There is no environment: nothing was played."
    )


def _statement(subject: str, point: Point, *, first: bool) -> str:
    """``subject succeeds in 76 % of 50 episodes [63, 86]``; only the first of a sentence has verb and episodes."""
    episodes = f"{point.episodes} episode{'s' if point.episodes != 1 else ''}"
    verb, over = ("succeeds in", f" of {episodes}") if point.success else ("returns", f" on average over {episodes}")
    if not first:
        verb, over = "in" if point.success else verb, ""
    return f"{subject} {verb} {score_text(point)}{over} {interval_text(point)}"


def _unmoved(reference: Point, configured: Configured, facts: Facts) -> str:
    """Budget 0 of a method that selects among particles is the best of several reference samples."""
    stored = configured and configured[0] == reference.method == facts.get("method")  # else config.yaml is another's
    own = facts.get("transport.particles") if stored else None
    particles = own if isinstance(own, int) else _particles(reference.method)
    return f"the best of {particles} unmoved samples" if particles > 1 else "the reference alone"


def _plain_name(point: Point) -> str:
    particles = _particles(point.method)
    return f"best of {particles}" if point.method == "best_of_n" and particles > 1 else f"method {point.method}"


def _particles(method: str) -> int:
    return load_method(method).transport.particles if method in method_names() else 1


def notes(points: Sequence[Point], configured: Configured, facts: Facts, conditions: Conditions) -> list[str]:
    """What a reader has to know to trust the numbers no further than they go.

    Args:
        conditions: what points were played with, as far as it is known.
    """
    last = latest(points)
    if not known(last, "score"):
        return [_OFFLINE_NOTE]
    fewest = min(point.episodes for point in last)
    seed = facts.get("seed")
    said = [
        f"Every number is a mean over {episodes_text(last)} episodes, played by the checkpoint of step "
        f"{last[0].step:,}. {episodes_note(last, conditions)}",
        f"One training run{'' if seed is None else f' (seed {seed})'}: the intervals tell how far other episodes could "
        "move a number. How far another training seed could is not in them.",
        "Intervals are 95 %. "
        + ("Success rates: Wilson score interval. Travelled: " if last[0].success else "Returns and travelled: ")
        + "percentile bootstrap over the episodes, 2,000 resamplings.",
    ]
    said += settings_notes(last, conditions, configured)
    if fewest < _FEW_EPISODES:
        said.append(f"Some points have only {fewest} episodes; their intervals are wide for a reason.")
    if find(last, configured):
        said.append("The headline is the last checkpoint at the configured budget, whatever its score.")
    if best := best_of_sweep(last, configured):
        said.append(
            f"The best of the sweep ({best.method}, {budget_label(best)}) was picked after the fact, by the score it "
            "is reported with. Such a score is biased upwards: evaluate that budget again with another eval.seed."
        )
    said.append(
        "Travelled is the root mean square distance per action coordinate between the action played and the action "
        "that the same noise gives without a move; actions live in [-1, 1]."
    )
    if known(last, "value_gain"):
        said.append(_OFFLINE_NOTE)
    return said
