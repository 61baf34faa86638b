"""``vgf --help``: commands, tasks, methods, presets, trainers, and every key with type, default and meaning."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from vgf.commands import COMMANDS
from vgf.complaints import group_options
from vgf.terminal.keys import Key, config_groups, keys, option_meaning

__all__ = ["columns", "help_text", "run"]

_USAGE = """usage: vgf KEY=VALUE ...          a run; with no keys, the default one (python -m vgf.run is the same)
       vgf -m KEY=VALUE,VALUE ... several runs, one for each combination
       vgf COMMAND ...
"""
_AFTER = (
    "Lists are written KEY=[a,b]. 'vgf explain NAME' says more about a key, a group, a method or a preset, with the "
    "paper it is from. Hydra's own options (--cfg job, --multirun, --info) work too: --hydra-help."
)
_NARROWEST = 60


def run(arguments: Sequence[str]) -> None:
    """Print the page."""
    del arguments
    print(help_text(_width()), end="")


def _width() -> int:
    return max(_NARROWEST, shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 120)


def help_text(width: int) -> str:
    """The page, wrapped to a number of characters."""
    parts = [_USAGE, _section("commands", ((f"{n} {c.takes}".strip(), c.does) for n, c in COMMANDS.items()), width)]
    for group in ("task", "trainer", "method"):
        told = ((name, option_meaning(group, name)) for name in group_options(group))
        parts.append(_section(f"{group}=", told, width))
    parts.append(_section("preset=", _presets(), width))
    parts += [_section(title, rows, width) for title, rows in _key_sections()]
    return "\n".join([*parts, textwrap.fill(_AFTER, width) + "\n"])


def _presets() -> Iterator[tuple[str, str]]:
    """Single presets with their meaning; those of a paper on one line, by domain."""
    families: dict[str, list[str]] = {}
    for name in group_options("preset"):
        family, slash, domain = name.partition("/")
        if slash:
            families.setdefault(family, []).append(domain)
        else:
            yield name, option_meaning("preset", name)
    for family, domains in families.items():
        yield f"{family}/...", ", ".join(domains)


def _key_sections() -> Iterator[tuple[str, Iterator[tuple[str, str]]]]:
    about = config_groups()
    for group in dict.fromkeys(key.group for key in keys()):
        found = [key for key in keys() if key.group == group]
        title = f"{group}: {about[group]}" if group else "keys"
        if like := found[0].like:
            changed = [key for key in found if key.default != _same_in(key, like).default]
            yield f"{title} (keys as in {like}; other defaults below)", map(_row, changed)
        else:
            yield title, map(_row, found)


def _same_in(key: Key, group: str) -> Key:
    return next(other for other in keys() if other.name == f"{group}.{key.name.rsplit('.', 1)[-1]}")


def _row(key: Key) -> tuple[str, str]:
    return f"{key.name}={key.default}", f"{key.kind}; {key.meaning}"


def _section(title: str, rows: Iterable[tuple[str, str]], width: int) -> str:
    return f"{title}\n{columns(rows, width)}"


def columns(rows: Iterable[tuple[str, str]], width: int) -> str:
    """Two columns of text: short names at the left, the meaning beside them or, of a long name, below."""
    at = 34
    lines = []
    for name, meaning in rows:
        wrapped = textwrap.wrap(meaning, max(width - at, 24), break_on_hyphens=False) or [""]
        first = f"  {name}"
        if len(first) >= at:
            lines.append(first)
            first = ""
        lines.append(f"{first:<{at}}{wrapped[0]}".rstrip())
        lines += [" " * at + line for line in wrapped[1:]]
    return "\n".join(lines) + "\n"
