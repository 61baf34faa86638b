"""The table of rules for text, and what each of them needs.

As in control, a rule says where the value gradient acts and how; all of them are noise-coupled: budget 0 gives back
the reference's samples, token for token. ``value`` says what a rule looks at: ``heads`` read the residual stream,
``tokens`` a state and the next token, ``reward`` is the reward model itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from vgf.errors import UserError, did_you_mean
from vgf.language.decoding import Samples
from vgf.language.gumbel import embedding, gumbel, hidden_gumbel, logits
from vgf.language.hidden import hidden
from vgf.language.token_values import expected, tilt
from vgf.transport import Budget

__all__ = ["TEXT_RULES", "TextRule", "get_text_rule"]


@dataclass(frozen=True)
class TextRule:
    """One row of the table.

    Attributes:
        move: (reference, value, twins, sampling, seed, budget, **options) -> samples. ``value`` is a tuple where it
            looks at several. ``twins`` are the reference's samples at that seed; a budget of nothing never comes here,
            because then they are the answer.
        value: what it looks at, fields of :class:`vgf.language.policy.Values`.
        budget: what a budget that leaves fields open means.
        source: where it comes from.
        radius: whether it knows ``budget.radius``: the RMS of a displacement, per position for ``hidden`` (standardised
            states), over a whole particle for the others (units of ``size``).
        left_to_right: whether it decodes once, and asks of its twins only how many there are.
    """

    move: Callable[..., Samples]
    value: tuple[Literal["heads", "tokens", "reward"], ...]
    budget: Budget
    source: str
    radius: bool = True
    left_to_right: bool = False

    @property
    def law(self) -> bool:
        """Whether moved tokens are drawn from a law that does not look at their noise, as a gradient at them does."""
        return "reward" not in self.value

    @property
    def needs_heads(self) -> bool:
        """Whether it cannot move anything before value heads have been fitted."""
        return self.value != ("reward",)

    @property
    def options(self) -> list[str]:
        """Names of the rule's own options."""
        return [p.name for p in inspect.signature(self.move).parameters.values() if p.kind is p.KEYWORD_ONLY]


TEXT_RULES: dict[str, TextRule] = {
    "hidden": TextRule(
        hidden, ("heads",), Budget(4, 0.1), "ours: transport in the residual stream, at every token", left_to_right=True
    ),
    "gumbel": TextRule(gumbel, ("reward",), Budget(3, 1.0), "ours: noise-coupled projected flow"),
    "hidden_gumbel": TextRule(
        hidden_gumbel, ("heads", "reward"), Budget(4, 0.1), "ours: the residual stream's flow, then the tokens' climb"
    ),
    "embedding": TextRule(embedding, ("reward",), Budget(4, 0.1), "VGF: flow in embedding space, decode once"),
    "logits": TextRule(logits, ("reward",), Budget(2, 1.0), "straight-through, in the manner of SEA", False),
    "expected": TextRule(
        expected, ("tokens",), Budget(1, 1.0), "QGF eqs. 7, 9 at the expected next embedding", False, True
    ),
    "tilt": TextRule(
        tilt, ("tokens",), Budget(1, 1.0), "no gradient: p(v) exp(w Q(h, v)) over the likeliest", False, True
    ),
}


def get_text_rule(name: str) -> TextRule:
    """Return a row of the table; UserError with the nearest names when there is none."""
    if name not in TEXT_RULES:
        near = did_you_mean(name, TEXT_RULES)
        raise UserError(f"there is no rule {name!r} for text; use one of {', '.join(TEXT_RULES)}.{near}")
    return TEXT_RULES[name]
