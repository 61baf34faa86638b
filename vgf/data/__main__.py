"""Look at data before training on them.

    python -m vgf.data check PATH [--columns a=b ...]     what is in it, and what is odd about it
    python -m vgf.data info PATH [--out FILE.png]         the same summary, and histograms as a figure

PATH is a file, a folder or a Minari id, see :func:`vgf.data.formats.read_recording`. Exit status: 0, 1 when ``check``
found something serious, 2 when the data cannot be read (one line on stderr).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vgf.data.formats import read_recording
from vgf.data.validate import inspect, summary
from vgf.errors import UserError
from vgf.files import atomic_path

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    given = _parser().parse_args(arguments)
    try:
        return int(given.run(given))
    except UserError as error:
        print(f"vgf.data: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("vgf.data: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vgf.data", description="Look at data before training on them.")
    commands = parser.add_subparsers(required=True, metavar="check|info")
    for name, run, text in (
        ("check", _check, "print what a data set holds and what is odd about it"),
        ("info", _info, "print a summary and draw histograms of returns, lengths and actions"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("path", help="file (.npz, .hdf5, .parquet, ...), folder or Minari id")
        command.add_argument(
            "--columns", nargs="+", default=[], metavar="NAME=KEY",
            help="for columns called otherwise: standard name = name in the file, such as observations=state",
        )  # fmt: skip
        command.set_defaults(run=run)
        if name == "info":
            command.add_argument("--out", type=Path, help="the figure; default: PATH's name + .png, in this folder")
    return parser


def _check(given: argparse.Namespace) -> int:
    recording = read_recording(given.path, _columns(given.columns), finite=False)
    findings = inspect(recording)
    print(summary(recording))
    print()
    for finding in findings:
        print(f"{'WRONG' if finding.serious else 'note '}  {finding.text}")
    wrong = sum(finding.serious for finding in findings)
    print(f"{wrong} serious, {len(findings) - wrong} to note" if findings else "nothing odd was found")
    return int(wrong > 0)


def _info(given: argparse.Namespace) -> int:
    from vgf.data.histograms import MOST_ACTIONS, draw_histograms

    if given.out and given.out.suffix.lower() != ".png":
        raise UserError(f"--out {given.out}: the figure is a PNG file; give it a name that ends in .png")
    recording = read_recording(given.path, _columns(given.columns), finite=False)
    name = Path(given.path).resolve().name if Path(given.path).exists() else given.path.replace("/", "-")
    target = given.out or Path(f"{name}.png")
    with atomic_path(target) as path:
        counts = f"{len(recording):,} transitions, {len(recording.lengths):,} episodes"
        draw_histograms(recording, path, title=f"{name}: {counts}")
    print(summary(recording))
    left = recording.actions.shape[1] - MOST_ACTIONS
    print(f"figure: {target}" + (f" (without the last {left} action dimensions)" if left > 0 else ""))
    return 0


def _columns(pairs: Sequence[str]) -> dict[str, str]:
    for pair in pairs:
        if not all(pair.partition("=")):
            raise UserError(f"--columns {pair}: write NAME=KEY, such as observations=state")
    return dict(pair.split("=", 1) for pair in pairs)


if __name__ == "__main__":
    sys.exit(main())
