"""The packages of the ``llm`` extra and the Hugging Face hub: there or not, said in one line and within seconds.

The hub's own libraries ask a silent network five times, with pauses, which takes half a minute for each file. Here
the hub is asked once, in a thread that is left behind when it takes too long (a name look-up alone can).
"""

from __future__ import annotations

import importlib
import queue
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Literal

from vgf.errors import UserError

__all__ = [
    "ANSWER_SECONDS", "EXTRA", "SAFE", "UNREADABLE", "extra", "first_line", "hub_offline", "hub_refusal", "quietly",
]  # fmt: skip

ANSWER_SECONDS = 5.0
EXTRA = 'pip install -c constraints.txt -e ".[llm]"'
# How files are read that are here already: the network is not asked, and no code of theirs is run.
SAFE = {"local_files_only": True, "trust_remote_code": False}
# What the Hugging Face libraries raise about files they cannot make sense of.
UNREADABLE = (OSError, ValueError, KeyError, IndexError, AttributeError, RuntimeError)


def extra(module: str, install: str = EXTRA) -> ModuleType:
    """Import a module that the ``llm`` extra installs.

    Raises:
        UserError: it, or something it needs, is not installed; the message has the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module
        raise UserError(f"{missing.split('.')[0]} is not installed and is needed here: {install}") from error


def hub_refusal(kind: Literal["model", "dataset"], name: str) -> str | None:
    """Ask the hub once whether it has ``name``: None if so, else the reason why not, in a few words."""
    hub, constants, errors = (extra(f"huggingface_hub{part}") for part in ("", ".constants", ".errors"))
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    answers: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            getattr(hub.HfApi(), f"{kind}_info")(name, timeout=ANSWER_SECONDS)
            answers.put(None)
        except Exception as error:  # whatever the network does, it is a reason to look elsewhere
            answers.put(error)

    threading.Thread(target=ask, daemon=True, name="hub").start()
    try:
        error = answers.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        return f"{constants.ENDPOINT} gave no answer within {ANSWER_SECONDS:g} s"
    if error is None:
        return None
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{constants.ENDPOINT} has no {kind} of this name (if it is private, set HF_TOKEN)"
    return f"{constants.ENDPOINT} cannot be reached ({first_line(error)})"


@contextmanager
def hub_offline() -> Iterator[None]:
    """Within the block the hub's libraries answer from their local caches alone, as with HF_HUB_OFFLINE=1."""
    settings: list[Any] = [extra("huggingface_hub.constants"), extra("datasets.config")]
    before = [module.HF_HUB_OFFLINE for module in settings]
    try:
        for module in settings:
            module.HF_HUB_OFFLINE = True
        yield
    finally:
        for module, value in zip(settings, before, strict=True):
            module.HF_HUB_OFFLINE = value


@contextmanager
def quietly() -> Iterator[None]:
    """Within the block transformers and datasets say nothing but errors, and draw no bars: vgf's are enough."""
    said, sets = extra("transformers.utils.logging"), extra("datasets")
    level, bars, bars_of_sets = said.get_verbosity(), said.is_progress_bar_enabled(), sets.are_progress_bars_disabled()
    said.set_verbosity_error()
    said.disable_progress_bar()
    sets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        said.set_verbosity(level)
        if bars:
            said.enable_progress_bar()
        if not bars_of_sets:
            sets.enable_progress_bars()


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".") if lines else type(error).__name__
