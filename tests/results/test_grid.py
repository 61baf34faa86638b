"""Templates become commands, ``each`` becomes measures, and what is wrong with either is one line."""

from __future__ import annotations

import pytest

from vgf import UserError
from vgf.results.experiment import Against, Experiment, Measure, Runs
from vgf.results.grid import measures_of, runs_of


def experiment(*runs: Runs, measures: tuple[Measure, ...] = ()) -> Experiment:
    return Experiment("e", "E", "?", "not run", "Control", runs=list(runs), measures=list(measures))


def test_every_combination_is_a_run_the_last_key_fastest():
    template = Runs(
        "python -m vgf.run env=e{task} seed={seed} run_dir=t{task}-s{seed}", grid={"task": [2, 1], "seed": [0, 1]}
    )
    runs = runs_of(experiment(template))
    assert [run.folder for run in runs] == ["t2-s0", "t2-s1", "t1-s0", "t1-s1"]
    assert runs[2].arguments == ("env=e1", "seed=0", "run_dir=t1-s0")
    assert runs[2].params == {"task": 1, "seed": 0}


def test_chosen_budgets_are_points():
    template = Runs('python -m vgf.run "eval.baselines=[{chosen}]" run_dir=a')
    (run,) = runs_of(experiment(template), {"qgf": 0.05, "vgf": 2.0})
    assert run.arguments[0] == "eval.baselines=[qgf@0.05,vgf@2]"
    assert run.command == "python -m vgf.run 'eval.baselines=[qgf@0.05,vgf@2]' run_dir=a"


def test_an_evaluation_reads_the_directory_that_it_evaluates():
    (run,) = runs_of(experiment(Runs("python -m vgf.run mode=eval run=there", copy="other/there")))
    assert (run.folder, run.copy) == ("there", "other/there")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("python -m vgf.run seed={sed} run_dir=a", "{sed} is not a key of the grid. Did you mean 'seed'"),
        ("rm -r run_dir=a", "a command begins with python -m vgf.run, not rm -r run_dir=a"),
        ("python -m vgf.run seed=1", "the command names no run_dir="),
    ],
)
def test_a_command_that_is_no_run_is_one_line(command: str, said: str):
    with pytest.raises(UserError, match=said.replace("{", "\\{")):
        runs_of(experiment(Runs(command, grid={"seed": [0]})))


def test_each_spells_one_measure_out():
    one = Measure(
        "{method}, {size}", "{method}", budget="{size}", where={"task": ["{size}"]},
        minus=Against("reference", "{size}"), each={"method": ["qgf", "vgf"], "size": [0.5, 2]},
    )  # fmt: skip
    made = measures_of(experiment(measures=(one,)))
    assert list(made) == ["qgf, 0.5", "qgf, 2", "vgf, 0.5", "vgf, 2"]
    assert made["qgf, 0.5"].budget == 0.5
    assert made["vgf, 2"].where == {"task": [2]}
    assert made["vgf, 2"].minus == Against("reference", 2)


def test_two_measures_of_one_name_are_refused():
    with pytest.raises(UserError, match="two measures are called 'a'"):
        measures_of(experiment(measures=(Measure("a", "qgf"), Measure("a", "vgf"))))


def test_a_measure_of_runs_that_do_not_exist_is_refused():
    runs = Runs("python -m vgf.run run_dir=a", name="main")
    with pytest.raises(UserError, match=r"no runs are called 'mian'. Did you mean 'main'"):
        measures_of(experiment(runs, measures=(Measure("a", "qgf", runs="mian"),)))
