"""What a call runs with: keys, then trainers and methods that are named, then the preset."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.command import run_main
from tests.results.test_registry_files import composed
from vgf import compose
from vgf.check import check_config
from vgf.compose import file_values, preset_choice, settled
from vgf.config import Config
from vgf.errors import UserError


def resolved(*given: str) -> Config:
    config = OmegaConf.to_object(settled(composed(*given).copy(), [word.split("=")[0] for word in given]))
    assert isinstance(config, Config)
    return config


@pytest.mark.parametrize("preset", ["qpilots/scene", "a_vgf/puzzle-3x3", "vgf/puzzle-3x3", "qgf/scene", "vgf/d4rl"])
@pytest.mark.parametrize("trainer", ["fql", "qam", "rebrac"])
def test_a_trainer_that_is_named_is_the_one_that_trains(trainer: str, preset: str):
    config = resolved(f"trainer={trainer}", f"preset={preset}")
    tree: Any = OmegaConf.structured(config)
    own = file_values("trainer", trainer)
    assert {key: OmegaConf.select(tree, key) for key in own} == own
    assert config.train.discount == composed(f"preset={preset}").train.discount
    check_config(config)


def test_qam_and_fql_with_a_presets_sizes():
    qam, fql = (resolved(f"trainer={trainer}", "preset=qpilots/scene") for trainer in ("qam", "fql"))
    assert (qam.train.td.rule, qam.train.td.particles, qam.net.hidden) == ("best_of_n", 1, 512)
    assert (fql.train.aggregate, fql.net.policy, fql.net.heads) == ("mean", "one_step", 10)


def test_single_keys_win_over_the_trainer():
    given = ("trainer=qam", "preset=qpilots/scene", "train.td.particles=3", "train.actor={inverse_temperature: 2}")
    config = resolved(*given)
    assert (config.train.td.rule, config.train.td.particles) == ("best_of_n", 3)
    assert config.train.actor.inverse_temperature == 2


def test_a_preset_made_for_a_trainer_keeps_its_settings(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compose, "preset_choice", lambda name, group: "qam" if group == "trainer" else None)
    assert resolved("trainer=qam", "preset=qpilots/scene").train.td.rule == "qpilots_u"
    assert resolved("trainer=fql", "preset=qpilots/scene").train.aggregate == "mean"


def test_what_a_preset_takes_of_other_groups(monkeypatch: pytest.MonkeyPatch):
    assert [preset_choice("vgf/d4rl", group) for group in ("method", "task", "trainer")] == [
        "vgf",
        "custom",
        None,
    ]
    files: dict[str, dict[str, Any]] = {
        "base": {"defaults": [{"override /trainer": "qam"}, {"override /method": "vgf"}]},
        "own": {"defaults": ["/preset/base", {"override /trainer": "fql"}, "_self_"]},
    }
    monkeypatch.setattr(compose, "_content", lambda group, name: files[name])
    assert [preset_choice("own", group) for group in ("trainer", "method")] == ["fql", "vgf"]


def test_values_of_a_file_and_of_those_it_builds_on():
    values = file_values("preset", "qpilots/humanoidmaze-large")
    assert (values["train.aggregate"], values["train.td.rule"], values["preset"]) == (
        "mean",
        "qpilots_u",
        "qpilots/humanoidmaze-large",
    )
    assert "run_dir" not in file_values("trainer", "fql")
    assert file_values("trainer", "../preset/paper") == {}


def test_a_run_that_nothing_would_be_read_of_is_refused():
    with pytest.raises(UserError, match=r"^run=somewhere goes with mode=eval; .* init=RUN_DIR$"):
        resolved("run=somewhere")


def test_keys_and_options_may_stand_in_any_order():
    key = ["task=mujoco", "seed=3"]
    status, text = run_main([*key, "--cfg", "job"])
    assert status == 0, text
    assert "preset: mujoco" in text
    assert text == run_main(["--cfg", "job", *key])[1] == run_main([key[0], "--cfg", "job", key[1]])[1]
