"""Tokens to text as they come: pieces that never change afterwards, and stop strings found across them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vgf.language.decoding import cut

__all__ = ["Pieces"]

_INCOMPLETE = "\ufffd"  # what a decoder writes for bytes that are no character yet


class Pieces:
    """The text of one completion, token by token.

    Args:
        tokenizer: of the reference.
        stops: the text ends before the first of these, which is never shown.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str] = ()) -> None:
        self._tokenizer, self._stops = tokenizer, tuple(stops)
        self._tokens: list[int] = []
        self._shown = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """What one more token adds to the text that is certain."""
        if self.stopped:
            return ""
        self._tokens.append(token)
        text = self._decoded().rstrip(_INCOMPLETE)
        kept = cut(text, self._stops)
        self.stopped = kept != text
        return self._show(kept if self.stopped else kept[: len(kept) - _held_back(kept, self._stops)])

    def rest(self) -> str:
        """What was held back, once no more tokens come."""
        return "" if self.stopped else self._show(cut(self._decoded(), self._stops))

    def _decoded(self) -> str:
        return str(self._tokenizer.decode(self._tokens, skip_special_tokens=True))

    def _show(self, text: str) -> str:
        new = text[len(self._shown) :]
        self._shown += new
        return new


def _held_back(text: str, stops: Sequence[str]) -> int:
    """Characters at the end of ``text`` that may be the beginning of a stop string."""
    longest = max((len(stop) - 1 for stop in stops), default=0)
    sizes = range(min(longest, len(text)), 0, -1)
    return next((size for size in sizes if any(stop.startswith(text[-size:]) for stop in stops)), 0)
