"""Whatever is sent, the answer is JSON, and a refusal is the sender's fault: never 5xx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi")
testing = pytest.importorskip("starlette.testclient")

_SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_ANY = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
_BUDGET = st.one_of(st.none(), st.sampled_from([0, 0.1, {"steps": 1}, {"size": 0.1, "radius": 1}]), _ANY)
_TEXT = {
    "model": st.just("run") | _ANY, "max_tokens": st.integers(-1, 4) | _ANY, "temperature": st.floats(0, 2) | _ANY,
    "top_p": st.floats(0, 1) | _ANY, "n": st.integers(0, 2) | _ANY, "seed": st.integers(0, 9) | _ANY,
    "stop": st.text(max_size=2) | _ANY, "transport_budget": _BUDGET, "particles": st.integers(0, 2) | _ANY,
    "stream": st.booleans() | _ANY, "stream_options": st.just({"include_usage": True}) | _ANY, "logit_bias": _ANY,
}  # fmt: skip
_MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]) | _ANY, "content": st.text() | _ANY})
_BODIES = {
    "/v1/completions": st.fixed_dictionaries(
        {"prompt": st.text(max_size=9) | st.lists(st.integers(0, 30), max_size=3) | _ANY},
        optional=_TEXT | {"logprobs": st.integers(0, 1) | _ANY, "echo": _ANY, "suffix": _ANY},
    ),
    "/v1/chat/completions": st.fixed_dictionaries(
        {"messages": st.lists(_MESSAGE, max_size=2) | _ANY}, optional=_TEXT | {"logprobs": _ANY, "tools": _ANY}
    ),
    "/act": st.fixed_dictionaries(
        {"observations": st.lists(st.floats(width=32), min_size=2, max_size=2) | _ANY},
        optional={"budget": _BUDGET, "seed": st.integers(0, 9) | _ANY, "method": st.just("vgf") | _ANY},
    ),
}


@pytest.fixture(scope="module")
def text(text_run: Path) -> Iterator[Any]:
    yield from _client(text_run)


@pytest.fixture(scope="module")
def control(tiny_run: Path) -> Iterator[Any]:
    yield from _client(tiny_run)


def _client(run: Path) -> Iterator[Any]:
    from vgf.serve.app import make_app

    with testing.TestClient(make_app(run, window=0), raise_server_exceptions=False) as client:
        yield client


def _check(client: Any, path: str, body: bytes) -> None:
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200 or 400 <= answer.status_code < 500, answer.text
    if answer.headers["content-type"].startswith("text/event-stream"):
        events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
        assert events[-1] == "[DONE]"
        assert all("error" not in json.loads(event) for event in events[:-1])
    else:
        said = answer.json()
        assert ("error" in said) == (answer.status_code != 200)
        assert "Traceback" not in answer.text


@_SETTINGS
@given(body=_BODIES["/v1/completions"])
def test_completions(text: Any, body: Any) -> None:
    _check(text, "/v1/completions", json.dumps(body).encode())


@_SETTINGS
@given(body=_BODIES["/v1/chat/completions"])
def test_chat(text: Any, body: Any) -> None:
    _check(text, "/v1/chat/completions", json.dumps(body).encode())


@_SETTINGS
@given(body=_BODIES["/act"])
def test_act(control: Any, body: Any) -> None:
    _check(control, "/act", json.dumps(body).encode())


@_SETTINGS
@given(
    body=st.binary(max_size=40) | _ANY.map(lambda content: json.dumps(content).encode()),
    name=st.sampled_from(sorted(_TEXT)),
)
def test_any_bytes(text: Any, body: bytes, name: str) -> None:
    _check(text, "/v1/completions", body)
    _check(text, f"/v1/{name}", body)
