"""Limits on what one request may take, and budgets as requests write them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import vgf
from vgf import Budget, UserError
from vgf.methods import load_method
from vgf.rundir import read_config
from vgf.serve.limits import Limits, read_budget

pytest.importorskip("fastapi")
testing = pytest.importorskip("starlette.testclient")


@pytest.fixture(scope="module")
def hasty(text_run: Path) -> Iterator[Any]:
    from vgf.serve.app import make_app

    with testing.TestClient(make_app(text_run, limits=Limits(seconds=1e-3, body=500), window=0)) as client:
        yield client


def test_a_request_that_takes_too_long_is_ended(hasty: Any) -> None:
    answer = hasty.post("/v1/completions", json={"prompt": "w1 w2"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (408, "timeout")
    stream = hasty.post("/v1/completions", json={"prompt": "w1 w2", "stream": True, "particles": 1})
    events = [event for event in stream.text.split("\n\n") if event]
    assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "timeout"


def test_a_body_that_is_too_large_is_not_read(hasty: Any) -> None:
    assert hasty.post("/v1/completions", json={"prompt": "w1 " * 200}).status_code == 413


def test_a_decision_that_takes_too_long_is_ended(tiny_run: Path) -> None:
    from vgf.serve.app import make_app

    with testing.TestClient(make_app(tiny_run, limits=Limits(seconds=1e-6), window=0)) as client:
        answer = client.post("/act", json={"observations": [0.5, 1.0]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (408, "timeout")


def test_what_a_budget_may_be() -> None:
    method, limits = load_method("vgf"), Limits()  # counts steps
    assert read_budget(None, method, limits).steps == 3
    assert read_budget(2, method, limits).steps == 2
    assert read_budget({"size": 0.01, "radius": 0.5}, method, limits) == Budget(3, 0.01, 0.5)
    assert read_budget(0, method, Limits(steps=0, size=0.01)).steps == 0
    for wrong in (1.5, 10**30, True, "3", [3], {"stesp": 3}, {"steps": "3"}, {"steps": -1}, {"size": 99}, 17):
        with pytest.raises(UserError):
            read_budget(wrong, method, limits)
    assert read_budget(None, method, Limits(steps=1, size=0.001)) == Budget(1, 0.001)
    assert read_budget({"radius": 1}, method, Limits(steps=1)).steps == 1
    with pytest.raises(UserError, match="limit of 1 for vgf"):
        read_budget(2, method, replace(limits, steps=1))


def test_info_tells_of_defaults_within_the_limits(text_run: Path) -> None:
    from vgf.serve.text import TextService

    limits = Limits(size=0.01, particles=2, new_tokens=3)
    info = TextService(vgf.load(text_run), read_config(text_run), limits, 0.0, "run").info()
    assert (info["budget"]["size"], info["particles"], info["max_tokens"]) == (0.01, 2, 3)


@pytest.mark.parametrize(
    "wrong", [{"rows": 0}, {"seconds": -1}, {"size": -0.1}, {"size": float("inf")}, {"steps": 10**7}, {"steps": 1.5}]
)
def test_limits_that_are_none(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"limit.* {next(iter(wrong))}|limit .*budget.{next(iter(wrong))}"):
        Limits(**wrong)
