"""What a language run shows, in sentences: claims with their marks, the headline, and how to read the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vgf.report.text_estimates import (
    Estimate,
    TextPoint,
    Versus,
    budget_text,
    chosen_point,
    estimate_text,
    prompts_text,
    reference_point,
    sweep_best,
)
from vgf.report.text_rows import TextRun

__all__ = ["PICKED", "Claim", "claims", "headline", "notes"]

PICKED = {
    "before": "configured before evaluation",
    "auto": "picked by budget=auto",
    "after": "picked after the fact",
}  # how the configured budget was settled
_FEWEST_PROMPTS = 6  # 2 * 0.5^6 < 5 %: with fewer, not even the same sign at every prompt would tell
_MOVED = "of moved particles, no selection, minus"
_MATCHED = ("random", "temperature", "tilt", "length")


@dataclass(frozen=True)
class Claim:
    """One difference of the configured point, and whether chance explains it.

    Attributes:
        sentence: such as ``gold of moved particles, no selection, minus reference: +0.53 [0.40, 0.66]``.
        estimate: mean and 95 % interval.
        passed: whether the whole interval lies on the good side of zero (of one half, for a win rate).
        mark: the same in words.
    """

    sentence: str
    estimate: Estimate
    passed: bool
    mark: str


def claims(points: Sequence[TextPoint]) -> list[Claim]:
    """Claims about the configured point, good and bad alike; none when it was not evaluated."""
    point = chosen_point(points)
    if point is None:
        return []
    names = {"gold": "gold", "second": "second judge's score", "proxy": "proxy (the reward that guides)"}
    found = [_claim(point, f"{name} {_MOVED} reference", point.gains.get(field)) for field, name in names.items()]
    found += [
        _claim(point, f"gold {_MOVED} {versus.label}", versus.differences["gold"])
        for versus in point.versus
        if versus.role in _MATCHED
    ]
    win = "share of prompts and seeds where gold of moved particles, no selection, is higher than the reference's"
    found.append(_claim(point, win, point.wins, zero=0.5))
    found += [
        _claim(point, f"gold of the selected completion minus {words}", versus.differences["gold_selected"])
        for versus, words in _selections(point)
    ]
    return [claim for claim in found if claim is not None]


def _claim(point: TextPoint, subject: str, estimate: Estimate | None, *, zero: float = 0.0) -> Claim | None:
    if estimate is None or not math.isfinite(estimate.mean):
        return None
    sentence = f"{subject}: {estimate_text(estimate, signed=zero == 0)}"
    name = "zero" if zero == 0 else "one half"
    enough = estimate.prompts >= _FEWEST_PROMPTS
    passed = enough and estimate.low > zero
    sides = {f"clear of {name}": passed, f"clearly below {name}": estimate.high < zero, f"not clear of {name}": True}
    mark = next(words for words, holds in sides.items() if holds)
    if not enough:
        mark = f"{estimate.prompts} prompt{'s' if estimate.prompts > 1 else ''}: too few to say"
    late = "; budget picked after the fact" if point.picked == "after" else ""
    return Claim(sentence, estimate, passed, mark + late)


def _selections(point: TextPoint) -> list[tuple[Versus, str]]:
    """Comparisons with best_of_n in words; one that matches in candidates and in time is told once."""
    roles: dict[tuple[str, float], list[Versus]] = {}
    for versus in point.versus:
        if versus.other[0] == "best_of_n":
            roles.setdefault(versus.other, []).append(versus)
    told = []
    for group in roles.values():
        names = {"same candidates": "as many candidates", "equal time": "nearest in time"}
        why = [names[versus.role] for versus in group]
        ratio = group[0].seconds_ratio
        why += [f"{ratio:.2g} times the seconds"] if math.isfinite(ratio) else []
        told.append((group[0], f"{group[0].label} ({', '.join(why)})"))
    return told


def headline(points: Sequence[TextPoint], run: TextRun) -> str:
    """The configured point against the reference; a better budget of the sweep is told as picked after the fact."""
    point = chosen_point(points)
    if point is None:
        if run.budget == 0:
            return "The configured budget is 0: the reference, unmoved; the table shows what else was evaluated."
        return "The configured budget was not evaluated; the table shows what was."
    picked = f", {PICKED[point.picked]}" if point.picked in PICKED else ""
    gain = point.gains.get("gold")
    told = estimate_text(gain, signed=True) if gain else "-"
    said = f"{point.method} at {budget_text(point)}{picked}: gold {told}"
    if gain is None or told == "-":
        return f"{said.removesuffix(': gold -')}: gold's gain over the reference is not known."
    start = reference_point(points)
    said += " over the reference, without selection"
    if math.isfinite(point.wins.mean):
        said += f"; higher in {100 * point.wins.mean:.0f} % of {point.rows} pairs"
    if start and math.isfinite(point.gains["nll"].mean):
        before, after = (p.means["nll"].mean for p in (start, point))
        said += f"; {after:.2f} nats a token under the reference, which gives its own samples {before:.2f}"
    made = claims(points)
    said += f". {sum(claim.passed for claim in made)} of {len(made)} claims are clear of zero."
    if best := sweep_best(points):
        said += f" Best of the sweep by gold, picked after the fact, is {budget_text(best)}: "
        said += f"{estimate_text(best.gains['gold'], signed=True)}."
    return said


def notes(points: Sequence[TextPoint], run: TextRun) -> list[str]:
    """What a reader has to know to trust the numbers no further than they go."""
    point = chosen_point(points)
    proxy, gold, second = (f" ({name})" if name else "" for name in (run.proxy, run.gold, run.second))
    said = [
        f"Proxy{proxy} is the reward whose value guides the move, and by which a completion is selected. Gold{gold} "
        f"is an independent judge that never guides and never selects; second{second} is another one. Where proxy "
        "rises and gold does not, the proxy is being exploited.",
        "Without selection: the mean over all moved particles of a prompt. Selected: the completion that the proxy "
        "likes best among the candidates, moved and unmoved.",
        "Prompts are the sampling unit: seeds are averaged within each of the "
        f"{prompts_text(points)} held-out prompts, and intervals (95 %, percentile bootstrap) are over prompts. Win "
        "rates: Wilson interval with the number of prompts as trials. How far another training of the rewards or of "
        "the value heads could move a number is not in them.",
        "Differences are paired: the same prompts, seeds and noise serve every method. They can be clear of zero "
        "where the intervals of two means overlap.",
        "A baseline with several budgets is compared at the one with the highest gold, picked after the fact to the "
        "baseline's advantage; random and length at the budget nearest to the point's.",
        "best_of_n is compared at as many candidates, and at the nearest wall time; the seconds ratio tells how near. "
        "Seconds include scoring and are those of this machine.",
        "NLL: nats a token under the unmodified reference. KL: nats a completion from the reference, estimated on "
        "the samples. Travelled: RMS distance of token embeddings from those of the unmoved twin, in standard "
        "deviations of an embedding's entry. Changed: share of tokens that differ from the twin's.",
        f"Marks: clear of zero when the whole interval is above it. Several claims are tested, each at its own level. "
        f"With fewer than {_FEWEST_PROMPTS} prompts nothing is called clear.",
    ]
    if point and point.picked == "after":
        said.append(
            f"The budget ({budget_text(point)}) was picked after the fact, by the numbers it is reported with: its "
            "gains are biased upwards. Evaluate it again on other prompts."
        )
    if best := sweep_best(points):
        said.append(
            f"The best of the sweep ({budget_text(best)}) was picked after the fact, by the gold it is reported with, "
            f"on the {best.shared_gold.prompts} prompts that all of the sweep have; such a number is biased upwards."
        )
    return said
