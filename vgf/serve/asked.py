"""What a request for text may hold: OpenAI's fields, those of them that can be honoured, and two of our own.

``transport_budget`` is a number (the method's knob) or an object with steps, size and radius; ``particles`` is how many
completions of a prompt are decoded, of which the reward prefers one. Fields that would change the answer in a way that
is not implemented are refused unless they say what is done anyway; those that would not (``user``) are taken and
left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from vgf.language.decoding import Sampling
from vgf.serve.http import ApiError, Fields
from vgf.serve.limits import Limits

__all__ = ["ChatFields", "CompletionFields", "TextFields", "message_texts"]

_STOPS = 4  # as OpenAI
_STOP_LENGTH = 200
_COLDEST, _HOTTEST = 0.01, 10.0  # temperatures whose logits stay finite numbers that differ
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class TextFields(Fields):
    """Fields of both kinds of request."""

    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    transport_budget: Any = None
    particles: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None

    neutral: ClassVar[dict[str, tuple[Any, ...]]] = {  # the only values of fields that are not implemented
        "presence_penalty": (0,), "frequency_penalty": (0,), "logit_bias": ({},), "store": (False,),
        "service_tier": ("auto", "default"),
    }  # fmt: skip

    def check(self, limits: Limits) -> None:
        """Refuse what cannot be honoured or is beyond the limits.

        Raises:
            ApiError: naming the field.
        """
        for name, allowed in self.neutral.items():
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise ApiError(400, f"{name}={str(value)[:60]} is not implemented; leave it out", name)
        if len(self.stops()) > _STOPS or not all(0 < len(stop) <= _STOP_LENGTH for stop in self.stops()):
            raise ApiError(400, f"stop is at most {_STOPS} strings of 1 to {_STOP_LENGTH} characters", "stop")
        if self.seed is not None and not 0 <= self.seed < 2**53:
            raise ApiError(400, f"seed={self.seed} must be 0 or more and fit 53 bits", "seed")
        for name, most in (("n", limits.rows), ("particles", limits.particles)):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise ApiError(400, f"{name}={value} is out of range; it is 1 to {most} on this server", name)
        if unknown := set(self.stream_options or {}) - {"include_usage", "include_obfuscation"}:
            raise ApiError(400, f"stream_options has no {sorted(unknown)[0][:60]!r}", "stream_options")

    def sampling(self, own: Sampling, limits: Limits) -> Sampling:
        """How tokens are drawn: the run's way, but for what the request changes.

        Raises:
            ApiError: a value out of range.
        """
        length, name = self.length()
        tokens = min(own.new_tokens, limits.new_tokens) if length is None else length
        if not 1 <= tokens <= limits.new_tokens:
            raise ApiError(400, f"{name}={tokens} is out of range; it is 1 to {limits.new_tokens} on this server", name)
        temperature = own.temperature if self.temperature is None else self.temperature
        if temperature != 0 and not _COLDEST <= temperature <= _HOTTEST:
            said = f"temperature={temperature:g} is out of range; it is 0, or {_COLDEST} to {_HOTTEST:g}"
            raise ApiError(400, said, "temperature")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ApiError(400, f"top_p={self.top_p:g} is out of range; it is above 0 and at most 1", "top_p")
        top_p = own.top_p if self.top_p is None else self.top_p
        return Sampling(tokens, temperature, own.top_k, top_p, (*own.stop, *self.stops()))

    def length(self) -> tuple[int | None, str]:
        """The number of tokens asked for, and the field that says so."""
        return self.max_tokens, "max_tokens"

    def stops(self) -> list[str]:
        """Strings that end the text."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    def wants_logprobs(self) -> bool:
        """Whether log probabilities of the tokens are asked for."""
        raise NotImplementedError


class CompletionFields(TextFields):
    """A request to ``/v1/completions``."""

    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: int | None = None
    echo: bool | None = None
    best_of: int | None = None
    suffix: str | None = None

    neutral: ClassVar[dict[str, tuple[Any, ...]]] = {
        **TextFields.neutral, "echo": (False,), "best_of": (1,), "suffix": ("",), "logprobs": (0,),
    }  # fmt: skip

    def wants_logprobs(self) -> bool:
        """0 asks for those of the chosen tokens; more, for other tokens', is refused."""
        return self.logprobs is not None

    def prompts(self) -> list[str | list[int]]:
        """The prompts, each a text or token ids.

        Raises:
            ApiError: one is empty.
        """
        given: Any = self.prompt
        one = isinstance(given, str) or (given and isinstance(given[0], int))
        found = [given] if one else list(given)
        if not found or any(not (row.strip() if isinstance(row, str) else row) for row in found):
            raise ApiError(400, "a prompt is empty; a language model needs something to go on from", "prompt")
        return found


class ChatFields(TextFields):
    """A request to ``/v1/chat/completions``."""

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: dict[str, Any] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    modalities: list[str] | None = None

    neutral: ClassVar[dict[str, tuple[Any, ...]]] = {
        **TextFields.neutral, "top_logprobs": (0,), "response_format": ({"type": "text"},), "tools": ([],),
        "tool_choice": ("none", "auto"), "modalities": (["text"],),
    }  # fmt: skip

    def wants_logprobs(self) -> bool:
        """Whether ``logprobs`` is true; those of other tokens than the chosen ones are not known."""
        return bool(self.logprobs)

    def length(self) -> tuple[int | None, str]:
        """``max_completion_tokens``, or its old name."""
        if self.max_completion_tokens is not None:
            return self.max_completion_tokens, "max_completion_tokens"
        return super().length()


def message_texts(messages: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Messages as chat templates take them: role and text.

    Raises:
        ApiError: no messages, an unknown role, a part that is not text.
    """
    if not messages:
        raise ApiError(400, "messages is empty; give at least one", "messages")
    return [{"role": _role(message, i), "content": _content(message, i)} for i, message in enumerate(messages)]


def _role(message: dict[str, Any], i: int) -> str:
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise ApiError(400, f"messages.{i}.role is not one of {', '.join(_ROLES)}", "messages")
    return _ROLES[role]


def _content(message: dict[str, Any], i: int) -> str:
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in parts]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ApiError(400, f"messages.{i}.content is not text; this server reads text alone", "messages")
    return "".join(str(text) for text in texts)
