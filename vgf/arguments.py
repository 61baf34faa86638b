"""Arguments of the subcommands (``vgf serve RUN --port 8000``): argparse, whose complaints are one line as well."""

from __future__ import annotations

import argparse
from typing import NoReturn

from vgf.errors import UserError

__all__ = ["Arguments", "positive"]


class Arguments(argparse.ArgumentParser):
    """A parser that raises instead of printing its usage.

    Raises:
        UserError: on arguments that are missing, unknown or of the wrong kind.
    """

    def __init__(self, program: str, description: str) -> None:
        super().__init__(program, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see '{self.prog} --help'")


def positive(text: str) -> int:
    """The ``type`` of an argument that counts something: 1, 2, ..."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
