"""Calls the command line in this process."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
from unittest import mock

from hydra.core.global_hydra import GlobalHydra

import vgf.run

__all__ = ["ONE_EPISODE", "run_main"]

# Of a run whose scores nobody reads: an episode of the maze is a thousand decisions.
ONE_EPISODE = ["eval.episodes=1", "eval.environments=1", "eval.baselines=[]", "eval.budgets=[0]", "budget.size=0"]


def run_main(arguments: list[str]) -> tuple[int, str]:
    """Exit status and everything printed; the last line of a failure is what a person reads."""
    GlobalHydra.instance().clear()
    text, before = io.StringIO(), signal.getsignal(signal.SIGTERM)
    with (
        contextlib.redirect_stdout(text),
        contextlib.redirect_stderr(text),
        mock.patch.object(sys, "argv", ["vgf", *arguments]),
    ):
        try:
            vgf.run.main()
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        finally:
            signal.signal(signal.SIGTERM, before)
    return status, text.getvalue().strip()
