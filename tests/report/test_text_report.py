"""A language run's directory in, report out: means and pairs by hand, claims, figure, page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.report.made_rows import Page
from tests.report.made_text import HIDDEN, a_run, base, points_of, rows_of, write_run
from vgf.errors import UserError
from vgf.report.text_claims import Claim, claims, headline, notes
from vgf.report.text_curves import text_panel_svgs
from vgf.report.text_estimates import estimate_text, sweep_best
from vgf.report.text_report import write_text_report
from vgf.report.text_rows import TextRun, read_samples, read_text_run
from vgf.stats import bootstrap_interval, mean_interval, success_interval, wilson_interval


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", a_run(), HIDDEN | {"warnings": ["<b>odd</b>"], "facts": {"layer": 20}})


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_run(
        tmp_path / "small", rows_of("reference", 0, nll="") + rows_of("hidden", 4, 0.6, kl="", nll=""), HIDDEN
    )


# --- numbers ---------------------------------------------------------------------------------------


def test_means_gains_and_wins_are_those_by_hand(run: Path) -> None:
    points = points_of(run)
    reference, moved = points["reference", 0], points["hidden", 4]
    assert reference.means["gold"].mean == pytest.approx(2.0)
    assert (moved.means["gold"].mean, moved.gains["gold"].mean) == pytest.approx((2.6, 0.6))
    assert moved.gains["proxy"].mean == pytest.approx(1.2)
    assert moved.gains["second"].mean == pytest.approx(0, abs=1e-12)
    assert 0.5 <= moved.gains["gold"].low < 0.6 < moved.gains["gold"].high <= 0.7  # the pairs, not the levels
    assert moved.means["gold"].high - moved.means["gold"].low > 1
    assert (moved.rows, moved.gains["gold"].prompts) == (16, 8)
    assert moved.wins.mean == 1
    assert (moved.wins.low, moved.wins.high) == success_interval([1] * 8)  # prompts are the trials
    assert points["random", 4].wins.mean == 0.5  # ties count half


def test_seeds_are_averaged_within_a_prompt_first(tmp_path: Path) -> None:
    rows = rows_of("reference", 0) + rows_of("hidden", 1, 0.6)
    kept = [r for r in rows if r["method"] == "reference" or r["prompt"] > 0 or r["seed"] == 0]
    for row in kept:
        if row["method"] == "hidden" and row["prompt"] == 0:
            row["gold"] = base(0, 0) + 4  # a prompt with one seed weighs as much as one with two
    point = points_of(write_run(tmp_path, kept))["hidden", 1]
    assert point.gains["gold"].mean == pytest.approx((4 + 4 * 0.7 + 3 * 0.5) / 8)


def test_pairs_are_the_prompts_and_seeds_that_both_have(tmp_path: Path) -> None:
    rows = rows_of("reference", 0, prompts=6) + rows_of("hidden", 1, 0.6)
    rows[0]["gold"] = ""  # prompt 0, seed 0 of the reference is unknown
    point = points_of(write_run(tmp_path, rows))["hidden", 1]
    assert (point.gains["gold"].prompts, point.means["gold"].prompts) == (6, 8)
    assert point.gains["gold"].mean == pytest.approx(0.6)


def test_baselines_are_matched_by_size_candidates_and_time(run: Path) -> None:
    versus = {v.role: v for v in points_of(run)["hidden", 4].versus}
    assert versus["random"].differences["gold"].mean == pytest.approx(0.6)
    assert versus["temperature"].differences["gold"].mean == pytest.approx(0.1)
    assert versus["same candidates"].other == versus["equal time"].other == ("best_of_n", 16)
    assert versus["same candidates"].differences["gold_selected"].mean == pytest.approx(0.6 - 0.4)
    assert versus["equal time"].seconds_ratio == pytest.approx(1.0)


def test_a_baseline_of_several_budgets_is_compared_at_its_best(tmp_path: Path) -> None:
    rows = [*rows_of("reference", 0), *rows_of("hidden", 4, 0.6), *rows_of("random", 1), *rows_of("random", 3)]
    rows += [*rows_of("temperature", 0.5, 0.2), *rows_of("temperature", 0.7, 0.5)]
    versus = {v.role: v for v in points_of(write_run(tmp_path, rows, HIDDEN))["hidden", 4].versus}
    assert versus["temperature"].other == ("temperature", 0.7)
    assert versus["temperature"].label == "sampling at temperature 0.7, its best"
    assert versus["random"].label == "a random direction of steps 3"


def test_intervals_are_those_of_the_general_bootstrap() -> None:
    scores = np.random.default_rng(1).normal(size=40)
    assert mean_interval(scores) == pytest.approx(bootstrap_interval(scores), abs=0.03)
    assert mean_interval([0.5] * 7) == pytest.approx((0.5, 0.5))
    with pytest.raises(UserError, match="no interval"):
        wilson_interval(1.1, 3)


# --- claims ----------------------------------------------------------------------------------------


def made(run_dir: Path) -> list[Claim]:
    return claims(list(points_of(run_dir).values()))


def test_claims_pass_when_the_whole_interval_is_above_zero(run: Path) -> None:
    gain = points_of(run)["hidden", 4].gains["gold"]
    told = {claim.sentence.rsplit(":", 1)[0]: claim for claim in made(run)}
    first = told["gold of moved particles, no selection, minus reference"]
    assert (first.passed, first.mark) == (True, "clear of zero")
    assert first.sentence.endswith(f": +0.60 [{gain.low:.2f}, {gain.high:.2f}]")
    assert told["second judge's score of moved particles, no selection, minus reference"].mark == "not clear of zero"
    assert told["gold of moved particles, no selection, minus a random direction of the same size"].passed
    best_of = (
        "gold of the selected completion minus best of 16 (as many candidates, nearest in time, 1 times the seconds)"
    )
    assert told[best_of].passed
    assert sum(claim.mark == "clear of one half" for claim in told.values()) == 1
    words = headline(list(points_of(run).values()), read_text_run(run))
    assert words.startswith("hidden at steps 4, configured before evaluation: gold +0.60 [")
    assert words.endswith(f"{len(told) - 1} of {len(told)} claims are clear of zero.")


@pytest.mark.parametrize(
    ("gain", "prompts", "mark"),
    [(-0.5, 8, "clearly below zero"), (0.05, 8, "not clear of zero"), (0.6, 5, "5 prompts: too few to say"),
     (0.6, 1, "1 prompt: too few to say")],
)  # fmt: skip
def test_claims_fail_otherwise(tmp_path: Path, gain: float, prompts: int, mark: str) -> None:
    rows = rows_of("reference", 0, prompts=prompts) + rows_of("hidden", 4, gain, prompts=prompts)
    first = made(write_run(tmp_path, rows, HIDDEN))[0]
    assert (first.passed, first.mark) == (False, mark)


def test_a_budget_picked_after_the_fact_is_labelled_everywhere(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", a_run(), HIDDEN | {"picked": "after"})
    assert all(claim.mark.endswith("budget picked after the fact") for claim in made(run))
    points = list(points_of(run).values())
    assert "picked after the fact" in headline(points, read_text_run(run))
    assert any("picked after the fact, by the numbers it is reported with" in note for note in notes(points, TextRun()))
    early = write_run(tmp_path / "early", a_run(), HIDDEN | {"budget": 2})
    best = sweep_best(list(points_of(early).values()))
    assert best is not None
    assert best.key == ("hidden", 4)
    assert "Best of the sweep by gold, picked after the fact, is steps 4" in headline(
        list(points_of(early).values()), read_text_run(early)
    )


# --- report ----------------------------------------------------------------------------------------


def test_a_run_gives_table_figure_and_page(run: Path) -> None:
    (run / "environment.txt").write_text("command: vgf task=language\ntorch: 2.13.0\n")
    (run / "config.yaml").write_text("seed: 7\n")
    (run / "metrics.jsonl").write_text('{"step": 1, "seconds": 3, "heads/loss": 1.0}\n')
    text = write_text_report(run)
    assert "[pass] gold of moved particles, no selection, minus reference: +0.60 [" in text
    assert "[FAIL] second judge's score" in text
    assert text.endswith("warning: <b>odd</b>")
    assert next(line for line in text.splitlines() if line.endswith("<- configured")).startswith("hidden")
    assert (run / "curve.png").stat().st_size > 10_000
    page = Page(run / "report.html")
    assert "script" not in page.tags
    assert "b" not in page.tags[page.tags.index("section") :]
    assert page.tags.count("figure") == 4 + 1
    assert "Content-Security-Policy" in (run / "report.html").read_text()
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for words in ("vgf task=language", "torch: 2.13.0", "layer", "clear of zero", "best of 16, 1 x time", "heads/loss"):
        assert words in page.words


def test_how_often_the_judge_prefers_is_shown_where_a_file_has_it(run: Path, tmp_path: Path) -> None:
    assert "beats_chosen" not in (run / "eval.csv").read_text(), "as before it was measured"
    assert "beat the data's" not in write_text_report(run)
    rows = rows_of("reference", 0, beats_chosen=0.25) + rows_of("hidden", 4, 0.6, beats_chosen=0.875)
    text = write_text_report(write_run(tmp_path / "later", rows, HIDDEN))
    header, *lines = (line for line in text.splitlines() if line.startswith(("method", "reference", "hidden")))
    assert "beat the data's" in header
    assert ["25%" in lines[0], "88%" in lines[1]] == [True, True]
    assert "88%" in Page(tmp_path / "later" / "report.html").words


def test_tokens_are_escaped_and_changed_ones_marked(small: Path) -> None:
    sample = {"method": "hidden", "budget": 4, "seed": 0, "prompt": "<script>p", "before": [" bad", "<script>"],
              "after": [" good", " &", "<script>"], "changed": [True, True, False], "gold_before": -0.5}  # fmt: skip
    (small / "samples.json").write_text(json.dumps([sample, {"after": ["cut"]}]))
    write_text_report(small)
    html = (small / "report.html").read_text()
    assert "<mark>good &amp;</mark>&lt;script&gt;" in html
    page = Page(small / "report.html")
    assert "script" not in page.tags
    assert "-0.50 \N{RIGHTWARDS ARROW} -" in page.words


def test_a_run_of_unknown_names_and_missing_cells_has_a_report(tmp_path: Path) -> None:
    odd = "<script>$x_{"
    rows = [
        row | dict.fromkeys(("kl", "seconds", "nll", "candidates", "second"), "") for row in rows_of("reference", 0)
    ]
    rows += [r for b in (1, 20) for r in rows_of(odd, b, 0.3, kl="", seconds="", nll="", second="", travelled=b)]
    run = write_run(tmp_path / "<script>", rows, {"method": odd, "budget": 20, "knob": odd, "picked": odd})
    assert "warning" not in write_text_report(run)
    assert "script" not in Page(run / "report.html").tags
    points = list(points_of(run).values())
    assert [("NLL" in svg, "travelled" in svg) for svg in text_panel_svgs(points)] == [(False, False), (False, True)]
    assert points[-1].means["nll"].prompts == 0
    assert estimate_text(points[-1].means["nll"]) == "-"


@pytest.mark.parametrize(
    "rows",
    [
        rows_of("reference", 0, prompts=1),
        rows_of("hidden", 4, 0.5, prompts=1),
        [row for method in ("reference", "best_of_n", "hidden") for row in rows_of(method, 4, prompts=1)],
        [row | {"gold": "", "seconds": 0} for row in rows_of("reference", 0) + rows_of("hidden", 4)],
    ],
)  # fmt: skip
def test_little_is_reported_as_little(tmp_path: Path, rows: list[dict]) -> None:
    run = write_run(tmp_path / "run", rows, HIDDEN)
    (run / "samples.json").write_text("[{]")
    assert "warning" not in write_text_report(run)
    assert "samples.json cannot be read" in Page(run / "report.html").words
    assert (run / "curve.png").exists()
    assert not any(claim.passed for claim in made(run))


def test_without_text_json_nothing_is_configured(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", a_run())
    assert made(run) == []
    assert "configured budget was not evaluated" in headline(list(points_of(run).values()), read_text_run(run))
    assert "budget is 0: the reference" in headline(list(points_of(run).values()), TextRun("hidden", 0.0))
    (run / "text.json").write_text("[1]")
    assert read_text_run(run).warnings == ("text.json holds no object; what was configured is unknown",)
    (run / "text.json").write_text('{"budget": "much", "seeds": "x", "facts": 3, "warnings": 4}')
    assert read_text_run(run) == TextRun()
    (run / "samples.json").write_text('["a", {"changed": 3, "after": "abc"}]')
    samples, warnings = read_samples(run)
    assert (len(samples), len(warnings)) == (1, 1)
    assert samples[0].changed == (False,) * 3


def test_broken_scores_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"eval\.csv does not exist"):
        write_text_report(tmp_path)
    run = write_run(tmp_path, [*rows_of("reference", 0), rows_of("hidden", -1)[0]])
    with pytest.raises(UserError, match="line 18: budget=-1 is below 0"):
        write_text_report(run)


def test_a_picture_that_cannot_be_drawn_is_a_warning_line(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no\nfont")

    monkeypatch.setattr("vgf.report.text_report.draw_text_curve", fail)
    lines = write_text_report(small).splitlines()
    assert lines[-1] == "warning: curve.png was not written (RuntimeError: no font)"
    assert (small / "report.html").exists()
