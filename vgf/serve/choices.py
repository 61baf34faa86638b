"""How answers are written: OpenAI's objects for completions and chat completions, whole or as stream events.

Each choice also has ``transport``: the reward of the selected particle (null where nothing was scored) and whether it
is a moved one. So does the whole answer, and every event of a stream: the budget and the seed.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from vgf.language.decoding import cut
from vgf.serve.asked import TextFields
from vgf.serve.decoder import Completion, Token
from vgf.serve.pieces import Pieces

if TYPE_CHECKING:
    from vgf.serve.text import Job

__all__ = ["Chat", "Form", "Plain", "event"]


class Form(ABC):
    """One of OpenAI's two protocols.

    Attributes:
        kind, stream_kind: what answers and stream events call themselves.
        prefix: of the names of answers.
    """

    kind: str
    stream_kind: str
    prefix: str

    @abstractmethod
    def body(self, text: str) -> dict[str, Any]:
        """The part of a finished choice that holds its text."""

    @abstractmethod
    def part(self, index: int, text: str, reason: str | None, logprobs: Any, first: bool) -> dict[str, Any]:
        """A choice of a stream event; ``first`` of its choice."""

    @abstractmethod
    def logprobs(self, tokens: Sequence[Token], pieces: Sequence[str], offset: int) -> dict[str, Any]:
        """Log probabilities of the chosen tokens; ``offset`` is where their text begins."""

    def choice(self, index: int, done: Completion, tokenizer: Any, asked: TextFields) -> dict[str, Any]:
        """A finished choice."""
        return self.body(self._text(done, tokenizer, asked)[0]) | {"index": index} | self._end(done, tokenizer, asked)

    def _text(self, done: Completion, tokenizer: Any, asked: TextFields) -> tuple[str, bool]:
        """The text up to the first stop string, and whether there is one."""
        whole = str(tokenizer.decode(done.tokens, skip_special_tokens=True))
        text = cut(whole, asked.stops())
        return text, text != whole

    def _end(self, done: Completion, tokenizer: Any, asked: TextFields) -> dict[str, Any]:
        """Reason of the end, log probabilities where they were asked for, and what the transport did."""
        text, stopped = self._text(done, tokenizer, asked)
        logprobs = None
        if asked.wants_logprobs():
            shown = Pieces(tokenizer)
            pieces = [shown.add(token) for token in done.tokens]
            tokens = [Token(i, *pair) for i, pair in enumerate(zip(done.tokens, done.log_probs, strict=True))]
            kept = _up_to(pieces, len(text)) if stopped else len(pieces)
            logprobs = self.logprobs(tokens[:kept], pieces[:kept], 0)
        reason = "stop" if stopped or done.ended else "length"
        own = {"reward": done.reward, "moved": done.moved}
        return {"finish_reason": reason, "logprobs": logprobs, "transport": own}

    async def in_one_go(
        self, job: Job, done: Sequence[Completion], tokenizer: Any, usage: dict[str, int]
    ) -> AsyncIterator[str]:
        """A stream whose texts come whole: one event a choice, then usage where it was asked for, then the end."""
        head = job.head | {"object": self.stream_kind} | job.own()
        for index, one in enumerate(done):
            end = self._end(one, tokenizer, job.fields)
            text, _ = self._text(one, tokenizer, job.fields)
            part = self.part(index, text, end["finish_reason"], end["logprobs"], True)
            yield event(head | {"choices": [part | {"transport": end["transport"]}]})
        if (job.fields.stream_options or {}).get("include_usage"):
            yield event(head | {"choices": [], "usage": usage})
        yield event(None)


class Plain(Form):
    """``/v1/completions``."""

    kind = stream_kind = "text_completion"
    prefix = "cmpl"

    def body(self, text: str) -> dict[str, Any]:
        """See :class:`Form`."""
        return {"text": text}

    def part(self, index: int, text: str, reason: str | None, logprobs: Any, first: bool) -> dict[str, Any]:
        """See :class:`Form`."""
        return {"index": index, "text": text, "finish_reason": reason, "logprobs": logprobs}

    def logprobs(self, tokens: Sequence[Token], pieces: Sequence[str], offset: int) -> dict[str, Any]:
        """See :class:`Form`."""
        starts = [offset + sum(len(piece) for piece in pieces[:i]) for i in range(len(pieces))]
        chosen = [token.log_prob for token in tokens]
        return {"tokens": list(pieces), "token_logprobs": chosen, "top_logprobs": None, "text_offset": starts}


class Chat(Form):
    """``/v1/chat/completions``."""

    kind, stream_kind, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def body(self, text: str) -> dict[str, Any]:
        """See :class:`Form`."""
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def part(self, index: int, text: str, reason: str | None, logprobs: Any, first: bool) -> dict[str, Any]:
        """See :class:`Form`."""
        delta = ({"role": "assistant"} if first else {}) | ({"content": text} if text or first else {})
        return {"index": index, "delta": delta, "finish_reason": reason, "logprobs": logprobs}

    def logprobs(self, tokens: Sequence[Token], pieces: Sequence[str], offset: int) -> dict[str, Any]:
        """See :class:`Form`."""
        rows = zip(tokens, pieces, strict=True)
        content = [{"token": p, "logprob": t.log_prob, "bytes": list(p.encode()), "top_logprobs": []} for t, p in rows]
        return {"content": content, "refusal": None}


def event(content: dict[str, Any] | None) -> str:
    """A server-sent event; None is the end of the stream."""
    return f"data: {'[DONE]' if content is None else json.dumps(content, allow_nan=False)}\n\n"


def _up_to(pieces: Sequence[str], length: int) -> int:
    """How many pieces begin before ``length`` characters."""
    begins = [sum(len(piece) for piece in pieces[:i]) for i in range(len(pieces))]
    return sum(begin < length for begin in begins)
