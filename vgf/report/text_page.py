"""The page of a language run: headline, claims, panels, tables, completions, warnings, how it was run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from vgf.report.facts import Facts, read_facts
from vgf.report.page_parts import (
    bullets,
    charts,
    chip,
    definitions,
    document,
    duration,
    range_svg,
    section,
    small,
    table,
    texts,
    tiles,
    training,
)
from vgf.report.palette import as_variable, styles
from vgf.report.points import number_text
from vgf.report.text_claims import PICKED, Claim, claims, headline, notes
from vgf.report.text_curves import text_panel_svgs
from vgf.report.text_estimates import (
    UNKNOWN,
    Estimate,
    TextPoint,
    Versus,
    budget_text,
    chosen_point,
    estimate_text,
    has,
    prompts_of,
    reference_point,
    remark,
)
from vgf.report.text_rows import TextRun, read_samples
from vgf.report.text_samples import SAMPLE_STYLE, samples_table

__all__ = ["render_text_page"]

_STYLE = (
    SAMPLE_STYLE
    + """
.claims{list-style:none;padding:0}
.claims li{max-width:none;padding-left:1.5rem;position:relative}
.claims li::before{content:"\\2013";position:absolute;left:.2rem;font-weight:700;color:var(--muted)}
.claims li.pass::before{content:"\\2713";color:#1a8a4a}
.claims li.fail::before{content:"\\2717";color:#c4382b}
.claims i{font-style:normal;font-size:.86em;color:var(--muted);border:1px solid var(--grid);border-radius:6px;
  padding:0 .4em}
th{white-space:normal}
"""
)
_CAPTION = (
    "Bands and bars are 95 % intervals over prompts. Ringed: the configured budget. Above: gains of the sweep, paired "
    "with the reference; gold solid, proxy dashed. Below: means of all methods; points of one method are joined."
)
_Cell = Callable[[TextPoint], str]
_FORMATS: dict[str, tuple[str, str]] = {
    "NLL / token": ("nll", "{:.2f}"),
    "KL / completion": ("kl", "{:.1f}"),
    "length": ("length", "{:.1f}"),
    "distinct-2": ("distinct2", "{:.2f}"),
    "beat the data's": ("beats_chosen", "{:.0%}"),
    "changed": ("tokens_changed", "{:.0%}"),
    "travelled": ("travelled", "{:.3g}"),
}  # column -> field and how its mean is written


def render_text_page(run_dir: Path, points: Sequence[TextPoint], run: TextRun, *, title: str) -> str:
    """The whole page as text, from the points and the other files of a run directory."""
    facts = read_facts(run_dir)
    samples, complaints = read_samples(run_dir)
    words = escape(headline(points, run)).replace(" %", "&nbsp;%")
    panels = text_panel_svgs(points)
    moved = [point for point in points if point.method not in ("reference", "best_of_n")]  # not selected, they are one
    seen = charts("panels", panels) + f'<p class="note">{_CAPTION}</p>' if panels else ""
    sections = [
        section(_claims_title(points), _claims(claims(points))),
        section("Warnings", bullets(warned) if (warned := [*run.warnings, *complaints]) else ""),
        section("Reward against budget, distance and time", seen),
        section("Without selection", _table(points, _levels(points))),
        section("Paired differences, without selection", _table(moved, _differences(moved))),
        section("Selected completion and time", _table(points, _selected(points))),
        section("Before and after", samples_table(samples, (run.method, run.budget))),
        section("Training", training(facts) if facts.curves else ""),
        section("How it was run", _how(run_dir, facts, run)),
        section("Reading the numbers", bullets(notes(points, run))),
    ]
    header = f'<p class="headline">{words}</p>\n{_tiles(points)}'
    return document(title, header, sections, style=_STYLE)


def _claims_title(points: Sequence[TextPoint]) -> str:
    point = chosen_point(points)
    if point is None:
        return "Claims"
    parts = [f"Claims: {point.method}", budget_text(point), PICKED.get(point.picked, "")]
    return ", ".join(part for part in parts if part)


def _claims(made: Sequence[Claim]) -> str:
    items = "".join(
        f'<li class="{"pass" if claim.passed else "fail"}">{escape(claim.sentence)} <i>{escape(claim.mark)}</i></li>\n'
        for claim in made
    )
    return f'<ul class="claims">\n{items}</ul>' if made else ""


def _tiles(points: Sequence[TextPoint]) -> str:
    """The configured budget in four numbers; nothing when it was not evaluated."""
    point, start = chosen_point(points), reference_point(points)
    if point is None or start is None or point.key == start.key:
        return ""
    gain, wins = point.gains["gold"], point.wins
    share = f"{100 * wins.mean:.0f} %" if math.isfinite(wins.mean) else "-"
    shown = [
        (_centre(gain, signed=True), f"gold over the reference, no selection {_interval(gain)}"),
        (share, f"of pairs have the higher gold {_interval(wins)}"),
        (number_text(point.means["nll"].mean), f"NLL a token ({number_text(start.means['nll'].mean)} reference)"),
        (f"{number_text(point.means['seconds'].mean)} s",
         f"a prompt ({number_text(start.means['seconds'].mean)} reference)"),
    ]  # fmt: skip
    return tiles(shown)


def _centre(estimate: Estimate, *, signed: bool) -> str:
    return estimate_text(estimate, signed=signed).split(" ")[0]


def _interval(estimate: Estimate) -> str:
    return " ".join(estimate_text(estimate).split(" ")[1:])


def _table(points: Sequence[TextPoint], columns: dict[str, _Cell]) -> str:
    looks = styles(point.method for point in points)

    def named(point: TextPoint) -> str:
        return chip(as_variable(looks[point.method].colour)) + escape(point.method)

    first: dict[str, _Cell] = {
        "method": named,
        "budget": lambda p: escape(budget_text(p)) + small(remark(p, points)),
    }
    return table(first | columns, points, lambda p: p.configured) if columns and points else ""


def _levels(points: Sequence[TextPoint]) -> dict[str, _Cell]:
    scores = {name: _cell(_mean_of(name)) for name in ("proxy", "gold", "second")}
    gains = [point.gains.get("gold", UNKNOWN) for point in points]
    ends = [x for gain in gains for x in (gain.low, gain.high) if math.isfinite(x)]
    columns = {name: cell for name, cell in scores.items() if has(points, name)}
    if ends:
        looks, scale = styles(point.method for point in points), (min(ends), max(ends))
        columns["gold gain"] = _cell(_gain_of("gold"), signed=True)
        columns["95 % interval"] = lambda p: _bar(p, scale, as_variable(looks[p.method].colour))
        columns["gold wins"] = _cell(lambda p: p.wins)
    if len({prompts_of(point) for point in points}) > 1:  # then levels of two rows are of different prompts
        columns["prompts"] = lambda p: f"{prompts_of(p)}"
    return columns | {name: _mean_cell(*how) for name, how in _FORMATS.items() if has(points, how[0])}


def _mean_of(field: str) -> Callable[[TextPoint], Estimate]:
    return lambda point: point.means[field]


def _gain_of(field: str) -> Callable[[TextPoint], Estimate]:
    return lambda point: point.gains.get(field, UNKNOWN)


def _cell(get: Callable[[TextPoint], Estimate], *, signed: bool = False) -> _Cell:
    return lambda point: _lines(get(point), signed=signed)


def _lines(estimate: Estimate, *, signed: bool, below: str = "") -> str:
    """The mean, with the interval and a remark on small lines."""
    return escape(_centre(estimate, signed=signed)) + small(_interval(estimate)) + small(below)


def _mean_cell(field: str, form: str) -> _Cell:
    def cell(point: TextPoint) -> str:
        mean = point.means[field].mean
        return form.format(mean) if math.isfinite(mean) else "-"

    return cell


def _bar(point: TextPoint, scale: tuple[float, float], colour: str) -> str:
    gain = point.gains.get("gold", UNKNOWN)
    return range_svg((gain.low, gain.mean, gain.high), scale, colour) if math.isfinite(gain.low) else ""


def _differences(points: Sequence[TextPoint]) -> dict[str, _Cell]:
    """Differences from the reference, and gold less that of each kind of baseline."""
    columns: dict[str, _Cell] = {
        name: _cell(_gain_of(field), signed=True)
        for name, field in {"proxy gain": "proxy", "second gain": "second", "NLL change": "nll"}.items()
        if has(points, field) and any(point.gains for point in points)
    }
    roles = {versus.role for point in points for versus in point.versus if "gold" in versus.differences}
    for role in (role for role in ("random", "temperature", "tilt", "length") if role in roles):
        columns[f"gold less {role}"] = _versus_cell(role, "gold")
    return columns


def _versus_cell(role: str, field: str, told: Callable[[Versus], str] = lambda v: f"at {v.other[1]:g}") -> _Cell:
    def cell(point: TextPoint) -> str:
        versus = next((v for v in point.versus if v.role == role), None)
        if versus is None:
            return "-"
        return _lines(versus.differences[field], signed=True, below=told(versus))

    return cell


def _selected(points: Sequence[TextPoint]) -> dict[str, _Cell]:
    def against(versus: Versus) -> str:
        ratio = f", {versus.seconds_ratio:.2g} x time" if math.isfinite(versus.seconds_ratio) else ""
        return versus.label + ratio

    columns: dict[str, _Cell] = {}
    for name, field, form in (("candidates", "candidates", "{:.0f}"), ("s / prompt", "seconds", "{:.3g}")):
        columns |= {name: _mean_cell(field, form)} if has(points, field) else {}
    for name in (name for name in ("proxy", "gold", "second") if has(points, f"{name}_selected")):
        columns[f"{name} selected"] = _cell(_mean_of(f"{name}_selected"))
    roles = {versus.role for point in points for versus in point.versus}
    for role in (role for role in ("same candidates", "equal time") if role in roles):
        columns[f"gold less best_of_n, {role}"] = _versus_cell(role, "gold_selected", against)
    return columns


def _how(run_dir: Path, facts: Facts, run: TextRun) -> str:
    counts = (("particles", run.particles), ("seeds", run.seeds), ("prompts", run.prompts))
    entries: dict[str, object] = {
        "Command": facts.noted.get("command"),
        "Reference": run.reference,
        "Method": run.method,
        "Budget": "" if run.budget is None else f"{run.knob} {run.budget:g}, {PICKED.get(run.picked, run.picked)}",
        "Proxy (guides)": run.proxy,
        "Gold (judges)": run.gold,
        "Second judge": run.second,
        "Evaluation": ", ".join(f"{count} {name}" for name, count in counts if count is not None),
        "Seed": facts.get("seed"),
        "Wall time of training": duration(facts.seconds),
        **{str(label): value for label, value in run.facts.items()},
        "Run directory": run_dir,
    }
    return definitions(entries) + texts(facts)
