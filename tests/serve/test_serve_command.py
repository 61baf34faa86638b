"""``vgf serve`` as a command: mistakes are one line, Ctrl-C stops it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import run_main
from vgf import UserError
from vgf.serve import load

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "run=nowhere does not exist"),
        ([], "the following arguments are required: run"),
        (["x", "--prot", "1"], "unrecognized arguments: --prot 1"),
        (["x", "--port", "many"], "invalid int value"),
        (["x", "--threads", "-1"], "invalid positive value: '-1'"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], said: str) -> None:
    status, output = run_main(["serve", *arguments])
    assert status == 2
    assert output.count("\n") == 0
    assert said in output


def test_limits_and_ports_that_cannot_be(tiny_run: Path) -> None:
    status, output = run_main(["serve", str(tiny_run), "--max-rows", "0"])
    assert (status, "limit on rows is 0" in output) == (2, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, output = run_main(["serve", str(tiny_run), "--port", str(taken.getsockname()[1])])
    assert (status, "choose another --port" in output) == (2, True)


def test_ctrl_c_stops_it(tiny_run: Path) -> None:
    command = [sys.executable, "-m", "vgf.serve", str(tiny_run), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address, line + process.communicate()[1]
        with httpx.Client(base_url=address[0], transport=httpx.HTTPTransport(retries=20)) as client:
            assert client.get("/info", timeout=60).json()["kind"] == "control"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, stderr.strip()) == (130, "vgf: stopped")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["myserver"], "myserver/info does not answer"),
        (["http://localhost:1", "--requests", "0"], "--requests: invalid positive value: '0'"),
        (["http://localhost:1", "--concurrent", "1", "-1"], "--concurrent"),
    ],
)
def test_measuring_what_is_no_server_is_one_line(arguments: list[str], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        load.main(arguments)
