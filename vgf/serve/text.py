"""OpenAI's ``/v1/models``, ``/v1/completions`` and ``/v1/chat/completions`` for a language run.

Choice c of prompt p is what ``load(RUN).generate(prompts, budget=..., seed=seed + c)[p]`` gives: the particle, moved or
not, that the reward prefers. With ``particles=1`` there is nothing to prefer and no reward is asked: the answer is the
moved particle itself, and with ``stream=true`` it comes token by token where the rule decodes left to right. In all
other cases a stream holds each text in one piece.
"""

from __future__ import annotations

import copy
import dataclasses
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from vgf.config import Config
from vgf.errors import UserError
from vgf.language.policy import TextPolicy
from vgf.serve.asked import ChatFields, CompletionFields, TextFields, message_texts
from vgf.serve.batching import Batcher
from vgf.serve.choices import Chat, Form, Plain
from vgf.serve.decoder import Completion, Decoder, Key, Row
from vgf.serve.http import ApiError, json_response, read_fields
from vgf.serve.limits import Limits, read_budget
from vgf.serve.stream import events
from vgf.transport import Budget

__all__ = ["Job", "TextService"]


@dataclass(frozen=True)
class Job:
    """A request that has been checked.

    Attributes:
        form: how the answer is written.
        fields: what was asked.
        rows: P prompts times n choices, prompt by prompt.
        keys: what they are batched by.
        budget, seed: of the answer.
        streams: whether texts are known token by token.
        head: fields that every part of the answer begins with.
    """

    form: Form
    fields: TextFields
    rows: list[Row]
    keys: list[Key]
    budget: Budget
    seed: int
    streams: bool
    head: dict[str, Any]

    def own(self) -> dict[str, Any]:
        """What transports: every answer, and every event of a stream, says it."""
        return {"transport": {"budget": dataclasses.asdict(self.budget), "seed": self.seed}}

    def usage(self, done: Sequence[int]) -> dict[str, int]:
        """Tokens read and written."""
        prompts = sum(len(row.ids) for row in self.rows[:: self.fields.n or 1])
        return {"prompt_tokens": prompts, "completion_tokens": sum(done), "total_tokens": prompts + sum(done)}


