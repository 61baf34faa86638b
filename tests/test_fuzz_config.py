"""Configurations at random: each makes one update and acts, or ends in one line that a user can act on."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from fuzzing import cases, complaint, run_cases
from hypothesis import strategies as st
from omegaconf import OmegaConf

import vgf
from vgf import launch
from vgf.check import CHOICES
from vgf.complaints import group_options
from vgf.config import Config
from vgf.methods import load_method, method_names
from vgf.nets.extras import EXTRAS
from vgf.report.facts import flatten
from vgf.transport import RULES
from vgf.transport.select import SELECTORS
from vgf.transport.steps import STEPS

# What a case must not draw: it would only make it long (steps, flow steps and the like are drawn small below), start a
# compiler, or leave the folder of the test.
_FIXED = {"task", "method", "trainer", "run_dir", "run", "init", "data.path", "data.folder", "train.steps", "preset"}
_SMALL = {
    "net.hidden": [1, 8], "net.layers": [1, 2], "net.heads": [1, 2, 3], "train.batch_size": [1, 2, 6],
    "train.accumulate": [1, 2, 3], "train.chunk": [1, 2, 5, 9], "train.n_step": [1, 3, 50, None],
    "train.flow_steps": [1, 2, 5], "train.td.particles": [1, 3], "train.td.steps": [0, 1, 3, None],
    "transport.particles": [1, 2, 5], "budget.steps": [0, 1, 4, None], "online.steps": [1, 3], "threads": [1, None],
    "eval.budgets": [None, [], [0.0], [0.1, 2.0], [1.0, 1.0]], "eval.baselines": [[], ["best_of_n"], ["vgf", "nope"]],
    "net.extras": [[], list(EXTRAS), ["noisy"], ["nope"]], "train.freeze": [[], ["flow"], ["q", "v"], ["nope"]],
    "transport.options": [{}, {"samples": 2}, {"samples": "many"}, {"tau": 0.0}, {"inner_steps": 0}, {"seed": 3}],
    "transport.aggregate": ["min", "mean", "mean-0.5*std", "mean-std", ""], "train.aggregate": ["min", "mean", "max"],
    "train.td.aggregate": ["min", "mean", "mean-2*std"], "transport.rule": list(RULES), "train.td.rule": list(RULES),
    "transport.select": list(SELECTORS), "transport.step": [None, *STEPS], "online.method": [None, "qgf", "nope"],
    "net.policy": [None, "one_step", "deterministic", "flow", "gaussian"], "data.transitions": [1, 20, 10**6, None],
    "compile": ["off"], "device": ["cpu", "auto"], "env": [None, "Nowhere-v0", "no-module:x-v0", ""],
    "data.held_out": [0.0, 0.3, 0.9], "transport.gate": [None, 1.0, 2.0], "budget.radius": [None, 0.0, 0.1],
}  # fmt: skip
_ABSURD: dict[type, list[Any]] = {
    int: [-1, 0, 10**12, 10**20, -(10**20), 2**63, "many", 1.5, None, True],
    float: [-1.0, 0.0, 1e-30, 1e-6, 0.5, 1.0, 1e6, 1e30, 1e300, math.inf, -math.inf, math.nan, "many", None],
    str: ["", " ", "x", "nope", "a\nb", "<script>", "é" * 300, "../x", "\x00", 5, None],
    bool: [True, False, "maybe", None],
    list: [None, [], ["nope"], [-1.0], [math.nan], [1e300], "x", [None], [[1]], [""]],
    dict: [{}, {"nope": "x"}, {"observations": "nope"}, "x", None, {"": ""}],
}


def fields(schema: type = Config, prefix: str = "") -> Iterator[tuple[str, type]]:
    """Every key of the configuration but the language ones, with the kind of values it takes."""
    hints = get_type_hints(schema)
    for field in dataclasses.fields(schema):
        key, kind = f"{prefix}{field.name}", hints[field.name]
        if dataclasses.is_dataclass(kind):
            if key != "text":
                yield from fields(kind, f"{key}.")  # type: ignore[arg-type]
        elif key not in _FIXED:
            inner = next((a for a in get_args(kind) if a is not type(None)), kind) if "|" in str(kind) else kind
            origin = getattr(inner, "__origin__", inner)
            yield key, origin if origin in _ABSURD else str


FIELDS = dict(fields())
DEFAULTS = OmegaConf.structured(Config())


def values(key: str) -> st.SearchStrategy[Any]:
    """One in five is absurd."""
    known = [value for value in CHOICES.get(key, ()) if (key, value) != ("compile", "on")]
    plausible = st.sampled_from([*_SMALL.get(key, []), *known] or [OmegaConf.select(DEFAULTS, key)])
    return st.one_of(*[plausible] * 4, st.sampled_from(_ABSURD[FIELDS[key]]))


VALUES = {key: values(key) for key in sorted(FIELDS)}
changed = st.sampled_from(sorted(FIELDS)).flatmap(lambda key: st.tuples(st.just(key), VALUES[key]))
overrides = st.lists(changed, max_size=5).map(dict)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = 72
    ends = np.arange(rows) % 6 == 5
    np.savez(
        tmp_path / "data.npz", observations=rng.normal(size=(rows, 3)).astype("f4"),
        actions=rng.uniform(-1, 1, (rows, 2)).astype("f4"), rewards=rng.normal(size=rows).astype("f4"),
        terminals=ends & (rng.random(rows) < 0.5), timeouts=ends,
    )  # fmt: skip
    return tmp_path / "data.npz"


def composed(data: Path, method: str, trainer: str) -> Any:
    """What the command line makes of task=custom, a method and a trainer, with tiny networks."""
    tree = OmegaConf.structured(Config(task="custom", env=None, run_dir=str(data.parent / "run")))
    tree.data.path, tree.threads = str(data), 1
    for group, name in (("trainer", trainer),):
        content = OmegaConf.create((resources.files("vgf.configs") / group / f"{name}.yaml").read_text())
        for key, value in flatten(OmegaConf.to_container(content)).items():  # type: ignore[arg-type]
            if key != "run_dir":
                OmegaConf.update(tree, key, value)
    own = OmegaConf.structured(load_method(method))
    tree.method, tree.transport, tree.budget, tree.sweep = method, own.transport, own.budget, own.sweep
    tiny = {"net.hidden": 8, "net.layers": 1, "train.steps": 1, "train.batch_size": 6, "online.steps": 2}
    for key, value in tiny.items():
        OmegaConf.update(tree, key, value)
    return tree


def act(config: Config, run_directory: Any, make_environment: Any, device: Any) -> None:
    """In the place of a whole evaluation: its points, one decision at each."""
    policy = vgf.load(run_directory.path, method=config)
    for method, knob in launch.score_run.points_of(config, policy):  # type: ignore[attr-defined]
        budget = launch.score_run.budget_at(method, knob)  # type: ignore[attr-defined]
        actions = policy.act(np.zeros((2, 3), np.float32), budget, method=method)
        assert actions.shape == (2, 2)
        assert np.isfinite(actions).all()
        assert np.abs(actions).max() <= 1


@cases(60, 2500)
def test_any_configuration_makes_an_update_or_is_refused_in_one_line(data, monkeypatch, capsys, count):
    from vgf import scoring

    act.points_of, act.budget_at = scoring.points_of, scoring.budget_at  # type: ignore[attr-defined]
    monkeypatch.setattr(launch, "score_run", act)
    trainers = ["offline", "offline", "fql", "rebrac", "qam", "extras", "online"]

    def case(method: str, trainer: str, changes: dict[str, Any]) -> str:
        shutil.rmtree(data.parent / "run", ignore_errors=True)
        tree = composed(data, method, trainer)
        with complaint() as said:
            for key, value in changes.items():
                OmegaConf.update(tree, key, value, merge=False)
            launch.launch(tree, ["run_dir", *changes])
        return "refused" if said else "ran"

    strategies = {"method": st.sampled_from(method_names()), "trainer": st.sampled_from(trainers), "changes": overrides}
    seen = run_cases(count, strategies, case)
    assert seen["ran"] > count / 10
    assert seen["refused"] > count / 10
    assert group_options("method")  # the table of names is the one of the command line
