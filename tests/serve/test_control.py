"""A control run behind ``/act``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vgf
from vgf import Budget

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")


OBS = [[0.5, 1.0], [4.0, 8.0], [12.0, 3.0], [2.0, 2.0], [3.0, 9.0]]


def act(server: str, **asked: Any) -> dict[str, Any]:
    answer = httpx.post(f"{server}/act", json={"observations": OBS, "seed": 4} | asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("asked", "budget", "method"),
    [
        ({}, None, None),
        ({"budget": 0}, Budget(size=0.0), None),
        ({"budget": {"steps": 2, "radius": 0.1}}, Budget(2, None, 0.1), None),
        ({"budget": 2, "method": "vgf"}, Budget(steps=2), "vgf"),
    ],
)
def test_actions_are_the_policys(control_server: str, tiny_run: Path, asked: Any, budget: Any, method: Any) -> None:
    policy = vgf.load(tiny_run)
    found = act(control_server, **asked)
    np.testing.assert_allclose(found["actions"], policy.act(np.array(OBS), budget, 4, method), atol=1e-5)
    np.testing.assert_allclose(found["chunks"], policy.act_chunk(np.array(OBS), budget, 4, method), atol=1e-5)
    assert found["budget"] == {name: getattr(found_budget(policy, budget, method), name) for name in found["budget"]}
    assert (np.array(found["travelled"]) > 0).any() == (budget != Budget(size=0.0))


def found_budget(policy: Any, budget: Budget | None, method: str | None) -> Budget:
    own = vgf.methods.configured_budget(policy.resolve(method))
    return budget.filled(own) if budget else own


def test_a_single_observation_has_a_single_answer(control_server: str) -> None:
    one, several = act(control_server, observations=OBS[0]), act(control_server, observations=OBS[:1])
    assert [one["actions"]] == several["actions"]
    assert [one["values"]] == several["values"]


def test_an_answer_does_not_depend_on_who_asks_at_the_same_time(control_server: str) -> None:
    requests = [{"observations": OBS[: 1 + i % 3], "seed": i, "method": ("qgf", "best_of_n")[i % 2]} for i in range(16)]
    alone = [act(control_server, **asked) for asked in requests]
    with ThreadPoolExecutor(12) as threads:
        together = list(threads.map(lambda asked: act(control_server, **asked), requests))
    for found, expected in zip(together, alone, strict=True):
        assert {name: found[name] for name in ("budget", "seed")} == {
            name: expected[name] for name in ("budget", "seed")
        }
        for name in (
            "actions",
            "chunks",
            "values",
            "travelled",
        ):  # on some processors a row's place decides the rounding
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


def test_without_a_seed_every_answer_has_noise_of_its_own(control_server: str) -> None:
    first, second = (act(control_server, seed=None) for _ in range(2))
    assert first["actions"] != second["actions"]
    assert act(control_server, seed=first["seed"])["actions"] == first["actions"]


def test_info_says_what_is_served(control_server: str) -> None:
    info = httpx.get(f"{control_server}/info").json()
    assert (info["kind"], info["observation"], info["action"], info["chunk"]) == ("control", 2, 2, 20)
    assert "vgf" in info["methods"]
    assert "qpilots_m" not in info["methods"]  # the run has no network for it
    assert info["methods"]["qgf"]["budget"]["size"] == 0.1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"observations": [1.0]}, "this run's have 2"),
        ({"observations": []}, "this run's have 2"),
        ({"observations": [[]]}, "this run's have 2"),
        ({"observations": [[1.0, "a"]]}, "observations"),
        ({"observations": [[0.0, 0.0]] * 65}, "limit of 64"),
        ({"observations": [1e300, 0.0]}, "not finite"),
        ({"budget": 1e6}, "beyond this server's limit"),
        ({"budget": 1.5, "method": "vgf"}, "whole number"),
        ({"method": "qpilots_m"}, "this run has"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 1.5}, "seed"),
        ({"observation": OBS}, "Did you mean 'observations'"),
    ],
)
def test_what_cannot_be_honoured_is_refused(control_server: str, asked: dict[str, Any], said: str) -> None:
    answer = httpx.post(f"{control_server}/act", json={"observations": OBS} | asked)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_other_addresses_and_bodies(control_server: str) -> None:
    assert "GET /info" in httpx.get(f"{control_server}/").json()["error"]["message"]
    assert httpx.get(f"{control_server}/act").status_code == 405
    text = httpx.post(f"{control_server}/act", content="{}", headers={"content-type": "text/plain"})
    assert text.status_code == 415
    big = httpx.post(f"{control_server}/act", content=b" " * 1_100_000, headers={"content-type": "application/json"})
    assert big.status_code == 413
    for body in (b"", b"[", b"[1]", b"\xff", b'{"a": NaN}', b"[" * 100_000, b'{"a": 1e999}', b'{"a": "\\ud800"}'):
        answer = httpx.post(f"{control_server}/act", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_run_of_all_methods_answers_by_one_of_them(tiny_run: Path) -> None:
    from vgf.methods import ALL
    from vgf.rundir import read_config
    from vgf.serve.control import ControlService
    from vgf.serve.limits import Limits

    policy = vgf.load(tiny_run)
    policy.method = replace(policy.method, method=ALL)
    service = ControlService(policy, read_config(tiny_run), Limits(), 0.0)
    assert service.info()["method"] in service.methods
