"""``python -m vgf.results``: run experiments of the registry, record what came out, write the page.

run NAME ...     what is missing of them, one run after another; the same command goes on
state            what is done of every experiment in the folder
record NAME ...  read the finished runs' numbers into ``results/NAME.yaml``, and copy their figures
page             write ``docs/results.md`` from the registry, and the figures that are drawn from its numbers
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from vgf.arguments import Arguments
from vgf.complaints import one_line_errors
from vgf.errors import UserError
from vgf.interrupt import raise_on_sigterm
from vgf.results.page import write_page
from vgf.results.record import record
from vgf.results.registry import names, read
from vgf.results.runner import run_missing, running_arguments, state

__all__ = ["main"]


def main(arguments: Sequence[str]) -> None:
    """Do what the arguments say.

    Raises:
        UserError: unknown arguments, or whatever an experiment complains about.
    """
    parser = Arguments("python -m vgf.results", "Run, record and show the experiments of the registry.")
    parser.add_argument("command", choices=("run", "state", "record", "page"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="of run and record; 'vgf verify' lists them")
    running_arguments(parser)
    parser.add_argument(
        "--docs", type=Path, default=Path("docs"), metavar="DIR", help="of page and record: where pages and figures go"
    )
    parser.add_argument("--only", action="append", default=[], metavar="KEY=VALUE", help="of run: some of the grid")
    given = parser.parse_args(list(arguments))
    if given.command in ("run", "record") and not given.names:
        raise UserError(f"{given.command}: name an experiment; 'vgf verify' lists them")
    if given.command == "page":
        print("\n".join(write_page(given.docs)))
    elif given.command == "state":
        print("\n".join(state([read(name) for name in names()], given.root)))
    elif given.command == "record":
        for name in given.names:
            print(record(name, given.root, given.docs))
    else:
        for name in given.names:
            run_missing(
                read, name, given.root, pilot=given.pilot, limit_minutes=given.limit_minutes, only=_pairs(given.only)
            )


def _pairs(words: Sequence[str]) -> dict[str, str]:
    if wrong := [word for word in words if "=" not in word]:
        raise UserError(f"--only {wrong[0]}: write KEY=VALUE, such as --only task=2")
    return dict(word.split("=", 1) for word in words)


if __name__ == "__main__":
    raise_on_sigterm()
    with one_line_errors():
        main(sys.argv[1:])
