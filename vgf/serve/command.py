"""``vgf serve RUN``: the command line of the server."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Sequence
from pathlib import Path

import torch

from vgf.arguments import positive
from vgf.commands import Parser
from vgf.errors import UserError
from vgf.language.hub import extra
from vgf.rundir import read_config
from vgf.serve.limits import Limits
from vgf.speed import pick_device

__all__ = ["run"]

_INSTALL = 'pip install "vgf[serve]"'
_LIMITS = {
    "body": "bytes of a request", "rows": "prompts or observations of a request, choices counted",
    "new_tokens": "new tokens of a completion", "particles": "particles of a prompt", "seconds": "seconds of a request",
    "waiting": "rows that may wait", "size": "size of a budget (default: the largest of the run's settings)",
    "steps": "steps of a budget (default: the largest of the run's settings, or 16)",
}  # fmt: skip


def run(arguments: Sequence[str]) -> None:
    """Serve a run until Ctrl-C.

    Raises:
        UserError: no run, a wrong argument, a port that is taken, or the ``serve`` extra is not installed.
        KeyboardInterrupt: Ctrl-C, after requests that run have been ended.
    """
    given = _parser().parse_args(arguments)
    read_config(given.run)  # the commonest mistake first
    uvicorn = extra("uvicorn", _INSTALL)
    extra("fastapi", _INSTALL)
    from vgf.serve.app import make_app

    torch.set_num_threads(given.threads or torch.get_num_threads())
    limits = Limits(**{field.name: getattr(given, f"max_{field.name}") for field in dataclasses.fields(Limits)})
    app = make_app(
        given.run, limits=limits, window=given.window / 1000, name=given.name, device=pick_device(given.device),
        trust=given.trust, adapter=not given.no_adapter,
    )  # fmt: skip
    listener = _listen(given.host, given.port)
    host, port = listener.getsockname()[:2]
    print(f"{given.run}: http://{host}:{port} (GET /info says what it serves; Ctrl-C stops it)", flush=True)
    if host not in ("127.0.0.1", "::1"):
        print("vgf: anyone who can reach this address can use it; there is no key", flush=True)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, access_log=False)
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    if server.started:  # Ctrl-C alone ends it, and asyncio may have swallowed that when the server had just closed
        raise KeyboardInterrupt


def _parser() -> Parser:
    parser = Parser("serve")
    parser.add_argument("run", type=Path, help="directory of a finished run")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    parser.add_argument("--name", help="of the model, for OpenAI's clients (default: the directory's)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=positive, help="of torch (default: its own choice)")
    parser.add_argument("--window", type=float, default=4.0, help="milliseconds a request waits for company")
    parser.add_argument("--trust", action="store_true", help="import a reward module:function that the run names")
    parser.add_argument("--no-adapter", action="store_true", help="serve the reference, not the adapter trained on it")
    for field in dataclasses.fields(Limits):
        kind = {"seconds": float, "size": float}.get(field.name, int)
        name = f"--max-{field.name.replace('_', '-')}"
        parser.add_argument(name, type=kind, default=field.default, help=f"at most so many {_LIMITS[field.name]}")
    return parser


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, made here so that a taken port is one line and port 0 is known before anything is printed."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen at {host}:{port} ({error}); choose another --port or --host") from error
