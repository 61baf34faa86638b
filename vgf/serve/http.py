"""Requests in, JSON out: bodies read within limits, fields checked, every refusal in OpenAI's error format."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect

from vgf.errors import UserError, did_you_mean

__all__ = ["ApiError", "Fields", "as_refusal", "error_body", "json_response", "read_fields", "refusal"]


class Fields(BaseModel):
    """The fields of a request: exact types, no NaN, and none that is not known."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


F = TypeVar("F", bound=Fields)


class ApiError(Exception):
    """A refusal.

    Attributes:
        status: of HTTP.
        message: one line for the caller.
        param: the field at fault.
        code: OpenAI's name for some of them.
    """

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code


def error_body(error: ApiError) -> dict[str, Any]:
    """The refusal as OpenAI writes it."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """``content`` as ASCII JSON: what a caller sent may come back in it, whatever characters it has."""
    return Response(json.dumps(content, allow_nan=False), status, headers, "application/json")


def as_refusal(error: Exception) -> ApiError:
    """What went wrong, for the caller."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UserError):
        return ApiError(400, " ".join(str(error).split()))
    if isinstance(error, TimeoutError):
        return ApiError(408, "the request took longer than this server allows; ask for less", code="timeout")
    return ApiError(500, "the server failed; its terminal has the details")


async def refusal(request: Request, error: Exception) -> Response:
    """The answer to a request that failed; what nobody foresaw, Starlette raises again for uvicorn to print."""
    said = as_refusal(error)
    return json_response(error_body(said), said.status, {"Retry-After": "1"} if said.status == 429 else None)


async def read_fields(request: Request, kind: type[F], most: int) -> F:
    """The JSON object of a request as ``kind``.

    Raises:
        ApiError: broken off (400), not JSON (400, 415), too large (413), or a field that is unknown, missing or of the
            wrong type (400).
    """
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "send the body as content-type: application/json")  # which no foreign web page can
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > most:
                raise ApiError(413, f"the body is larger than this server's limit of {most} bytes")
    except ClientDisconnect as error:
        raise ApiError(400, "the caller hung up before the body had come") from error
    try:
        content = await asyncio.to_thread(_parsed, bytes(body))
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is no JSON that can be read ({str(error)[:100]})") from error
    if not isinstance(content, dict):
        raise ApiError(400, "the body is no JSON object")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise _first_fault(error, kind) from error


def _parsed(body: bytes) -> Any:
    content = json.loads(body, parse_constant=_not_a_number)
    json.dumps(content, ensure_ascii=False).encode()  # lone surrogates are in no text: UnicodeEncodeError
    if any(isinstance(leaf, float) and not math.isfinite(leaf) for leaf in _leaves(content)):
        raise ValueError("a number is too large")
    return content


def _not_a_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _leaves(content: Any) -> Iterator[Any]:
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        else:
            yield value


def _first_fault(error: ValidationError, kind: type[Fields]) -> ApiError:
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    path = [str(part) for part in fault["loc"]]
    name = path[0][:60] if path else ""
    if fault["type"] == "extra_forbidden" and len(path) == 1:
        return ApiError(400, f"{name!r} is not a field of this server.{did_you_mean(name, kind.model_fields)}", name)
    if fault["type"] == "missing":
        return ApiError(400, f"the field {'.'.join(path)} is missing", name)
    said = fault["msg"].removeprefix("Value error, ")
    return ApiError(400, f"{'.'.join(path)[:120]}: {said[:300]}", name)
