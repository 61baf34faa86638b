"""What ``mode=eval`` and ``init=`` take of a stored run: its own settings, but for what the command line names."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.command import ONE_EPISODE, run_main
from tests.conftest import MAZE
from tests.test_compose import resolved
from vgf.checkpoint import load_checkpoint
from vgf.config import Config
from vgf.errors import UserError
from vgf.methods import load_method


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """Call ``mode=eval`` on a run of qgf whose move, gate and sweep are not its file's: the configuration to score."""
    method = load_method("qgf")
    stored = Config(task="ogbench", env=MAZE, method="qgf", transport=method.transport, budget=method.budget)
    stored.transport.gate, stored.budget.size, stored.sweep = 1.25, 0.5, [0.0, 0.5]
    stored.eval.budgets = [0.0, 0.5, 2.0]
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(stored), resolve=True))
    scored: list[Config] = []
    monkeypatch.setattr("vgf.launch.score_run", lambda config, *others: scored.append(config))

    def evaluate(*given: str) -> Config:
        status, text = run_main(["mode=eval", f"run={tmp_path}", *given])
        assert status == 0, text
        return scored[-1]

    return evaluate


def settings(config: Config) -> tuple[object, ...]:
    return config.method, config.transport.gate, config.budget.size, config.sweep, config.eval.budgets


def test_naming_the_stored_method_again_changes_nothing(evaluated):
    assert settings(evaluated("method=qgf")) == settings(evaluated()) == ("qgf", 1.25, 0.5, [0, 0.5], [0, 0.5, 2])


def test_keys_beside_the_stored_method_change_what_they_name_alone(evaluated):
    given = ("method=qgf", "budget.size=0.1", "transport.particles=3")
    config = evaluated(*given)
    assert settings(config) == ("qgf", 1.25, 0.1, [0, 0.5], [0, 0.5, 2])
    assert config.transport.particles == 3


def test_another_method_brings_settings_of_its_own(evaluated):
    own = load_method("vgf")
    assert settings(evaluated("method=vgf")) == ("vgf", own.transport.gate, own.budget.size, own.sweep, None)


@pytest.fixture
def gone_on(tmp_path):
    """The configuration of ``init=``, from a run stored with what is given first."""

    def go_on(stored: tuple[str, ...], *given: str, origin: str = "init") -> Config:
        before = resolved(*stored)
        before.run_dir = "there"
        (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(before), resolve=True))
        return resolved(f"{origin}={tmp_path}", *given)

    return go_on


def taken(config: Config) -> tuple[object, ...]:
    train = config.train
    return config.trainer, config.net.policy, train.critic, train.td.rule, train.aggregate, train.freeze


def test_another_trainer_gets_nothing_of_the_stored_ones(gone_on):
    plain = ("online", None, "iql", "vgf", "min", [])
    for trainer in ("extras", "fql", "qam", "rebrac", "offline"):
        assert taken(gone_on((f"trainer={trainer}",), "trainer=online")) == plain
    assert taken(gone_on(("trainer=fql",), "trainer=qam")) == taken(resolved("trainer=qam"))
    assert gone_on(("trainer=extras",), "trainer=online", "train.freeze=[q]").train.freeze == ["q"]


def test_another_trainer_gets_the_presets_settings_back(gone_on):
    config = gone_on(("trainer=qam", "preset=qpilots/scene", "train.td.size=0.7"), "trainer=online")
    assert taken(config) == ("online", None, "td", "qpilots_u", "mean-0.5*std", [])
    assert config.train.td.size == 0.7  # no trainer's own


@pytest.mark.parametrize("preset", ["qpilots/scene", "qpilots_m/scene"])
def test_another_trainer_trains_as_the_preset_says(gone_on, preset):
    for trainer in ("qam", "fql"):
        stored = (f"trainer={trainer}", f"preset={preset}")
        config = gone_on(stored, "trainer=online", "method=qgf", "net.extras=[flow_map]")
        assert (config.train.critic, config.train.aggregate) == ("td", "mean-0.5*std")


@pytest.mark.parametrize(
    ("key", "value"), [("net.hidden", 64), ("train.chunk", 7), ("seed", 3), ("train.td.particles", 4)]
)
def test_what_a_run_was_trained_with_cannot_be_changed_afterwards(gone_on, key, value):
    with pytest.raises(UserError, match=rf"{key}={value} cannot be had with run=.*; leave it out"):
        gone_on((), f"{key}={value}", "mode=eval", origin="run")
    config = gone_on((f"{key}={value}",), f"{key}={value}", "mode=eval", origin="run")
    assert attrgetter(key)(config) == value
    assert attrgetter(key)(gone_on((), f"{key}={value}")) == value  # init= trains on, with other settings


