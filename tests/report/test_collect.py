"""``vgf collect``: the table of a sweep, and its statistics against rliable's (or their formulas)."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.command import run_main
from tests.report.made_runs import SWEEP, make_run
from vgf.aggregate import improvement_interval, iqm_interval, probability_of_improvement
from vgf.errors import UserError
from vgf.report.several import group_runs, read_run

scores = st.lists(st.floats(-5, 5).map(lambda x: round(x, 1)), min_size=2, max_size=6)
tasks = st.lists(scores, min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(scores, scores), min_size=1, max_size=4))
def test_probability_of_improvement_is_the_mann_whitney_statistic(pairs):
    from scipy.stats import mannwhitneyu

    ours, theirs = zip(*pairs, strict=True)
    by_scipy = [mannwhitneyu(x, y).statistic / (len(x) * len(y)) for x, y in pairs]
    p = probability_of_improvement(ours, theirs)
    assert p == pytest.approx(np.mean(by_scipy))
    assert p + probability_of_improvement(theirs, ours) == pytest.approx(1)
    low, high = improvement_interval(ours, theirs)
    assert 0 <= low <= high <= 1


@settings(max_examples=60, deadline=None)
@given(tasks)
def test_the_iqm_is_the_trimmed_mean_of_all_runs_and_lies_in_its_interval(given_scores):
    from scipy.stats import trim_mean

    centre, low, high = iqm_interval(given_scores)
    pooled = np.concatenate(given_scores)
    assert centre == pytest.approx(trim_mean(pooled, 0.25), abs=1e-9)
    assert pooled.min() - 1e-9 <= low <= high <= pooled.max() + 1e-9


def _has_rliable() -> bool:
    if importlib.util.find_spec("rliable") is None:
        return False
    try:
        from rliable import metrics  # noqa: F401
    except ImportError:
        return False
    return True


@pytest.mark.skipif(not _has_rliable(), reason="rliable is not installed, or not with what it needs")
def test_statistics_are_those_of_rliable():
    from rliable import metrics

    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(0.3, 1, (8, 3)).round(1), rng.normal(0, 1, (8, 3)).round(1)  # [runs, tasks]
    assert iqm_interval(list(ours.T))[0] == pytest.approx(metrics.aggregate_iqm(ours))
    by_rliable = metrics.probability_of_improvement(ours, theirs)
    assert probability_of_improvement(list(ours.T), list(theirs.T)) == pytest.approx(by_rliable)
    drawn = []
    for _ in range(1000):  # rliable's own bootstrap wants a release of arch that newer Pythons have none of
        x, y = (np.stack([c[rng.integers(0, 8, 8)] for c in each.T], 1) for each in (ours, theirs))
        drawn.append((metrics.aggregate_iqm(x), metrics.probability_of_improvement(x, y)))
    ends = np.quantile(drawn, [0.025, 0.975], axis=0)  # [2, statistics]
    assert iqm_interval(list(ours.T))[1:] == pytest.approx(ends[:, 0], abs=0.1)
    assert improvement_interval(list(ours.T), list(theirs.T)) == pytest.approx(ends[:, 1], abs=0.05)


def test_unequal_tasks_and_tasks_without_runs_are_refused():
    with pytest.raises(UserError, match="2 tasks cannot be compared with 1"):
        probability_of_improvement([[1.0], [2.0]], [[1.0]])
    with pytest.raises(UserError, match="at least one run"):
        probability_of_improvement([[]], [[1.0]])


def test_runs_that_differ_in_the_seed_are_one_group(tmp_path):
    runs = [read_run(make_run(tmp_path / f"r{s}", SWEEP, seed=s)) for s in (0, 1)]
    runs.append(read_run(make_run(tmp_path / "other", SWEEP, seed=0, preset="maze", trainer="fql")))
    groups = group_runs(runs)
    assert [(group.name, len(group.runs)) for group in groups] == [("trainer=offline", 2), ("trainer=fql", 1)]


def test_a_sweep_becomes_one_table(tmp_path):
    for env in ("maze-v0", "cube-v0"):
        for seed in range(5):
            rates = SWEEP | {("qgf", 0.02): 0.6 + 0.1 * (seed % 3)}
            make_run(tmp_path / f"sweep/{env}/{seed}", rates, env=env, seed=seed)
    (tmp_path / "sweep/broken").mkdir()
    shutil.copy(tmp_path / "sweep/maze-v0/0/config.yaml", tmp_path / "sweep/broken/config.yaml")
    (tmp_path / "sweep/broken/eval.csv").write_text("step,method\n")
    status, text = run_main(["collect", str(tmp_path / "sweep")])
    assert status == 0, text
    assert "left out: " in text
    assert "lacks the column 'budget'" in text
    assert "10 runs; table: " in text
    with (tmp_path / "sweep/collect.csv").open() as file:
        rows = {(row["method"], row["budget"]): row for row in csv.DictReader(file)}
    assert set(rows) == {("qgf", "0"), ("qgf", "0.02"), ("best_of_n", "0")}  # configured points and references
    moved = rows["qgf", "0.02"]
    assert (moved["environments"], moved["seeds"], moved["score"]) == ("2", "5", "success")
    assert float(moved["mean"]) == pytest.approx(0.68)
    assert 0.6 < float(moved["low"]) < float(moved["IQM"]) < float(moved["high"]) < 0.8  # not the ends
    assert (moved["lowest"], moved["highest"]) == ("0.6", "0.8")
    assert float(moved["P(better than reference)"]) == 1
    assert rows["qgf", "0"]["P(better than reference)"] == ""
    assert float(rows["best_of_n", "0"]["P(better than reference)"]) == 1  # than qgf's budget 0
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 5
    assert len({len(line) for line in table}) == 1


def table_of(folder: Path) -> tuple[dict[tuple[str, str], dict[str, str]], str]:
    """(method, budget) -> row, and what was printed."""
    status, text = run_main(["collect", str(folder), "--csv", str(folder / "t.csv")])
    assert status == 0, text
    with (folder / "t.csv").open() as file:
        return {(row["method"], row["budget"]): row for row in csv.DictReader(file)}, text


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_few_runs_have_a_range_and_no_interval(tmp_path, seeds):
    for seed in range(seeds):
        make_run(tmp_path / f"{seed}", SWEEP | {("qgf", 0.02): 0.8 - 0.1 * seed}, seed=seed)
    row = table_of(tmp_path)[0]["qgf", "0.02"]
    assert [row[name] for name in ("low", "high", "P low", "P high")] == [""] * 4
    assert (row["lowest"], row["highest"]) == (f"{0.8 - 0.1 * (seeds - 1):.4g}", "0.8")
    assert row["P(better than reference)"] == "1"


def test_a_methods_only_moved_budget_has_a_row_and_others_are_named(tmp_path):
    only = {("vgf", 1.0): 0.6, ("bptt", 0.3): 0.4, ("bptt", 0.4): 0.5, ("reference", 0.0): 0.1, ("best_of_n", 0.0): 0.1}
    for seed in range(2):
        make_run(tmp_path / f"{seed}", only, seed=seed, method="reference")
    rows, text = table_of(tmp_path)
    assert set(rows) == {("vgf", "1 (the only one)"), ("reference", "0"), ("best_of_n", "0")}
    assert rows["vgf", "1 (the only one)"]["P(better than reference)"] == "1"
    assert "left out: bptt of all runs at 0.3, 0.4 (not at its configured budget" in text
    assert text.count("left out") == 1


def test_unmoved_points_that_sample_alike_are_not_compared(tmp_path):
    rates = {("qgf", 0.0): 0.3, ("qgf", 0.02): 0.6, ("bptt", 0.0): 0.3, ("ifql", 0.0): 0.3, ("best_of_n", 0.0): 0.4}
    make_run(tmp_path / "a", rates)
    chance = {method: row["P(better than reference)"] for (method, budget), row in table_of(tmp_path)[0].items()
              if budget == "0"}  # fmt: skip
    assert chance == {"qgf": "", "bptt": "", "ifql": "", "best_of_n": "1"}


def test_runs_whose_budget_was_chosen_for_each_are_one_row(tmp_path):
    for seed, size in enumerate((0.02, 0.1)):
        run = make_run(tmp_path / f"{seed}", SWEEP, seed=seed)
        text = (run / "config.yaml").read_text().replace("budget: {", "budget: {auto: true, ")
        (run / "config.yaml").write_text(text)
        (run / "auto_budget.json").write_text(json.dumps({"qgf": {"size": size}}))
    row = table_of(tmp_path)[0]["qgf", "0.02, 0.1"]
    assert (row["seeds"], row["lowest"], row["highest"]) == ("2", "0.5", "0.8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nowhere"], "nowhere is no folder"), (["."], "holds no evaluated run"), ([], "required: DIR")],
)
def test_collect_complains_in_one_line(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, text = run_main(["collect", *arguments])
    assert status == 2
    assert said in text
    assert len(text.splitlines()) == 1


def test_runs_with_different_scores_are_refused(tmp_path):
    make_run(tmp_path / "a", SWEEP)
    make_run(tmp_path / "b", SWEEP, success=False)
    status, text = run_main(["collect", str(tmp_path)])
    assert status == 2
    assert "runs with different scores cannot be put together" in text
