"""``vgf doctor``, and the trial of rendering it shares with the videos."""

from __future__ import annotations

import http.server
import sys
import threading

import pytest

from tests.command import run_main
from vgf import rendering
from vgf.terminal import doctor


@pytest.fixture
def no_backend(monkeypatch):
    monkeypatch.setattr(rendering, "_draws", lambda backend: False)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    rendering.rendering_backend.cache_clear()
    yield
    rendering.rendering_backend.cache_clear()


def test_doctor_tells_every_part_and_finds_no_hub_without_a_network(no_backend, monkeypatch):
    monkeypatch.setattr(doctor, "_HUB_SECONDS", 0.2)
    monkeypatch.setattr(doctor.Config, "__init__", _config_without_network(doctor.Config.__init__))
    status, text = run_main(["doctor"])
    assert status == 0
    for part in ("versions", "extras", "devices", "room", "rendering", "hubs", "torch.compile", "GB free at"):
        assert part in text
    assert "apt-get install libegl1" in " ".join(text.split())
    assert "http://127.0.0.1:9" in text
    assert "not reachable" in text


def _config_without_network(made):
    def init(self, *args, **kwargs):
        made(self, *args, **kwargs)
        self.data.mirrors = ["http://127.0.0.1:9"]

    return init


def test_a_hub_that_answers_is_reachable():
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(404 if self.path == "/no" else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        assert doctor._reach(address) == "reachable"
        assert doctor._reach(f"{address}/no") == "answers (HTTP 404)"
    finally:
        server.shutdown()


def test_a_trial_that_dies_or_draws_nothing_is_no_backend(monkeypatch):
    monkeypatch.setattr(rendering, "_TRIAL", "import os; os.kill(os.getpid(), 11)")
    assert not rendering._draws("egl")
    monkeypatch.setattr(rendering, "_TRIAL", "raise SystemExit('no display')")
    assert not rendering._draws("egl")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert not rendering._draws("egl")


def test_the_user_s_own_backend_is_the_only_one_tried(monkeypatch):
    tried = []
    monkeypatch.setattr(rendering, "_draws", lambda backend: tried.append(backend) or backend == "glfw")
    rendering.rendering_backend.cache_clear()
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    assert rendering.rendering_backend() == "glfw"
    assert tried == ["glfw"]
    rendering.rendering_backend.cache_clear()
    monkeypatch.delenv("MUJOCO_GL")
    assert rendering.rendering_backend() is None
    assert tried == ["glfw", "egl", "osmesa"]
    rendering.rendering_backend.cache_clear()
    monkeypatch.setenv("MUJOCO_GL", "disable")
    assert rendering.rendering_backend() is None
    assert len(tried) == 3
    rendering.rendering_backend.cache_clear()
