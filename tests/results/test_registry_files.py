"""The registry itself: every file is whole, every command starts a run, the page is what the registry says."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from vgf.check import check_config
from vgf.compose import with_own_preset
from vgf.config import Config
from vgf.launch import _OPEN_KEYS
from vgf.results import page
from vgf.results.grid import measures_of, runs_of
from vgf.results.measure import STATISTICS
from vgf.results.record import expected_of
from vgf.results.registry import experiments, folder, names, read
from vgf.unread import require_read

ROOT = Path(__file__).parents[2]
each = pytest.mark.parametrize("name", names())
CHOSEN = {"qgf": 0.1, "vgf": 2.0, "best_of_n": 0.0}  # stands in for budgets that no pilot has chosen yet


@functools.cache
def composed(*arguments: str) -> DictConfig:
    given = [f"++{word}" if word.startswith(_OPEN_KEYS) else word for word in with_own_preset(list(arguments))]
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_module("vgf.configs", version_base="1.3"):
        return compose("config", given)


@each
def test_every_command_composes_into_a_valid_configuration(name: str):
    experiment = read(name)
    firsts = {run.template: run for run in reversed(runs_of(experiment, CHOSEN))}
    for run in firsts.values():
        config = composed(*run.arguments)
        if config.mode == "train" and config.init is None:
            whole = OmegaConf.to_object(config)
            assert isinstance(whole, Config)
            check_config(whole)
            require_read(whole, [word.partition("=")[0] for word in run.arguments])


@each
def test_an_experiment_is_whole(name: str):
    experiment = read(name)
    measures = measures_of(experiment)
    runs = runs_of(experiment, CHOSEN)
    commands = [run.command for run in runs]
    assert len(set(commands)) == len(commands), "two runs of one command"
    assert all(measure.statistic in STATISTICS for measure in measures.values())
    assert all(run.copy is None or run.copy.split("/")[0] in [".", *names()] for run in runs)
    assert bool(experiment.expected) == (experiment.status != "not run") or not experiment.runs
    assert all(published.measure in measures for published in experiment.published)
    if experiment.expected:
        assert set(experiment.expected.values) <= set(measures)
        assert re.fullmatch(r"[0-9a-f]{40}", experiment.expected.commit)
        assert all(not ends or ends[0] <= value <= ends[1] for value, *ends in experiment.expected.values.values())
    for figure in experiment.figures:
        assert (ROOT / "docs" / figure.file).is_file() or experiment.expected is None
        assert bool(figure.source) != bool(figure.measures)


def test_no_pilot_shares_a_seed_with_what_it_chooses_for():
    for experiment in experiments():
        seeds = {
            pilot: {run.params.get("seed") for run in runs_of(experiment) if run.pilot is pilot} for pilot in (0, 1)
        }
        assert not seeds[0] & seeds[1], experiment.name


def test_the_page_is_what_the_registry_says():
    known = (ROOT / "docs" / "results.md").read_text()
    assert known == page.page_text(experiments()), "run: python -m vgf.results page"


def test_one_command_makes_every_picture_of_the_documents():
    drawn = {figure.file for experiment in experiments() for figure in experiment.figures}
    drawn.add("speed.png")  # python -m vgf.bench draws it
    assert {path.name for path in (ROOT / "docs").glob("**/*.png")} <= drawn


def test_the_registry_names_no_place_of_a_machine():
    for name in names():
        assert not re.search(r"/(home|tmp|root|work)/", (ROOT / "results" / f"{name}.yaml").read_text()), name


@pytest.mark.parametrize("kept", sorted(folder().glob("scores/*/")), ids=lambda path: path.name)
def test_recorded_numbers_follow_from_the_scores_that_are_kept(kept: Path):
    experiment = read(kept.name)
    if not experiment.expected:
        pytest.skip("these scores wait for others")
    recorded = experiment.expected.values
    again, missing = expected_of(experiment, kept)
    if recorded.keys() & missing.keys():
        pytest.skip("these scores wait for others; what is recorded was read before any were kept")
    assert again.values == recorded
    assert again.chosen == experiment.expected.chosen
    assert again.seconds == experiment.expected.seconds
