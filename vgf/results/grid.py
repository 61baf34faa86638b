"""From templates to commands: every combination of a grid is one run."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vgf.errors import UserError, did_you_mean
from vgf.results.experiment import Against, Cell, Experiment, Measure

__all__ = ["CHOSEN", "PROGRAM", "OneRun", "combinations", "filled", "measures_of", "runs_of"]

PROGRAM = ("python", "-m", "vgf.run")
CHOSEN = "chosen"  # {chosen} in a command: the pilot's budgets


@dataclass(frozen=True)
class OneRun:
    """A run of an experiment.

    Attributes:
        template: name of its template.
        params: grid key -> value.
        arguments: of ``python -m vgf.run``.
        folder: its run directory, relative to the experiment's folder.
        copy: ``EXPERIMENT/FOLDER`` to start from.
        pilot: whether it only serves to choose budgets.
    """

    template: str
    params: Mapping[str, Cell]
    arguments: tuple[str, ...]
    folder: str
    copy: str | None
    pilot: bool

    @property
    def origin(self) -> str | None:
        """The run directory of the same experiment that it starts from, where it names one."""
        if self.copy is not None:
            return self.copy.removeprefix("./") if self.copy.startswith("./") else None
        return next((word.removeprefix("init=") for word in self.arguments if word.startswith("init=")), None)

    @property
    def command(self) -> str:
        """As it is typed in the experiment's folder."""
        return shlex.join([*PROGRAM, *self.arguments])


def runs_of(experiment: Experiment, chosen: Mapping[str, float] | None = None) -> list[OneRun]:
    """All runs in the order of the file, pilots as well.

    Args:
        chosen: method -> budget for ``{chosen}``; None leaves it standing.

    Raises:
        UserError: a command that is no run's, or a ``{key}`` that the grid does not have.
    """
    points = ",".join(f"{method}@{budget:g}" for method, budget in (chosen or {}).items())
    made = []
    for template in experiment.runs:
        at = f"{experiment.name}.yaml, runs {template.name}"
        for params in combinations(template.grid):
            known = {**params, CHOSEN: points if chosen is not None else f"{{{CHOSEN}}}"}
            words = shlex.split(filled(template.command, known, at))
            if tuple(words[:3]) != PROGRAM:
                raise UserError(f"{at}: a command begins with {' '.join(PROGRAM)}, not {' '.join(words[:3])}")
            copy = None if template.copy is None else filled(template.copy, known, at)
            folder = _folder(words[3:], at)
            made.append(OneRun(template.name, params, tuple(words[3:]), folder, copy, template.pilot))
    return made


def _folder(arguments: Sequence[str], at: str) -> str:
    named = dict(word.split("=", 1) for word in arguments if "=" in word)
    folder = named.get("run") if named.get("mode") == "eval" else named.get("run_dir")
    if folder is None:
        raise UserError(f"{at}: the command names no run_dir= (run= with mode=eval)")
    return folder


def combinations(grid: Mapping[str, Sequence[Cell]]) -> Iterator[dict[str, Cell]]:
    """Every combination, the last key fastest; of an empty grid, the empty one."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def filled(text: str, known: Mapping[str, Cell], at: str) -> str:
    """Text with every ``{key}`` replaced.

    Raises:
        UserError: a key that is not known.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in known:
            raise UserError(f"{at}: {{{match[1]}}} is not a key of the grid.{did_you_mean(match[1], known)}")
        found = known[match[1]]
        return f"{found:g}" if isinstance(found, float) else str(found)

    return re.sub(r"\{(\w+)\}", value, text)


def measures_of(experiment: Experiment) -> dict[str, Measure]:
    """All measures by name, ``each`` spelt out.

    Raises:
        UserError: a ``{key}`` that ``each`` does not have, two measures of one name, or runs that do not exist.
    """
    known = {template.name for template in experiment.runs}
    made: dict[str, Measure] = {}
    for measure in (
        _spelt(one, params, experiment) for one in experiment.measures for params in combinations(one.each)
    ):
        if measure.name in made:
            raise UserError(f"{experiment.name}.yaml: two measures are called {measure.name!r}")
        if known and measure.runs not in known:  # numbers that no command makes again have no runs
            hint = did_you_mean(measure.runs, known)
            raise UserError(f"{experiment.name}.yaml, {measure.name}: no runs are called {measure.runs!r}.{hint}")
        made[measure.name] = measure
    return made


def _spelt(measure: Measure, params: Mapping[str, Cell], experiment: Experiment) -> Measure:
    at = f"{experiment.name}.yaml, measure {measure.name}"

    def cell(value: Cell) -> Cell:
        whole = re.fullmatch(r"\{(\w+)\}", value) if isinstance(value, str) else None
        if whole and whole[1] in params:
            return params[whole[1]]
        return filled(value, params, at) if isinstance(value, str) else value

    minus = measure.minus
    if minus is not None:
        minus = Against(
            filled(minus.method, params, at), None if minus.budget is None else cell(minus.budget), minus.field,
            minus.runs,
        )  # fmt: skip
    return replace(
        measure,
        name=filled(measure.name, params, at),
        method=filled(measure.method, params, at),
        budget=None if measure.budget is None else cell(measure.budget),
        where={key: [cell(value) for value in values] for key, values in measure.where.items()},
        minus=minus,
        each={},
    )
