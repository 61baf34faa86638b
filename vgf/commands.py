"""Subcommands of ``vgf``: one line each. Everything else on the command line (``task=...``) is a run's configuration.

A command's module has ``run(arguments)``: it prints, and raises :class:`vgf.errors.UserError` for what the person
can put right. :class:`Parser` reads its arguments.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

from vgf.arguments import Arguments
from vgf.errors import UserError, did_you_mean

__all__ = ["COMMANDS", "Command", "Parser", "dispatch"]


@dataclass(frozen=True)
class Command:
    """Where a subcommand lives, what it takes, and what it does, in a line each."""

    module: str
    takes: str
    does: str


COMMANDS = {
    "explain": Command("vgf.terminal.explain", "NAME ...", "what a key, a group of keys, a method, a preset is"),
    "doctor": Command("vgf.terminal.doctor", "", "versions, devices, rendering, memory, disk, hubs, compiler"),
    "compare": Command("vgf.report.compare", "RUN RUN ...", "several runs in one figure and page, with intervals"),
    "collect": Command("vgf.report.collect", "DIR", "all runs under a folder in one table: IQM, intervals"),
    "verify": Command("vgf.results.verify", "[NAME]", "run a recorded experiment again: is it inside its intervals?"),
    "serve": Command("vgf.serve.command", "RUN", "a run behind HTTP: OpenAI's completions for text, /act for control"),
    "push": Command("vgf.share.push", "RUN OWNER/NAME", "a finished run to the Hugging Face Hub, with a model card"),
    "pull": Command("vgf.share.pull", "OWNER/NAME [DIR]", "a run from the Hugging Face Hub"),
    "completion": Command(
        "vgf.terminal.completion", "bash|zsh|fish", "print a script that completes commands and keys"
    ),
}
_HELP = Command("vgf.terminal.help", "", "this page")
_MODULES = ("export", "data", "results", "bench")  # that read arguments of their own


def dispatch(arguments: Sequence[str]) -> bool:
    """Run the subcommand that the arguments name; False when they name none.

    Raises:
        UserError: a word that is no command, and whatever the command complains about.
    """
    name = arguments[0] if arguments else ""
    command = _HELP if name in ("help", "-h", "--help") else COMMANDS.get(name)
    if command is None and not name.isalpha():
        return False
    if command is None:
        raise UserError(
            f"{name!r} is no command; write key=value or one of {', '.join(COMMANDS)}; "
            f"{', '.join(_MODULES)} are started as python -m vgf.NAME.{did_you_mean(name, COMMANDS)}"
        )
    importlib.import_module(command.module).run(list(arguments[1:]))
    return True


class Parser(Arguments):
    """Reads a subcommand's arguments."""

    def __init__(self, name: str) -> None:
        command = COMMANDS[name]
        super().__init__(f"vgf {name}", f"{command.does[0].upper()}{command.does[1:]}.")
