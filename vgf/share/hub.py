"""The Hugging Face Hub: asked once whether it is there, and its refusals in one line."""

from __future__ import annotations

import os
import queue
import re
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vgf.errors import UserError
from vgf.language.hub import ANSWER_SECONDS, extra, first_line

__all__ = ["hub_api", "one_line_refusals", "require_name"]

_INSTALL = "pip install huggingface_hub"
_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def require_name(repo: str) -> None:
    """UserError unless ``repo`` is OWNER/NAME."""
    if not _NAME.fullmatch(repo) or ".." in repo:
        raise UserError(f"{repo!r} is no repository; write OWNER/NAME")


def hub_api() -> Any:
    """The hub's client, once the hub (``HF_ENDPOINT``, if it is set) has answered at all.

    Raises:
        UserError: no network, ``HF_HUB_OFFLINE`` is set, or the library is not installed.
    """
    hub, constants = extra("huggingface_hub", _INSTALL), extra("huggingface_hub.constants", _INSTALL)
    endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
    if constants.HF_HUB_OFFLINE:
        raise UserError("HF_HUB_OFFLINE is set; unset it to reach the hub, or give --dry-run DIR to push")
    if reason := _silence(endpoint):
        raise UserError(f"{endpoint} cannot be reached ({reason}); vgf push --dry-run DIR writes the folder without it")
    if not sys.stderr.isatty():
        hub.utils.disable_progress_bars()
    return hub.HfApi(endpoint=endpoint, library_name="vgf")


def _silence(endpoint: str) -> str | None:
    """Why the hub does not answer; None if it does. A look-up of its name alone can take longer than the time given."""
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            urllib.request.urlopen(endpoint, timeout=ANSWER_SECONDS).close()
            answers.put(None)
        except urllib.error.HTTPError:  # an answer
            answers.put(None)
        except (OSError, ValueError) as error:
            answers.put(first_line(error))

    threading.Thread(target=ask, daemon=True, name="hub").start()
    try:
        return answers.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        return f"no answer within {ANSWER_SECONDS:g} s"


@contextmanager
def one_line_refusals(repo: str) -> Iterator[None]:
    """Turn what the hub's client raises into a UserError of one line."""
    errors: Any = extra("huggingface_hub.errors", _INSTALL)
    try:
        yield
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"the hub has no {repo}, or it is private; 'hf auth login' or HF_TOKEN says who you are"
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        advice = "; 'hf auth login' or HF_TOKEN says who you are" if status in (401, 403) else ""
        raise UserError(f"the hub refuses {repo} ({first_line(error)}){advice}") from error
    except OSError as error:
        raise UserError(f"{repo}: the connection to the hub broke ({first_line(error)}); try again") from error
