"""``docs/results.md``, written from the registry alone: questions first, then every experiment with its numbers."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from vgf.files import atomic_write_text
from vgf.methods import method_names
from vgf.report.page_parts import duration
from vgf.results.experiment import Expected, Experiment
from vgf.results.figures import write_figures
from vgf.results.grid import OneRun, measures_of, runs_of
from vgf.results.measure import runs_needed
from vgf.results.overview import overview
from vgf.results.registry import experiments
from vgf.results.text import answered, cells_of, value_text

__all__ = ["page_text", "write_page"]

_INTRODUCTION = """\
# Results

<!-- Written by python -m vgf.results page from results/*.yaml: change those. -->

What has been measured here, from one YAML an experiment in `results/`, with commit and caveats, and with commands where
these make the numbers again. There `vgf verify NAME` runs an experiment again and says which numbers fall inside their
recorded intervals ([how](verify.md)).
Nearly all of it is small networks on two cores, HOURS in all, mostly of one core at a time: it shows that the parts
work and how they compare here, it is no benchmark of the methods. Intervals are 95 %. Negative results stay in; what
was not run is listed [as not run](#not-run).
Control is on data that OGBench's scripted experts generate, and the commands say so (`data.source=generate`; those of
numbers recorded before 2026-11-23 did not, on machines where no mirror answered): official data give other numbers.
"""
_GROUPS = ("Control", "Open questions", "Language", "Offline to online", "Speed")
_WIDTH = 118


def write_page(docs: Path) -> list[str]:
    """Write the page and the figures that are drawn from recorded numbers into ``docs``, and say what was written."""
    known = experiments()
    figures = [path for experiment in known for path in write_figures(experiment, docs)]
    atomic_write_text(docs / "results.md", page_text(known))
    return [f"page: {docs / 'results.md'}", *(f"figure: {path}" for path in figures)]


def page_text(known: Sequence[Experiment]) -> str:
    """The page.

    Raises:
        UserError: an answer that names a measure without a value, or a broken experiment.
    """
    hours = duration(sum(one.expected.seconds or 0 for one in known if one.expected))
    parts = [_INTRODUCTION.replace("HOURS", hours), *_questions(known)]
    for group, members in _groups(known).items():
        if ran := [one for one in members if one.expected]:
            parts += [
                f"## {group}\n",
                *(overview(ran) if group == "Control" else []),
                *(part for experiment in ran for part in _section(experiment)),
            ]
    return "\n".join([*parts, *_not_run(known)])


def _groups(known: Sequence[Experiment]) -> dict[str, list[Experiment]]:
    """Heading -> experiments below it."""
    names = dict.fromkeys([*_GROUPS, *(experiment.group for experiment in known)])
    return {name: [experiment for experiment in known if experiment.group == name] for name in names}


def _questions(known: Sequence[Experiment]) -> Iterator[str]:
    yield "| question | answer | where |\n|---|---|---|"
    for members in _groups(known).values():
        for experiment in members:
            if experiment.answer:
                yield f"| {experiment.question} | {answered(experiment)} | {_link(experiment)} |"
    yield ""


def _link(experiment: Experiment) -> str:
    own = f"[below](#{_anchor(experiment.title)})" if experiment.expected else ""
    more = f"[{experiment.where.partition('#')[0].removesuffix('.md')}]({experiment.where})" if experiment.where else ""
    return ", ".join(part for part in (own, more) if part)


def _anchor(title: str) -> str:
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def _section(experiment: Experiment) -> Iterator[str]:
    assert experiment.expected is not None
    yield f"### {experiment.title}\n"
    answer = answered(experiment)
    yield f"**{experiment.question}** {answer[:1].upper()}{answer[1:]}.\n" if answer else f"**{experiment.question}**\n"
    if experiment.protocol:
        yield f"{experiment.protocol.strip()}\n"
    yield from _table(experiment, experiment.expected)
    for figure in experiment.figures:
        yield f"![{figure.alt}]({figure.file})\n\n{figure.caption}\n"
    for note in experiment.notes:
        yield f"{note.strip()}\n"
    if experiment.not_run:
        yield f"Not run: {experiment.not_run}.\n"
    yield from _commands(experiment, experiment.expected)
    yield f"{_origin(experiment, experiment.expected)}\n"


def _table(experiment: Experiment, expected: Expected) -> Iterator[str]:
    """Rows and columns as the measures' names say; a paper's numbers behind them."""
    if not expected.values:
        return
    measures = measures_of(experiment)
    rows = list(dict.fromkeys(cells_of(name)[0] for name in expected.values))
    columns = list(dict.fromkeys(cells_of(name)[1] for name in expected.values))
    heads = [column or "result" for column in columns]
    heads += ["budget"] if expected.chosen else []
    heads += ["published"] if experiment.published else []
    yield "| | " + " | ".join(heads) + " |\n" + "|---" * (len(heads) + 1) + "|"
    for row in rows:
        cells = []
        for column in columns:
            name = f"{row}, {column}" if column else row
            numbers = expected.values.get(name)
            cells.append("" if numbers is None else value_text(measures[name], numbers))
        if expected.chosen:
            cells.append(f"{expected.chosen[row]:g}" if expected.chosen.get(row) else "")
        if experiment.published:
            told = [p for p in experiment.published if cells_of(p.measure)[0] == row]
            cells.append(", ".join(f"{value_text(measures[p.measure], (p.value,))} ({p.source})" for p in told))
        shown = f"`{row}`" if row in _code() else row
        yield f"| {shown} | {' | '.join(cells)} |"
    yield ""
    if experiment.published and experiment.differs:
        yield f"Published numbers are of another setting: {experiment.differs}\n"


@functools.cache
def _code() -> frozenset[str]:
    """Rows that are names of the toolkit: methods, and the baseline that a trainer makes."""
    return frozenset([*method_names(), "fql"])


def _commands(experiment: Experiment, expected: Expected) -> Iterator[str]:
    """The first run of every template, and how to run all that ``vgf verify`` runs."""
    needed = runs_needed(experiment, expected.values) if experiment.runs else set()
    runs = [run for run in runs_of(experiment, expected.chosen) if not run.pilot and run.folder in needed]
    if not runs:
        return
    first: dict[str, OneRun] = {}
    for run in runs:
        first.setdefault(run.template, run)
    cost = f"takes {duration(expected.seconds)}" if expected.seconds else "takes long"
    yield f"<!-- not run: {cost} -->\n```bash"
    yield f"vgf verify {experiment.name}"
    more = len(runs) - len(first)
    yield f"# begins with the following{f', {more} more with other values of the grid' if more else ''}"
    for run in first.values():
        yield _wrapped(run)
    yield "```\n"


def _wrapped(run: OneRun) -> str:
    lines, line = [], "python -m vgf.run"
    for word in map(shlex.quote, run.arguments):
        if len(line) + len(word) + 3 > _WIDTH and line.strip():
            lines.append(f"{line} \\")
            line = f"    {word}"
        else:
            line = f"{line} {word}"
    return "\n".join([*lines, line])


def _origin(experiment: Experiment, expected: Expected) -> str:
    """Where the numbers come from, in one line."""
    how = "Recorded from runs" if expected.source == "recorded" else f"Transcribed from {expected.source}"
    commits = " and ".join(commit[:7] for commit in [*expected.earlier, expected.commit])
    parts = [f"`results/{experiment.name}.yaml`. {how} at commit {commits}, {expected.date}"]
    parts.append(expected.machine)
    if expected.seconds:
        parts.append(f"{duration(expected.seconds)} in all")
    if expected.versions:
        parts.append(", ".join(f"{package} {version}" for package, version in expected.versions.items()))
    return "; ".join(part for part in parts if part) + "."


def _not_run(known: Sequence[Experiment]) -> Iterator[str]:
    yield "## Not run\n"
    yield "| experiment | question | what is missing |\n|---|---|---|"
    for experiment in (one for members in _groups(known).values() for one in members):
        missing = experiment.not_run
        if experiment.status == "not run":
            reason = f"; {missing}" if missing else ""
            missing = f"all of it{reason}. `python -m vgf.results run {experiment.name}` runs it"
        if missing:
            yield f"| `{experiment.name}` | {experiment.question} | {missing} |"
    yield ""
