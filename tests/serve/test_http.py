"""What goes wrong is one answer, and what is printed on the server is one stack of what nobody foresaw."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import vgf
from vgf.rundir import read_config
from vgf.serve.limits import Limits

pytest.importorskip("httpx")
pytest.importorskip("fastapi")

import httpx

from tests.serve.conftest import serving
from vgf.serve.app import application
from vgf.serve.control import ControlService
from vgf.serve.text import TextService


def fail(*_: Any, **__: Any) -> None:
    raise RuntimeError("unforeseen")


def test_a_caller_that_hangs_up_prints_nothing(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = application(ControlService(vgf.load(tiny_run), read_config(tiny_run), Limits(), 0.0))
    scope = {"type": "http", "method": "POST", "path": "/act", "headers": [(b"content-type", b"application/json")]}
    coming = [{"type": "http.request", "body": b'{"obs', "more_body": True}, {"type": "http.disconnect"}]
    sent = []

    async def receive() -> Any:
        return coming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope | {"query_string": b""}, receive, send))  # what it raised, uvicorn would print
    assert sent[0]["status"] == 400
    assert capsys.readouterr().err == ""


def test_an_unforeseen_error_is_printed_once(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service = ControlService(vgf.load(tiny_run), read_config(tiny_run), Limits(), 0.0)
    service.policy.decide = fail  # type: ignore[method-assign, assignment]
    with serving(application(service)) as address:
        answer = httpx.post(f"{address}/act", json={"observations": [0.0, 0.0]})
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    printed = capsys.readouterr().err
    assert (printed.count("Traceback"), printed.count("RuntimeError: unforeseen")) == (1, 1)


def test_so_is_one_in_the_midst_of_a_stream(text_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service = TextService(vgf.load(text_run), read_config(text_run), Limits(), 0.0, "run")
    service.policy.reference.tokenised = fail  # type: ignore[method-assign, assignment]
    with serving(application(service)) as address:
        asked = {"prompt": "w1 w2", "stream": True, "particles": 1}
        answer = httpx.post(f"{address}/v1/completions", json=asked)
    assert '"server_error"' in answer.text.strip().split("\n\n")[-1]
    printed = capsys.readouterr().err
    assert (printed.count("Traceback"), printed.count("RuntimeError: unforeseen")) == (1, 1)
