"""The registry: finds, reads and writes ``results/NAME.yaml`` (installed as ``vgf.registry``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from vgf.errors import UserError, did_you_mean
from vgf.files import atomic_write_text
from vgf.results.experiment import Expected, Experiment
from vgf.results.strict import into

__all__ = ["STATUSES", "experiments", "folder", "names", "path_of", "read", "read_file", "write_expected"]

STATUSES = ("run", "partly run", "not run")


def folder() -> Path:
    """Where the files are."""
    return Path(str(resources.files("vgf.registry")))


def path_of(name: str) -> Path:
    """The file of an experiment, whether it exists or not."""
    return folder() / f"{name}.yaml"


def names() -> list[str]:
    """All experiments, sorted."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


def experiments() -> list[Experiment]:
    """All experiments, in the order of their ``order`` and names."""
    return sorted((read(name) for name in names()), key=lambda experiment: (experiment.order, experiment.name))


def read(name: str) -> Experiment:
    """One experiment.

    Raises:
        UserError: there is none of that name, or its file is broken.
    """
    known = names()
    if name not in known:
        raise UserError(f"no experiment is called {name!r}; 'vgf verify' lists them.{did_you_mean(name, known)}")
    return read_file(path_of(name))


def read_file(path: Path) -> Experiment:
    """One experiment from its file, whose name is the experiment's.

    Raises:
        UserError: it cannot be read, or does not fit :class:`Experiment`.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    experiment = into(Experiment, data, path.name)
    if experiment.name != path.stem:
        raise UserError(f"{path.name}: name={experiment.name!r} must be the file's, {path.stem!r}")
    if experiment.status not in STATUSES:
        hint = did_you_mean(experiment.status, STATUSES)
        raise UserError(f"{path.name}: status={experiment.status!r} must be one of {', '.join(STATUSES)}.{hint}")
    return experiment


def write_expected(path: Path, expected: Expected, status: str) -> None:
    """Replace ``status`` and ``expected`` in a file, and leave every other line as it is."""
    fresh = {
        "expected": {key: value for key, value in dataclasses.asdict(expected).items() if value not in (None, {}, [])}
    }
    lines = path.read_text().splitlines()
    kept = _without(_replaced(lines, "status", f"status: {status}"), "expected")
    while kept and not kept[-1].strip():
        kept.pop()
    atomic_write_text(path, "\n".join([*kept, _text(fresh)]))


def _replaced(lines: Sequence[str], key: str, line: str) -> list[str]:
    return [line if old.startswith(f"{key}:") else old for old in lines]


def _without(lines: Sequence[str], key: str) -> list[str]:
    """The lines without a key of the top level and what is indented below it."""
    kept, inside = [], False
    for line in lines:
        if line and not line[0].isspace():
            inside = line.startswith(f"{key}:")
        if not inside:
            kept.append(line)
    return kept


def _text(data: Any) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


class _Dumper(yaml.SafeDumper):
    """Lists in one line."""


_Dumper.add_representer(list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, True))
