"""The application: a run's service, its errors, and what starts and stops with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import torch
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from vgf.errors import UserError
from vgf.language.adapters import adapter_facts, adapter_path
from vgf.language.policy import TextPolicy
from vgf.loading import load
from vgf.rundir import read_config
from vgf.serve.control import ControlService
from vgf.serve.http import ApiError, error_body, json_response, refusal
from vgf.serve.limits import Limits
from vgf.serve.text import TextService

__all__ = ["application", "make_app"]


def make_app(
    run_dir: Path,
    *,
    limits: Limits | None = None,
    window: float = 0.004,
    name: str | None = None,
    device: str | torch.device = "cpu",
    trust: bool = False,
    adapter: bool = True,
) -> FastAPI:
    """The application that serves a run.

    Args:
        run_dir: of a finished run.
        limits: on requests.
        window: seconds that a request waits for company.
        name: of the model, for OpenAI's clients; None: the directory's.
        device: where the networks live.
        trust: whether a reward ``module:function`` that the run names may be imported, as in :func:`vgf.load`.
        adapter: whether a language run's adapter is part of the model, as there.

    Raises:
        UserError: the directory is no run, or a part of it is missing or damaged.
    """
    policy = load(run_dir, device=device, trust=trust, adapter=adapter)
    config, limits = read_config(run_dir), limits or Limits()
    service: TextService | ControlService
    if isinstance(policy, TextPolicy):
        facts = adapter_facts(adapter_path(run_dir)) if adapter else None
        trained_by = None if facts is None else str(facts["settings"]["trainer"])
        service = TextService(policy, config, limits, window, name or run_dir.resolve().name, adapter=trained_by)
    else:
        service = ControlService(policy, config, limits, window)
    return application(service)


def application(service: TextService | ControlService) -> FastAPI:
    """The application of a service: its addresses, /info, and every error as JSON."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        await service.batcher.stop()

    async def info() -> Response:
        return json_response(service.info())

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(service.router)
    app.add_api_route("/info", info, methods=["GET"])
    for kind in (ApiError, UserError, TimeoutError, Exception):
        app.add_exception_handler(kind, refusal)
    app.add_exception_handler(HTTPException, _not_here)
    return app


async def _not_here(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = f"{request.method} {request.url.path[:100]}: {str(error.detail).lower()}; GET /info says what is served here"
    return json_response(error_body(ApiError(error.status_code, said)), error.status_code)