class TextService:
    """Serves a text policy.

    Args:
        policy: of the run.
        config: the run's.
        limits: on requests.
        window: seconds that a request waits for company.
        name: of the model.
        adapter: the trainer whose adapter is in the policy's model; None: the reference itself.
    """

    def __init__(
        self, policy: TextPolicy, config: Config, limits: Limits, window: float, name: str, adapter: str | None = None
    ) -> None:
        self.policy, self.config, self.limits, self.name, self.adapter = policy, config, limits, name, adapter
        self.decoder = Decoder(policy)
        self.batcher = Batcher(
            self.decoder, most=policy.batch, window=window, seconds=limits.seconds, waiting=limits.waiting
        )
        self.tokenizer = copy.deepcopy(policy.reference.tokenizer)  # the other one belongs to the model's thread
        self.created = int(time.time())
        self.router = APIRouter()
        self.router.add_api_route("/v1/models", self.models, methods=["GET"])
        self.router.add_api_route("/v1/models/{name:path}", self.model, methods=["GET"])
        self.router.add_api_route("/v1/completions", self.completions, methods=["POST"])
        self.router.add_api_route("/v1/chat/completions", self.chat, methods=["POST"])

    def info(self) -> dict[str, Any]:
        """What a client has to know beyond OpenAI's protocol."""
        method = self.policy.method
        return {
            "kind": "text",
            "model": self.name,
            "reference": self.config.text.model,
            "adapter": self.adapter,
            "method": method.method,
            "knob": method.transport.knob,
            "budget": dataclasses.asdict(read_budget(None, method, self.limits)),
            "largest": dataclasses.asdict(self.limits.largest(method)),
            "particles": min(method.transport.particles, self.limits.particles),
            "max_tokens": min(self.policy.sampling.new_tokens, self.limits.new_tokens),
            "chat": bool(self.tokenizer.chat_template),
        }

    async def models(self) -> Response:
        """The one model."""
        return json_response({"object": "list", "data": [self._model()]})

    async def model(self, name: str) -> Response:
        """The one model, by its name."""
        self._require_name(name)
        return json_response(self._model())

    async def completions(self, request: Request) -> Response:
        """Complete prompts."""
        asked = await read_fields(request, CompletionFields, self.limits.body)
        asked.check(self.limits)
        found = []
        for prompt in asked.prompts():
            ids = list(self.tokenizer(prompt)["input_ids"]) if isinstance(prompt, str) else prompt
            text = prompt if isinstance(prompt, str) else self._decoded(prompt)
            found.append((text, ids))
        return await self._answer(asked, found, Plain())

    async def chat(self, request: Request) -> Response:
        """Answer a conversation, put through the reference's chat template."""
        asked = await read_fields(request, ChatFields, self.limits.body)
        asked.check(self.limits)
        messages = message_texts(asked.messages)
        if not self.tokenizer.chat_template:
            raise ApiError(400, f"{self.name} has no chat template; use /v1/completions", "messages")
        try:
            encoded = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        except Exception as error:  # a template is a program of the model's, and says what it will not take
            raise ApiError(400, f"the chat template refuses these messages: {str(error)[:200]}", "messages") from error
        text = messages[0]["content"] if len(messages) == 1 else "\n".join(m["content"] for m in messages)
        return await self._answer(asked, [(text, list(encoded["input_ids"]))], Chat())

    async def _answer(self, asked: TextFields, prompts: Sequence[tuple[str, Sequence[int]]], form: Form) -> Response:
        job = self._job(asked, prompts, form)
        if asked.stream and job.streams:
            parts = events(job, self.batcher, self.tokenizer)
            return StreamingResponse(parts, media_type="text/event-stream")
        done: list[Completion] = await self.batcher.answers(list(zip(job.keys, job.rows, strict=True)))
        usage = job.usage([len(one.tokens) for one in done])
        if asked.stream:
            parts = form.in_one_go(job, done, self.tokenizer, usage)
            return StreamingResponse(parts, media_type="text/event-stream")
        choices = [form.choice(i, one, self.tokenizer, asked) for i, one in enumerate(done)]
        return json_response(job.head | {"object": form.kind, "choices": choices, "usage": usage} | job.own())

    def _job(self, asked: TextFields, prompts: Sequence[tuple[str, Sequence[int]]], form: Form) -> Job:
        if asked.model is not None:
            self._require_name(asked.model)
        count = asked.n or 1
        if len(prompts) * count > self.limits.rows:
            said = f"{len(prompts)} prompts of {count} choices are more than this server's limit of {self.limits.rows}"
            raise ApiError(400, said, "n" if len(prompts) == 1 else "prompt")
        sampling = asked.sampling(self.policy.sampling, self.limits)
        asked.stop = list(sampling.stop)  # the run's own among them
        self._require_fit(prompts, sampling.new_tokens)
        particles = asked.particles or min(self.policy.method.transport.particles, self.limits.particles)
        method = self.decoder.method(particles)
        try:
            budget = read_budget(asked.transport_budget, method, self.limits)
            streams = self.decoder.streams(budget, particles)
        except UserError as error:
            raise ApiError(400, str(error), "transport_budget") from error
        seed = secrets.randbits(31) if asked.seed is None else asked.seed
        rows = [
            Row(text, tuple(ids), (seed + choice, index))
            for index, (text, ids) in enumerate(prompts)
            for choice in range(count)
        ]
        keys = [Key(budget, particles, sampling, len(row.ids)) for row in rows]
        head = {"id": f"{form.prefix}-{secrets.token_hex(12)}", "created": int(time.time()), "model": self.name}
        return Job(form, asked, rows, keys, budget, seed, streams, head)

    def _require_fit(self, prompts: Sequence[tuple[str, Sequence[int]]], new_tokens: int) -> None:
        known, limit = len(self.policy.reference.embeddings), self.policy.reference.context_length
        for index, (_, ids) in enumerate(prompts):
            if not ids:
                raise ApiError(400, f"prompt {index} has no tokens", "prompt")
            if wrong := [token for token in ids if not 0 <= token < known]:
                raise ApiError(400, f"prompt {index} has the token {wrong[0]}; they are 0 to {known - 1}", "prompt")
            if limit is not None and len(ids) + new_tokens > limit:
                said = f"prompt {index} has {len(ids)} tokens; with {new_tokens} new ones that is beyond the context of"
                raise ApiError(400, f"{said} {limit}", "prompt", "context_length_exceeded")

    def _require_name(self, name: str) -> None:
        if name != self.name:
            raise ApiError(
                404, f"there is no model {name[:100]!r}; this server has {self.name!r}", "model", "model_not_found"
            )

    def _model(self) -> dict[str, Any]:
        return {"id": self.name, "object": "model", "created": self.created, "owned_by": "vgf"}

    def _decoded(self, ids: Sequence[int]) -> str:
        try:
            return str(self.tokenizer.decode(ids, skip_special_tokens=True))
        except (OverflowError, TypeError, ValueError, IndexError) as error:
            raise ApiError(400, "a prompt of token ids holds a number that is no token", "prompt") from error
