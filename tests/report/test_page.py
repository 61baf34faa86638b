"""The page of a report: what it says of a finished run and of one that was interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.report.made_rows import QGF, Page, rows_of, sweep, write_rows
from vgf.report.control_report import read_evaluations, summarise, terminal_table, write_report
from vgf.report.episodes import Row
from vgf.report.points import Configured


def test_a_finished_run_gives_table_figure_and_page(run: Path) -> None:
    table = write_report(run, title="a title", configured=QGF)
    assert table == terminal_table(summarise(read_evaluations(run)), configured=QGF)
    given_files = {"metrics.jsonl", "config.yaml", "environment.txt", "eval.csv"}
    assert {path.name for path in run.iterdir()} - given_files == {"curve.png", "report.html"}
    words = Page(run / "report.html").words.replace("\xa0", " ")
    assert (
        "At the configured budget (qgf, size 0.03) the policy succeeds in 80 % of 10 episodes [49, 94]; "
        "the reference alone in 0 % [0, 28]; best of 8 in 50 % [24, 76]." in words
    )
    for fact in ("vgf task=ogbench", "generated, seed 0", "torch: 2.13.0", "399 of 1,000", "39 s", "seed 7", "Wilson"):
        assert fact in words
    for chart in ("flow/loss", "critic/q_mean", "odd: 399 values were not finite", "Earlier checkpoints (5 points)"):
        assert chart in words


def test_the_page_asks_for_nothing_from_outside_and_its_ids_are_unique(run: Path) -> None:
    write_report(run, title="a title", configured=QGF)
    page = Page(run / "report.html")
    assert "script" not in page.tags
    links = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "srcset")]
    assert links
    assert all(link.startswith(("#", "data:,")) for link in links)
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link[0] == "#"} <= set(ids)
    assert "://" not in (run / "report.html").read_text()


def test_everything_a_run_says_is_escaped(tmp_path: Path) -> None:
    bad = "<script>alert('&')</script>"
    rows = rows_of(bad, {0: 0.1, 0.03: 0.5, 0.1: 0.9}) + rows_of(f"flat{bad}", {0: 0.5})
    run = write_rows(tmp_path / "<script>run", rows)
    (run / "config.yaml").write_text(json.dumps({"env": bad, "method": bad, "data": {"path": bad}, bad: {"x": bad}}))
    (run / "environment.txt").write_text(f"command: {bad}\ndata: {bad}\n")
    (run / "metrics.jsonl").write_text(json.dumps({"step": 1, f"loss{bad}": 1.0, f"nan{bad}": float("nan")}) + "\n")
    write_report(run, title=bad, configured=(bad, 0.03))
    page = Page(run / "report.html")
    assert "script" not in page.tags
    assert page.words.count(bad) > 10


def test_a_better_budget_is_told_as_picked_after_the_fact(run: Path) -> None:
    write_report(run, title="t", configured=("qgf", 0.01))
    words = Page(run / "report.html").words.replace("\xa0", " ")
    assert "Best of the sweep, picked after the fact, is qgf with size 0.03: 80 % [49, 94]." in words
    assert "biased upwards" in words


def test_a_comparison_without_sweeps_names_the_best_methods(tmp_path: Path) -> None:
    rates = {"bptt": 0.2, "grad_step": 0.9, "qfql": 0.4, "vgf": 0.6}
    once = [row for method, rate in rates.items() for row in rows_of(method, {1: rate})]
    run = write_rows(tmp_path / "run", rows_of("reference", {0: 0.0}) + rows_of("qgf", {0.1: 0.3, 0.2: 0.8}) + once)
    write_report(run, title="t", configured=("reference", 0.0))
    words = Page(run / "report.html").words.replace("\xa0", " ")
    assert (
        "Of 4 methods played at one budget each the highest, picked after the fact, are grad_step (steps 1) "
        "90 % [60, 98]; vgf (steps 1) 60 % [31, 83]; qfql (size 1) 40 % [17, 69]." in words
    )
    write_report(run, title="t", configured=("grad_step", 1.0))  # told of as the configured one
    words = Page(run / "report.html").words.replace("\xa0", " ")
    assert "Methods played at one budget each: vgf (steps 1) 60 %" in words


def test_budget_zero_of_a_method_that_selects_is_not_called_the_reference_alone(tmp_path: Path) -> None:
    run = write_rows(tmp_path / "run", rows_of("vgf", {0: 0.5, 3: 0.9}))
    (run / "config.yaml").write_text("method: vgf\ntransport: {particles: 4, knob: steps}\n")
    write_report(run, title="t", configured=("vgf", 3))
    assert "(vgf, steps 3)" in Page(run / "report.html").words
    assert "the best of 4 unmoved samples in 50" in Page(run / "report.html").words


@pytest.mark.parametrize("configured", [QGF, None, ("qgf", 0.0), ("best_of_n", 0.0), ("vgf", 3.0)])
@pytest.mark.parametrize("rows", [rows_of("qgf", {0: 0.0}, episodes=1), rows_of("best_of_n", {0: 0.5}), sweep()[:53]])
def test_an_interrupted_run_has_a_report_too(tmp_path: Path, rows: list[Row], configured: Configured) -> None:
    run = write_rows(tmp_path / "run", rows)
    (run / "config.yaml").write_text("{broken: [")
    assert "warning" not in write_report(run, title="t", configured=configured)
    page = Page(run / "report.html")
    assert "No metrics were logged" in page.words
    assert (run / "curve.png").stat().st_size > 1000


def test_a_picture_that_cannot_be_drawn_is_a_warning_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no\nfont")

    monkeypatch.setattr("vgf.report.control_report.draw_curve", fail)
    lines = write_report(run, title="t", configured=QGF).splitlines()
    assert lines[-1] == "warning: curve.png was not written (RuntimeError: no font)"
    assert not (run / "curve.png").exists()
    assert (run / "report.html").exists()
