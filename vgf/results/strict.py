"""Plain data from a YAML into dataclasses; what does not fit is one line that names the file, the key and its type."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from vgf.errors import UserError, did_you_mean

__all__ = ["into"]

Made = TypeVar("Made")


def into(kind: type[Made], data: Any, at: str) -> Made:
    """A dataclass from a mapping of its fields.

    Args:
        kind: the dataclass; its fields may be dataclasses, lists and dictionaries in turn.
        data: as a YAML reader gives it.
        at: file and place, as an error names them.

    Raises:
        UserError: an unknown or missing key, or a value of another type.
    """
    if not isinstance(data, Mapping):
        raise UserError(f"{at} must be keys with values, not {_shown(data)}")
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    for key in data:
        if key not in known:
            raise UserError(f"{at}: {key!r} is not a key here.{did_you_mean(str(key), known)}")
    for name, f in known.items():
        if name not in data and f.default is MISSING and f.default_factory is MISSING:
            raise UserError(f"{at}: {name!r} is missing")
    return kind(**{key: _fitting(hints[key], value, f"{at}: {key}") for key, value in data.items()})


def _fitting(kind: Any, value: Any, at: str) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _any_of(parts, value, at)
    if isinstance(kind, type) and is_dataclass(kind):
        return into(kind, value, at)
    if origin is list:
        _require(list, value, at, "a list")
        return [_fitting(parts[0], one, f"{at}[{number}]") for number, one in enumerate(value)]
    if origin is dict:
        _require(dict, value, at, "keys with values")
        return {str(key): _fitting(parts[1], one, f"{at}.{key}") for key, one in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    _require(kind, value, at, {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"})
    return value


def _any_of(parts: tuple[Any, ...], value: Any, at: str) -> Any:
    if value is None and type(None) in parts:
        return None
    for part in parts:
        if isinstance(part, type) and is_dataclass(part):
            return into(part, value, at)
    if any(isinstance(value, part) and not isinstance(value, bool) for part in parts):
        return value
    return _fitting(next(part for part in parts if part is not type(None)), value, at)


def _require(kind: type, value: Any, at: str, called: str | Mapping[str, str]) -> None:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        name = called if isinstance(called, str) else called[kind.__name__]
        raise UserError(f"{at} must be {name}, not {_shown(value)}")


def _shown(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
