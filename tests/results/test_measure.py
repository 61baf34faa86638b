"""Numbers from run directories whose scores are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vgf import UserError
from vgf.aggregate import iqm_interval
from vgf.report.text_rows import COLUMNS as TEXT_COLUMNS
from vgf.results.choose import choose
from vgf.results.experiment import Against, Experiment, Measure, Runs
from vgf.results.grid import runs_of
from vgf.results.measure import Number, measured, runs_needed
from vgf.rundir import EVAL_COLUMNS
from vgf.stats import bootstrap_interval, mean_interval, success_interval

SEEDS = Runs("python -m vgf.run seed={seed} run_dir=s{seed}", grid={"seed": [0, 1]})
Rows = list[tuple[int, str, float, int, float, float]]  # step, method, budget, episode, success, travelled


def write(folder: Path, rows: Rows) -> None:
    folder.mkdir(parents=True)
    lines = [",".join(EVAL_COLUMNS)]
    for step, method, budget, episode, success, travelled in rows:
        lines.append(f"{step},{method},{budget},{episode},{10 * success},{success},5,{travelled},0,1,0")
    (folder / "eval.csv").write_text("\n".join(lines) + "\n")
    (folder / "config.yaml").write_text("method: qgf\n")


def number(tmp_path: Path, measure: Measure, chosen: dict[str, float] | None = None, runs: Runs = SEEDS) -> Number:
    experiment = Experiment("e", "E", "?", "not run", "Control", runs=[runs], measures=[measure])
    numbers, reasons = measured(experiment, tmp_path, chosen or {})
    if reasons:
        raise UserError(next(iter(reasons.values())))
    return numbers[measure.name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two seeds; reference and qgf at two budgets; an earlier checkpoint that only ``step`` asks for."""
    rng = np.random.default_rng(0)
    for seed in (0, 1):
        rows: Rows = [(5, "qgf", 0.1, e, 0.0, 0.01) for e in range(8)]
        for budget, far, rate in ((0.0, 0.0, 0.2), (0.1, 0.02, 0.5), (0.3, 0.06, 0.9)):
            rows += [(10, "qgf", budget, e, float(rng.random() < rate), far) for e in range(8)]
        rows += [(10, "best_of_n", 0.0, e, float(rng.random() < 0.4), 0.0) for e in range(8)]
        write(tmp_path / f"s{seed}", rows)
    return tmp_path


def scores(folder: Path, seed: int, method: str, budget: float, column: int = 5) -> np.ndarray:
    cells = [line.split(",") for line in (folder / f"s{seed}" / "eval.csv").read_text().splitlines()[1:]]
    return np.array([float(c[column]) for c in cells if (c[0], c[1], float(c[2])) == ("10", method, budget)])


def test_success_pools_the_episodes_of_all_runs(folder: Path):
    both = [scores(folder, seed, "qgf", 0.1) for seed in (0, 1)]
    expected = Number(float(np.concatenate(both).mean()), *success_interval(both))
    assert number(folder, Measure("m", "qgf", budget=0.1)) == expected
    assert number(folder, Measure("m", "qgf", budget="chosen"), {"qgf": 0.1}) == expected


def test_mean_is_resampled_within_runs(folder: Path):
    both = [scores(folder, seed, "qgf", 0.1, column=4) for seed in (0, 1)]
    found = number(folder, Measure("m", "qgf", budget=0.1, field="return", statistic="mean"))
    assert found == Number(float(np.concatenate(both).mean()), *bootstrap_interval(both))


def test_iqm_resamples_runs_of_each_task(folder: Path):
    means = [float(scores(folder, seed, "qgf", 0.1).mean()) for seed in (0, 1)]
    assert means[0] != means[1], "seeds of one task are resampled together only where they differ"
    assert number(folder, Measure("m", "qgf", budget=0.1, statistic="iqm")) == Number(*iqm_interval([means]))


def test_where_and_step_choose_among_runs_and_checkpoints(folder: Path):
    one = number(folder, Measure("m", "qgf", budget=0.3, where={"seed": [1]}))
    assert one.value == scores(folder, 1, "qgf", 0.3).mean()
    assert number(folder, Measure("m", "qgf", budget=0.1, step=5)).value == 0


def test_differences_are_paired(folder: Path):
    minus = Measure("m", "qgf", budget=0.3, statistic="mean", minus=Against("qgf", 0), where={"seed": [0]})
    pairs = scores(folder, 0, "qgf", 0.3) - scores(folder, 0, "qgf", 0.0)
    assert number(folder, minus) == Number(float(pairs.mean()), *mean_interval(pairs))


