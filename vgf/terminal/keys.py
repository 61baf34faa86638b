"""Every key of the configuration with its type, default and meaning, read from the structured configs.

The meaning of a key is the comment behind its field in the source, and the meaning of a group is its class's docstring:
what a reader of ``vgf/config.py`` sees and what the terminal tells are the same text.
"""

from __future__ import annotations

import ast
import functools
import inspect
import io
import re
import textwrap
import tokenize
import types
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from importlib import resources
from typing import Any, Union, get_args, get_origin, get_type_hints

from vgf.check import CHOICES, RANGES
from vgf.complaints import group_options
from vgf.config import Config

__all__ = ["GROUPS", "Key", "config_groups", "keys", "option_meaning", "option_text", "valid_values"]

GROUPS = ("task", "method", "preset", "trainer", "budget")  # a name that each takes is a file of configs/GROUP/


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        name: dotted, as on the command line.
        kind: its type, in words.
        default: as it is written on the command line.
        meaning: one line.
        group: the dotted name of the group it is in, empty at the top level.
        like: the group of the same class that came before, whose keys mean the same; None for the first of its kind.
    """

    name: str
    kind: str
    default: str
    meaning: str
    group: str
    like: str | None = None


@functools.cache
def keys() -> tuple[Key, ...]:
    """All keys, top level first, each group where its field stands."""
    found = list(_keys_of(Config, Config(), "", {}))
    return tuple(sorted(found, key=lambda key: key.group != ""))  # sorting is stable


@functools.cache
def config_groups() -> dict[str, str]:
    """Dotted name of every group of keys -> what it is about."""
    return dict(_groups_of(Config, ""))


def _keys_of(schema: Any, defaults: Any, group: str, seen: dict[type, str]) -> Iterator[Key]:
    hints, told = get_type_hints(schema), _comments(schema)
    like = seen.setdefault(schema, group)
    for f in fields(schema):
        nested = _nested(hints[f.name])
        name = f"{group}.{f.name}" if group else f.name
        value = getattr(defaults, f.name) if defaults is not None else _default(f)
        if nested is None:
            same = like if like != group else None
            yield Key(name, _kind(hints[f.name]), _shown(value, f), told.get(f.name, ""), group, same)
        else:
            yield from _keys_of(nested, value, name, seen)


def _groups_of(schema: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for name, hint in get_type_hints(schema).items():
        if (nested := _nested(hint)) is not None:
            full = f"{prefix}{name}"
            yield full, _comments(schema).get(name) or inspect.cleandoc(nested.__doc__ or "").splitlines()[0]
            yield from _groups_of(nested, f"{full}.")


def _nested(hint: Any) -> Any:
    """The dataclass of a group's hint, also of an optional group; None for a plain key."""
    return next((kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)), None)


def _default(f: Field[Any]) -> Any:
    return f.default_factory() if f.default_factory is not MISSING else f.default


def _kind(hint: Any) -> str:
    """``int``, ``float or null``, ``list of float``."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join("null" if part is types.NoneType else _kind(part) for part in get_args(hint))
    inner = get_args(hint)
    if get_origin(hint) is list:
        return f"list of {_kind(inner[0])}"
    if get_origin(hint) is dict:
        return f"{_kind(inner[0])}: {_kind(inner[1])}"
    return "anything" if hint is Any else str(hint.__name__)


def _shown(value: Any, f: Field[Any]) -> str:
    """A default as it would be written on the command line."""
    if f.name == "processes":  # differs from machine to machine
        return "one a core"
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


@functools.cache
def _comments(schema: Any) -> dict[str, str]:
    """Field name -> the comment on the lines of its definition; inherited ones included."""
    told: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        if not is_dataclass(base):
            continue
        try:
            source = textwrap.dedent(inspect.getsource(base))  # type: ignore[arg-type]
        except OSError:  # installed without sources: names, types and defaults are still there
            continue
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        by_line = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
        body = ast.parse(source).body[0]
        assert isinstance(body, ast.ClassDef)
        for node in body.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                told[node.target.id] = " ".join(by_line[line] for line in lines if line in by_line)
    return told


def valid_values(name: str) -> str:
    """What a key may be set to, in words, where that is checked; empty otherwise."""
    if name in GROUPS and name != "budget":
        shown = dict.fromkeys(f"{o.split('/')[0]}/*" if "/" in o else o for o in group_options(name))
        return f"one of {', '.join(shown)}"
    if name in CHOICES:
        return f"one of {', '.join(CHOICES[name])}"
    if name in RANGES:
        low, high = RANGES[name]
        return f"at least {low:g}" if high is None else f"between {low:g} and {high:g}"
    return ""


def option_meaning(group: str, name: str) -> str:
    """The comment at the head of ``configs/GROUP/NAME.yaml``, as one line; empty when it has none."""
    head = re.match(r"(?:#.*\n)*", option_text(group, name))
    lines = [line.lstrip("# ").strip() for line in head[0].splitlines()] if head else []
    return " ".join(line for line in lines if line and not line.startswith("@package"))


def option_text(group: str, name: str) -> str:
    """The file ``configs/GROUP/NAME.yaml``."""
    return (resources.files("vgf.configs") / group / f"{name}.yaml").read_text(encoding="utf-8")