def test_mode_eval_has_one_directory(gone_on, tmp_path):
    with pytest.raises(UserError, match=r"mode=eval writes to run=.*; leave run_dir out"):
        gone_on((), "run_dir=elsewhere", "mode=eval", origin="run")
    gone_on((), f"run_dir={tmp_path}", "mode=eval", origin="run")


@pytest.mark.parametrize("key", ["eval.budgets=[0]", "eval.baselines=[vgf]", "budget.size=1", "transport.particles=3"])
def test_method_all_takes_no_points_of_ones_own(gone_on, key):
    with pytest.raises(UserError, match="method=all plays every method over its own sweep"):
        gone_on((), "method=all", key, "mode=eval", origin="run")


def test_networks_are_taken_over_as_they_were_built(gone_on):
    assert gone_on(("trainer=qam",), "trainer=online").net.heads == 10
    stored = ("trainer=qam", "net.hidden=32", "net.extras=[noisy]")
    assert gone_on(stored, "trainer=online").net.extras == ["noisy"]


def test_extras_are_added_to_a_run_that_keeps_its_settings(gone_on):
    config = gone_on(("trainer=fql", "train.actor.alpha=30"), "trainer=extras", "net.extras=[gradient]")
    assert taken(config) == ("extras", "one_step", "iql", "vgf", "mean", ["flow", "q", "v", "policy", "judge"])
    assert config.train.actor.alpha == 30
    assert gone_on(("trainer=extras", "net.policy=one_step"), "trainer=online").net.policy is None


def test_the_stored_trainer_again_changes_nothing(gone_on):
    config = gone_on(("trainer=fql", "train.actor.alpha=30", "train.aggregate=min"), "trainer=fql")
    assert (config.train.actor.alpha, config.train.aggregate, config.net.policy) == (30, "min", "one_step")


@pytest.mark.parametrize(("origin", "more"), [("init", ()), ("run", ("mode=eval",))])
@pytest.mark.parametrize(
    ("named", "kept"),
    [("preset=maze", "preset=default"), ("task=custom", "task=ogbench"), ("task=toy", "task=ogbench")],
)
def test_another_preset_or_task_is_refused(gone_on, tmp_path, origin, more, named, kept):
    with pytest.raises(UserError) as refused:
        gone_on((), named, *more, origin=origin)
    said = str(refused.value)
    assert said.startswith(f"{named} cannot be had with {origin}={tmp_path}, which keeps the {kept} stored there")
    status, text = run_main([named, f"{origin}={tmp_path}", *more])
    assert (status, text) == (2, f"vgf: {said}")


def test_another_trainer_is_refused_where_nothing_is_trained(gone_on):
    with pytest.raises(UserError, match="trainer=fql cannot be had with run="):
        gone_on((), "trainer=fql", "mode=eval", origin="run")
    assert gone_on(("trainer=fql",), "mode=eval", origin="run").trainer == "fql"


@pytest.mark.parametrize(("origin", "more"), [("init", ()), ("run", ("mode=eval",))])
def test_the_stored_preset_and_task_may_be_named(gone_on, origin, more):
    stored = ("preset=maze", "task=ogbench", "net.hidden=16")
    config = gone_on(stored, *stored[:2], *more, origin=origin)
    assert (config.preset, config.task, config.net.hidden) == ("maze", "ogbench", 16)
    config = gone_on(("task=mujoco", "preset=paper"), "task=mujoco", *more, origin=origin)  # not preset=mujoco
    assert config.preset == "paper"


@pytest.mark.slow
def test_a_run_with_extras_is_trained_on(tiny_run, tmp_path, monkeypatch):
    """Environment steps after trainer=extras move the networks that it froze."""
    monkeypatch.setattr("vgf.launch.score_run", lambda *what: None)
    added, online = tmp_path / "added", tmp_path / "online"
    extras = ("trainer=extras", f"init={tiny_run}", "net.extras=[flow_map]", "train.steps=2", *ONE_EPISODE)
    steps = ("trainer=online", f"init={added}", "train.steps=0", "online.steps=6", "online.start=1", "eval.episodes=1")
    for given in ((*extras, f"run_dir={added}"), (*steps, f"run_dir={online}")):
        status, text = run_main([*given, "train.save_every=100", "train.log_every=100"])
        assert status == 0, text
    before, after = (load_checkpoint(Path(run)).networks for run in (added, online))
    for network in ("flow.", "q.", "v."):
        assert any((before[key] != after[key]).any() for key in before if key.startswith(network)), network
