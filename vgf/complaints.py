"""Turns what Hydra and OmegaConf raise about a command line into one line a person can act on."""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import resources
from typing import Any, get_args, get_type_hints

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from vgf.config import Config
from vgf.errors import UserError, did_you_mean
from vgf.interrupt import ended_by_signal

__all__ = ["config_keys", "group_options", "one_line", "one_line_errors", "told_errors"]

_UNREAD = 141  # 128 + SIGPIPE
# Hydra's plugins, which the launchers here build on -> the extra that installs them
_LAUNCHERS = {"joblib": "sweep", "submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with one line on stderr: status 2 for a user's mistake, 130 for Ctrl-C, 143 for SIGTERM.

    Where nobody reads on (``vgf compare ... | head``) it ends without a word, with a shell's status for that, 141.
    """
    with ended_by_signal():
        try:
            yield
            sys.stdout.flush()
        except BrokenPipeError:
            if not _nobody_reads():  # another pipe, such as a worker's
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter fails again as it ends
            sys.exit(_UNREAD)
        except Exception as error:
            line = one_line(error)
            if line is None:
                raise
            print(f"vgf: {line}", file=sys.stderr)
            sys.exit(2)


@contextlib.contextmanager
def told_errors() -> Iterator[None]:
    """Say a user's mistake in one line and pass it on, for whoever counts failures and goes on with the next job."""
    try:
        yield
    except Exception as error:
        if line := one_line(error):
            print(f"vgf: {line}", file=sys.stderr)
        raise


def _nobody_reads() -> bool:
    """Whether standard output is a pipe whose reader has gone."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError):  # Windows has no poll, and a stream in memory no number
        return False


def one_line(error: BaseException) -> str | None:
    """Describe a user's mistake in one line, or return None when the error is not the user's."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if isinstance(error, MissingConfigException):
        return _missing_group_option(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _bad_override(error)
    if isinstance(error, MemoryError | torch_out_of_memory()) or _allocation_failed(error):
        details = " ".join(str(error).split())[:200] or "no details"
        return f"out of memory ({details}); lower train.batch_size or data.transitions"
    return None


def _allocation_failed(error: BaseException) -> bool:
    """On a CPU torch has no type of its own for it."""
    said = ("can't allocate memory", "not enough memory", "Storage size calculation overflowed", "size is too large")
    return isinstance(error, RuntimeError) and any(words in str(error) for words in said)


def torch_out_of_memory() -> type[BaseException]:
    """torch's own out-of-memory error."""
    import torch

    return torch.OutOfMemoryError


def config_keys(schema: type = Config, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every dotted key of the configuration with the name of its type, groups before their keys."""
    hints = get_type_hints(schema)
    for f in fields(schema):
        kind = hints[f.name]
        yield f"{prefix}{f.name}", getattr(kind, "__name__", str(kind)) if not hasattr(kind, "__args__") else str(kind)
        for group in filter(is_dataclass, (kind, *get_args(kind))):  # one that may be null is a union
            yield from config_keys(group, f"{prefix}{f.name}.")  # type: ignore[arg-type]


def _missing_group_option(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file or "").partition("/")
    if name.startswith("launcher/"):
        group, name = "hydra/launcher", name.removeprefix("launcher/")
        if name in _LAUNCHERS:
            return f"this launcher is a package of its own; install it: pip install 'vgf[{_LAUNCHERS[name]}]'"
    options = group_options(group)
    if not options:
        return str(error).splitlines()[0]
    shown = dict.fromkeys(f"{o.split('/')[0]}/*" if "/" in o else o for o in options)
    return f"{group}={name} is unknown; use one of {', '.join(shown)}.{did_you_mean(name, options)}"


def group_options(group: str) -> list[str]:
    """Names that ``group=NAME`` takes, those in folders as ``folder/name``; what they have in common is no name."""
    folder = resources.files("vgf.configs") / group
    if not folder.is_dir():
        return []
    names = []
    for entry in sorted(folder.iterdir(), key=lambda entry: (entry.is_dir(), entry.name)):
        if entry.is_dir() and not entry.name.startswith("_"):
            names += [f"{entry.name}/{f.name}" for f in sorted(entry.iterdir(), key=lambda f: f.name)]
        else:
            names.append(entry.name)
    return [name.removesuffix(".yaml") for name in names if name.endswith(".yaml") and not name.endswith("/base.yaml")]


def _bad_override(error: BaseException) -> str:
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    cause = chain[-1]
    keys = dict(config_keys())
    key = (_full_key(cause) or _full_key(error) or "").split("[")[0]
    if isinstance(cause, ConfigKeyError) or (key and key not in keys):
        wrong = _overridden(chain) or key or "?"
        return f"{wrong!r} is not a configuration key.{_nearest_key(wrong, keys)}"
    first = str(cause).strip().splitlines()[0]
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} cannot be read; write key=value, lists as key=[a,b] without spaces"
    if inside := [name for name in keys if name.startswith(f"{key}.")]:
        return f"{key} is a group of keys; set one of them, such as {inside[0]}=... (vgf explain {key} lists them)"
    if key:
        said = "it cannot be null" if "is not Optional" in first else f"{first[0].lower()}{first[1:]}"
        return f"{key}: {said} ({key} is of type {keys[key]})"
    return first


def _overridden(chain: list[Any]) -> str | None:
    for error in chain:
        if match := re.search(r"Could not override '([^']+)'", str(error)):
            return match[1]
        if match := re.search(r"Could not append to config.*?'([^']+)'", str(error)):
            return match[1]
    return None


def _full_key(error: Any) -> str | None:
    key = getattr(error, "full_key", None)
    if key:
        return str(key)
    match = re.search(r"full_key: (\S+)", str(error))
    return match[1] if match else None


def _nearest_key(wrong: str, keys: dict[str, str]) -> str:
    """Near names among full keys; failing that, keys whose last part is near."""
    if hint := did_you_mean(wrong, keys):
        return hint
    last = wrong.split(".")[-1]
    ends = {k.split(".")[-1]: k for k in keys}
    near = did_you_mean(last, ends)
    for end, full in ends.items():
        near = near.replace(f"'{end}'", f"'{full}'")
    return near