@pytest.mark.parametrize("statistic", ["mean", "iqm"])
def test_equal_scores_tell_no_interval(folder: Path, statistic: str):
    same = number(folder, Measure("m", "qgf", budget=0.1, field="travelled", statistic=statistic))
    assert same.value == pytest.approx(0.02)
    assert np.isnan([same.low, same.high]).all()


def test_runs_that_are_read_need_those_they_subtract_and_start_from():
    each = {
        "base": ("", None), "first": ("", None), "second": ("init=base", None), "third": ("", "./first"),
        "aside": ("", None),
    }  # fmt: skip
    runs = [Runs(f"python -m vgf.run {words} run_dir={name}", name, copy=copy) for name, (words, copy) in each.items()]
    measures = [
        Measure("m", "qgf", runs="third", minus=Against("qgf", runs="second")), Measure("n", "qgf", runs="aside"),
    ]  # fmt: skip
    experiment = Experiment("e", "E", "?", "not run", "Control", runs=runs, measures=measures)
    assert runs_needed(experiment, ["m"]) == {"base", "first", "second", "third"}


def test_a_distance_lies_between_two_budgets(folder: Path):
    at = Measure("m", "qgf", travelled=0.03, statistic="mean", where={"seed": [0]})
    mixed = 0.75 * scores(folder, 0, "qgf", 0.1) + 0.25 * scores(folder, 0, "qgf", 0.3)
    assert number(folder, at).value == pytest.approx(mixed.mean())


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        (Measure("m", "qgff", budget=0.1), "holds no row of qgff at step 10; it has"),
        (Measure("m", "qgf"), "at several budgets; the measure must name one"),
        (Measure("m", "qgf", budget=0.2), r"no row of qgf at 0\.2; it has 0, 0\.1, 0\.3"),
        (Measure("m", "qgf", budget="chosen"), "no budget of qgf has been chosen"),
        (Measure("m", "qgf", budget=0.1, field="sucess"), "has no sucess of qgf. Did you mean 'success'"),
        (Measure("m", "qgf", travelled=0.5, statistic="mean"), "sweep reaches from 0 to 0.06"),
        (Measure("m", "qgf", travelled=0.03, field="sucess"), "has no sucess of qgf. Did you mean 'success'"),
        (Measure("m", "qgf", budget=0.1, statistic="median"), "statistic='median' is unknown"),
        (Measure("m", "qgf", budget=0.1, minus=Against("best_of_n", runs="x")), "no run 'x'"),
    ],
)
def test_what_cannot_be_read_says_why(folder: Path, measure: Measure, said: str):
    with pytest.raises(UserError, match=said):
        number(folder, measure)


def test_where_that_leaves_no_run_is_refused(folder: Path):
    with pytest.raises(UserError, match="where leaves none of the runs"):
        number(folder, Measure("m", "qgf", budget=0.1, where={"seed": [7]}))


def test_noise_seeds_of_a_prompt_are_averaged_first(tmp_path: Path):
    (tmp_path / "s0").mkdir()
    lines = [",".join(TEXT_COLUMNS)]
    for prompt, golds in enumerate(([1.0, 3.0], [5.0, 5.0], [0.0, 4.0])):
        for seed, gold in enumerate(golds):
            lines.append(f"0,hidden,0.1,{seed},{prompt},0,{gold}" + ",0" * 12)
            lines.append(f"0,reference,0,{seed},{prompt},0,{gold - 1 - prompt}" + ",0" * 12)
    (tmp_path / "s0" / "eval.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "s0" / "text.json").write_text(json.dumps({}))
    runs = Runs("python -m vgf.run run_dir=s0")
    gold = Measure("m", "hidden", budget=0.1, field="gold", statistic="mean")
    assert number(tmp_path, gold, runs=runs).value == pytest.approx((2 + 5 + 2) / 3)
    gain = Measure("m", "hidden", budget=0.1, field="gold", statistic="mean", minus=Against("reference"))
    assert number(tmp_path, gain, runs=runs) == Number(2.0, *mean_interval([1.0, 2.0, 3.0]))


def test_the_pilot_chooses_the_best_budget_above_zero_and_of_equals_the_smaller(tmp_path: Path):
    rows: Rows = [
        (10, "qgf", b, e, float(e < n), b) for b, n in ((0.0, 8), (0.1, 3), (0.2, 5), (0.3, 5)) for e in range(8)
    ]
    write(tmp_path / "s0", rows + [(10, "best_of_n", 0.0, e, 1.0, 0.0) for e in range(8)])
    pilots = runs_of(
        Experiment("e", "E", "?", "run", "Control", runs=[Runs("python -m vgf.run run_dir=s0", pilot=True)])
    )
    assert choose(tmp_path, pilots) == {"best_of_n": 0.0, "qgf": 0.2}
