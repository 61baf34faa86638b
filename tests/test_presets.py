"""Presets: every one composes, is frozen to what its paper says, and is listed in the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from vgf.check import check_config
from vgf.complaints import group_options
from vgf.compose import preset_method
from vgf.config import Config
from vgf.tasks.ogbench import split_name

DOCUMENT = (Path(__file__).parents[1] / "docs" / "presets.md").read_text()
PRESETS = group_options("preset")


def composed(*overrides: str) -> Config:
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_module("vgf.configs", version_base="1.3"):
        config = OmegaConf.to_object(compose("config", list(overrides)))
    assert isinstance(config, Config)
    return config


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_run_that_could_start(name):
    config = composed(f"preset={name}")
    assert config.preset == name
    check_config(config)
    if config.task == "ogbench":
        split_name(str(config.env))  # the environment exists


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_documented(name):
    assert f"`{name.replace('qpilots_m/', 'qpilots/')}`" in DOCUMENT  # one table for both


def table(heading: str) -> list[list[str]]:
    """Cells of the table under a heading of the document, without its head."""
    section = DOCUMENT.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("row", table("A-VGF"), ids=lambda row: row[0])
def test_a_vgf_is_frozen(row):
    name, discount, aggregate, steps, size = row
    config = composed(f"preset={name}")
    train, td = config.train, config.train.td
    assert (train.discount, train.aggregate) == (float(discount), aggregate)
    assert (td.steps, td.size) == (config.budget.steps, config.budget.size) == (int(steps), float(size))
    assert (td.rule, td.particles, config.transport.particles, config.method) == ("a_vgf", 5, 5, "a_vgf")
    assert (config.transport.critic, config.transport.aggregate) == ("online", aggregate)  # they select
    assert (config.net.hidden, config.net.layers, config.net.activation, config.net.policy_norm) == (
        512,
        4,
        "relu",
        False,
    )


@pytest.mark.parametrize("row", table("VGF"), ids=lambda row: row[0])
def test_vgf_is_frozen(row):
    name, steps, size, alpha = row
    config = composed(f"preset={name}")
    td = config.train.td
    assert (td.steps, td.size, td.alpha) == (int(steps), float(size), float(alpha))
    assert (config.budget.steps, config.budget.size, config.transport.alpha) == (int(steps), float(size), float(alpha))
    assert (td.rule, td.particles, config.transport.particles, config.train.aggregate) == ("vgf", 10, 10, "mean")


@pytest.mark.parametrize("row", table("VGF on D4RL"), ids=lambda row: row[0])
def test_vgf_on_d4rl_is_frozen(row):
    name, steps, size, alpha, aggregate = row
    config = composed(f"preset={name}")
    td = config.train.td
    assert (td.steps, td.size, td.alpha, config.train.aggregate) == (int(steps), float(size), float(alpha), aggregate)
    assert (config.task, config.method, td.particles, config.train.discount) == ("custom", "vgf", 10, 0.99)


@pytest.mark.parametrize("row", table("QGF"), ids=lambda row: row[0])
def test_qgf_is_frozen(row):
    config = composed(f"preset={row[0]}")
    train = config.train
    assert (train.steps, train.batch_size, train.discount, train.chunk) == (500_000, 1024, 0.999, 5)
    assert (train.critic, train.expectile, train.aggregate, train.target_rate) == ("iql", 0.9, "min", 0.005)
    assert (config.net.hidden, config.net.layers, config.net.heads) == (1024, 4, 2)
    assert config.eval.budgets == [0, 0.004, 0.008, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12]


@pytest.mark.parametrize("row", table("QPILOTS"), ids=lambda row: row[0])
def test_qpilots_is_frozen(row):
    name, discount, chunk, rho, size = row
    config = composed(f"preset={name}")
    train = config.train
    assert (train.discount, train.chunk) == (float(discount), int(chunk))
    assert config.budget.size == train.td.size == float(size)
    aggregate = "mean" if rho == "0" else f"mean-{rho}*std"
    assert {train.aggregate, train.td.aggregate, config.transport.aggregate} == {aggregate}
    assert (train.critic, train.td.rule, train.td.particles, train.td.moved_by) == ("td", "qpilots_u", 1, "target")
    assert (config.net.heads, config.net.policy_norm) == (10, False)


@pytest.mark.parametrize("row", table("QPILOTS"), ids=lambda row: row[0])
def test_qpilots_m_is_qpilots_u_but_for_the_rule(row):
    u, m = (composed(f"preset={name}") for name in (row[0], row[0].replace("qpilots/", "qpilots_m/")))
    assert (m.method, m.transport.rule, m.train.td.rule, m.net.extras) == ("qpilots_m",) * 3 + (["flow_map"],)
    assert m.transport.options == {"samples": 4, "tau": 1.0}
    assert (u.train.flow_times, m.train.flow_times) == ("grid", "uniform")  # the posterior asks between Euler steps
    for config in (u, m):
        config.train.flow_times = "either"
        config.preset = config.method = config.transport.rule = config.train.td.rule = "either"
        config.net.extras, config.transport.options = [], {}
        config.run_dir = ""
    assert m == u


def test_qam_has_no_layer_norm_in_its_flows():
    config = composed("trainer=qam")
    assert (config.net.policy_norm, config.net.heads) == (False, 10)


def test_the_command_line_wins_over_a_preset():
    config = composed("preset=qpilots/scene", "net.heads=3", "train.td.size=0.7")
    assert (config.method, config.net.heads, config.train.td.size) == ("qpilots_u", 3, 0.7)


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_method_is_known(name):
    assert preset_method(name) == composed(f"preset={name}").method
