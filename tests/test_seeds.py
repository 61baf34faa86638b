"""``seeds=K`` on the command line: run directories like those of single runs, evaluated and summed up."""

from __future__ import annotations

import numpy as np
import pytest
from omegaconf import OmegaConf

from tests.command import ONE_EPISODE, run_main
from vgf import UserError, files, launch, load
from vgf.config import Config
from vgf.evaluation import EpisodeRecord
from vgf.report.seeds import seeds_table
from vgf.rundir import RunDirectory, read_config
from vgf.seeds import each_seed


def configs(**changes) -> list[Config]:
    return list(each_seed(OmegaConf.merge(OmegaConf.structured(Config), changes)))


def test_seeds_count_upwards_each_with_a_directory_of_its_own():
    three = configs(seeds=3, seed=7)
    assert [c.seed for c in three] == [7, 8, 9]
    assert [c.run_dir for c in three] == [configs(seed=seed)[0].run_dir for seed in (7, 8, 9)]
    assert all(c.seeds is None for c in three)
    assert [c.run_dir for c in configs(seeds=2, run_dir="here/")] == ["here-seed0", "here-seed1"]
    assert [c.run_dir for c in configs(seeds=1, run_dir="here")] == ["here"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": 0}, "from 1 to 100"),
        ({"seeds": 10**9}, "from 1 to 100"),
        ({"seeds": 2, "seed": 2**32 - 1}, "leads beyond 4294967295"),
        ({"seeds": 2, "mode": "eval"}, "mode=eval"),
        ({"seeds": 2, "train": {"nonfinite": "skip"}}, "nonfinite=stop"),
    ],
)
def test_seeds_that_make_no_sense(changes, said):
    with pytest.raises(UserError, match=said):
        configs(**changes)


def test_a_single_seed_beyond_the_last_is_told_as_one():
    status, text = run_main(["task=ogbench", f"seed={2**32}"])
    assert status == 2, text
    assert "seed=4294967296 is out of range" in text
    assert "seeds=" not in text


def evaluated(run_dir, successes: list[float]) -> None:
    run = RunDirectory(run_dir)
    run_dir.mkdir()
    for budget in (0.0, 0.1):
        run.add_evaluation(10, "qgf", budget, [EpisodeRecord(e, -1.0, s, 5) for e, s in enumerate(successes)])


def test_the_summary_pools_episodes_and_names_the_lowest_and_highest_seed(tmp_path):
    for name, successes in (("a", [0, 0, 0, 1]), ("b", [1, 1, 0, 1]), ("c", [1, 0, 1, 0])):
        evaluated(tmp_path / name, successes)
    RunDirectory(tmp_path / "a").add_evaluation(10, "qgf", 0.3, [EpisodeRecord(0, -1.0, 0.0, 5)])  # by one seed alone
    lines = seeds_table([tmp_path / name for name in "abc"]).splitlines()
    assert lines[0] == "3 seeds, 12 episodes a line in all; step 10"
    assert len(lines) == 4
    assert "50 %" in lines[2]
    assert "25 % to 75 %" in lines[2]


def test_a_run_of_two_seeds_leaves_two_runs(tmp_path, tiny, monkeypatch):
    plain = [*tiny, *ONE_EPISODE, "train.precision=float32"]
    status, text = run_main([*plain, "seeds=2", "seed=1", f"run_dir={tmp_path}/s${{seed}}"])
    assert status == 0, text
    assert "2 seeds, 2 episodes a line in all" in text
    monkeypatch.setattr(launch, "score_run", lambda *_: None)
    status, text = run_main([*plain, "seed=2", f"run_dir={tmp_path}/alone"])
    assert status == 0, text
    obs = np.zeros((3, 2), np.float32)
    np.testing.assert_allclose(load(tmp_path / "s2").act(obs), load(tmp_path / "alone").act(obs), atol=1e-4)
    for name in ("metrics.jsonl", "eval.csv", "report.html", "curve.png", "probe.npz", "environment.txt"):
        assert (tmp_path / "s1" / name).stat().st_size > 0
    config = read_config(tmp_path / "s1")
    assert (config.seed, config.seeds) == (1, None)
    status, text = run_main([*plain, "seed=2", f"run_dir={tmp_path}/s2"])
    assert status == 0, text
    assert "trained to its end" in text


def test_seeds_hold_every_directory_of_theirs(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(files, "_MOMENT", 0.0)
    monkeypatch.setattr(launch, "_train", lambda *_: pytest.fail("a run was trained in somebody else's directory"))
    with RunDirectory(tmp_path / "s2").held():
        status, text = run_main([*tiny, "seeds=2", "seed=1", f"run_dir={tmp_path}/s${{seed}}"])
    assert status == 2
    assert f"another process is working in {tmp_path}/s2" in text


@pytest.mark.parametrize("overrides", [["trainer=online"], ["task=llm_reward"]])
def test_what_cannot_train_seeds_at_once_says_so(overrides):
    status, text = run_main([*overrides, "seeds=2", "run_dir=never"])
    assert status == 2
    assert "-m seed=0,1" in text
    assert len(text.splitlines()) == 1
