"""Servers of small runs in threads of this process, on loopback ports that are free."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.serve.runs import save_text_run

uvicorn = pytest.importorskip("uvicorn")
torch.set_num_threads(1)


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an application; yields its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="session")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a small language run. Do not change it: copy it."""
    return save_text_run(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="session")
def text_server(text_run: Path) -> Iterator[str]:
    """Address of a server of the language run."""
    from vgf.serve.app import make_app

    with serving(make_app(text_run)) as address:
        yield address


@pytest.fixture(scope="session")
def control_server(tiny_run: Path) -> Iterator[str]:
    """Address of a server of the control run."""
    from vgf.serve.app import make_app

    with serving(make_app(tiny_run)) as address:
        yield address
