"""What one YAML of the registry says, as dataclasses.

runs       command templates with a grid; every combination is one run, with a run directory of its own
measures   which numbers are read from the runs
expected   what they were, where and when
published  a paper's number for the same task, and how its setting differs
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

__all__ = ["Against", "Expected", "Experiment", "Figure", "Measure", "Published", "Runs"]

Cell = str | int | float


@dataclass(frozen=True)
class Runs:
    """A template of runs.

    Attributes:
        command: ``python -m vgf.run ...``; ``{key}`` is filled from the grid, ``{chosen}`` with the pilot's budgets as
            ``method@budget,...``. Paths are relative to the experiment's folder. Its ``run_dir=`` (``run=`` of
            mode=eval) is the run directory.
        name: what measures call these runs.
        grid: key -> values; the last key varies fastest.
        pilot: only to choose budgets, on a seed that is not evaluated; left out once ``expected.chosen`` is recorded.
        copy: a run directory to start from, ``EXPERIMENT/FOLDER`` (``./FOLDER``: of this experiment): configuration
            and checkpoints are copied, scores are not.
    """

    command: str
    name: str = "main"
    grid: dict[str, list[Cell]] = dataclasses.field(default_factory=dict)
    pilot: bool = False
    copy: str | None = None


@dataclass(frozen=True)
class Against:
    """What is subtracted, episode by episode (prompt by prompt)."""

    method: str
    budget: Cell | None = None
    field: str | None = None
    runs: str | None = None


@dataclass(frozen=True)
class Measure:
    """One number, read from the last checkpoint's rows in ``eval.csv``.

    Attributes:
        name: ``{key}`` is filled from ``each``.
        method: as in ``eval.csv``.
        budget: as in ``eval.csv``; ``chosen``: the pilot's; ``auto``: what budget=auto chose in the
            run; null: the only one evaluated.
        travelled: instead of a budget, a distance: between the two budgets of the sweep that enclose it on average,
            their episodes are mixed linearly.
        step: of the checkpoint; null: the last.
        field: a column of ``eval.csv``.
        statistic: ``success`` (Wilson's interval), ``mean`` (bootstrap over episodes within runs; over prompts in
            language), ``iqm`` (over runs, bootstrap over the runs of each environment).
        runs, where: the template and, of its grid, the values that count; all by default.
        minus: the difference from it, paired.
        each: key -> values; one measure for each combination.
    """

    name: str
    method: str
    budget: Cell | None = None
    travelled: float | None = None
    step: int | None = None
    field: str = "success"
    statistic: str = "success"
    runs: str = "main"
    where: dict[str, list[Cell]] = dataclasses.field(default_factory=dict)
    minus: Against | None = None
    each: dict[str, list[Cell]] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Expected:
    """What came out.

    Attributes:
        commit: of the code that ran; date: of the last run; earlier: commits of other runs.
        machine: processor and cores; several with "and" between them.
        seconds: wall time of all runs, without attempts that failed; null where it was not kept.
        versions: package -> version.
        chosen: method -> budget that the pilot chose.
        values: measure -> value and the ends of its 95 % interval; the value alone where every score was the same.
        source: ``recorded`` from runs by vgf.results, or where it was ``transcribed`` from.
    """

    commit: str
    date: str
    machine: str
    seconds: float | None = None
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    chosen: dict[str, float] = dataclasses.field(default_factory=dict)
    values: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    source: str = "recorded"
    earlier: list[str] = dataclasses.field(default_factory=list)


@dataclass(frozen=True)
class Published:
    """A paper's number beside one of ours."""

    measure: str
    value: float
    source: str


@dataclass(frozen=True)
class Figure:
    """A picture of the page.

    Attributes:
        file: in ``docs/``.
        caption: below it; alt: what it shows, for those who do not see it.
        source: ``RUN_DIR/FILE`` in the experiment's folder, copied when its numbers are recorded; null: drawn from
            ``expected.values``.
        measures: those that are drawn, in this order; axis: what is across.
    """

    file: str
    alt: str
    caption: str
    source: str | None = None
    measures: list[str] = dataclasses.field(default_factory=list)
    axis: str = ""


@dataclass(frozen=True)
class Experiment:
    """One file of the registry.

    Attributes:
        title, question: what it is, what it answers.
        status: ``run``, ``partly run`` or ``not run``.
        group: heading of the page that it stands under; order: its place there, small numbers first.
        answer: in a sentence; ``{measure}`` is filled from ``expected.values``.
        where: a page (and anchor) of the documentation that tells more.
        not_run: what was not run.
        protocol: data, networks, updates, episodes, seeds, in words.
        differs: how it differs from the published numbers' setting.
        notes: paragraphs below the table; negative results stay in.
    """

    name: str
    title: str
    question: str
    status: str
    group: str
    answer: str = ""
    where: str | None = None
    order: int = 50
    not_run: str = ""
    protocol: str = ""
    runs: list[Runs] = dataclasses.field(default_factory=list)
    measures: list[Measure] = dataclasses.field(default_factory=list)
    expected: Expected | None = None
    published: list[Published] = dataclasses.field(default_factory=list)
    differs: str = ""
    figures: list[Figure] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
