"""``vgf compare``: several runs in one figure and page."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest

from tests.command import run_main
from tests.report.made_runs import SWEEP, make_run
from vgf.methods import method_names
from vgf.report.palette import as_variable, styles
from vgf.report.series import make_series
from vgf.report.several import group_runs, read_run
from vgf.stats import bootstrap_interval, success_interval


def test_two_kinds_of_run_are_drawn_with_their_intervals(tmp_path):
    first = [make_run(tmp_path / f"a{s}", SWEEP, seed=s) for s in (0, 1)]
    other = make_run(tmp_path / "b", SWEEP | {("qgf", 0.02): 1.0}, trainer="fql")
    status, text = run_main(["compare", *map(str, [*first, other]), "--out", str(tmp_path / "out")])
    assert status == 0, text
    low, high = success_interval([[1] * 8 + [0] * 2] * 2)
    assert f"80 %     [{100 * low:.0f}, {100 * high:.0f}]" in text
    assert "size 0.02 (configured)" in text
    assert "trainer=fql: qgf" in text
    page = (tmp_path / "out/compare.html").read_text()
    assert page.count("<svg viewBox") >= 2  # against the budget, and against travelled
    assert "trainer=fql: qgf" in page
    assert "://" not in page
    assert matplotlib.image.imread(tmp_path / "out/compare.png").std() > 0.05


def test_returns_are_pooled_and_their_interval_is_stratified_by_run(tmp_path):
    rates = ({("qgf", 0.0): 0.1, ("qgf", 0.02): 0.9}, {("qgf", 0.0): 0.3, ("qgf", 0.02): 0.5})
    runs = [read_run(make_run(tmp_path / f"{s}", r, seed=s, success=False)) for s, r in enumerate(rates)]
    (one,) = make_series(group_runs(runs))
    mark = one.marks[1]
    scores = [run.points[1].scores for run in runs]
    assert mark.score == pytest.approx(np.concatenate(scores).mean())
    assert (mark.low, mark.high) == bootstrap_interval(scores)
    assert (mark.count, mark.configured, mark.travelled) == (20, True, pytest.approx(0.02))
    assert (one.unit, one.knob, one.flat) == ("return", "size", False)


def test_what_a_run_is_called_is_escaped(tmp_path):
    runs = [make_run(tmp_path / "a", SWEEP), make_run(tmp_path / "b", SWEEP, trainer="<script>")]
    assert run_main(["compare", *map(str, runs), "--out", str(tmp_path)])[0] == 0
    assert "<script>" not in (tmp_path / "compare.html").read_text()


@pytest.mark.parametrize(("names", "said"), [(["no"], "no is no run directory"), ([], "required: RUN")])
def test_compare_complains_in_one_line(names, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, text = run_main(["compare", *names])
    assert status == 2
    assert said in text
    assert len(text.splitlines()) == 1


def test_more_curves_than_can_be_told_apart_are_refused(tmp_path):
    runs = [make_run(tmp_path / f"{n}", SWEEP, trainer=f"t{n}") for n in range(7)]
    status, text = run_main(["compare", *map(str, runs)])
    assert status == 2
    assert "14 curves cannot be told apart (kinds of run: 7, methods: 2)" in text
    assert "--methods qgf,best_of_n" in text or "--methods best_of_n,qgf" in text
    assert run_main(["compare", *map(str, runs), "--methods", "qgf", "--out", str(tmp_path)])[0] == 0


def test_one_run_is_shown_with_all_its_methods_in_their_usual_looks(tmp_path):
    names = method_names()[:14]
    run = make_run(tmp_path / "a", {(name, 0.1): 0.5 for name in names}, method="reference")
    status, text = run_main(["compare", str(run), "--out", str(tmp_path)])
    assert status == 0, text
    page = (tmp_path / "compare.html").read_text()
    assert all(as_variable(styles([name])[name].colour) in page for name in names)


def test_methods_are_chosen_by_name(tmp_path):
    run = make_run(tmp_path / "a", SWEEP)
    status, text = run_main(["compare", str(run), "--methods", "qgf", "--out", str(tmp_path)])
    assert status == 0, text
    assert "qgf" in text
    assert "best_of_n" not in text
    status, text = run_main(["compare", str(run), "--methods", "qgf,vfg", "--out", str(tmp_path)])
    assert status == 2
    assert "no run was evaluated with 'vfg'; use " in text
