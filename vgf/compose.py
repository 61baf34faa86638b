"""What a call runs with, out of what Hydra composed from the groups and what the command line names.

Hydra puts a preset over method and trainer. Here those that are named on the command line get their own settings back:

    single keys  over  method and trainer that are named  over  preset  over  method and trainer that are not

A call that goes on from a run (``init=RUN``, ``mode=eval run=RUN``) has that run's settings in the preset's place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vgf.complaints import group_options
from vgf.config import Config
from vgf.errors import UserError
from vgf.language.scorers import names_code
from vgf.methods import ALL, load_method
from vgf.report.facts import flatten
from vgf.rundir import read_config

__all__ = ["file_values", "preset_choice", "preset_method", "settled", "with_own_preset"]

_CODE_KEYS = ("text.reward.model", "text.gold.model", "text.second.model")  # may be functions of modules
_GROUPS = ("task", "method", "preset", "trainer", "budget")
_TRAINED = ("seed.", "net.", "train.", "online.")  # what a trained run has behind it
_KEPT = {"run": ("task", "preset", "trainer"), "init": ("task", "preset")}  # groups that a stored run has fixed


def with_own_preset(given: list[str]) -> list[str]:
    """A task that has a preset of its own name runs with it, unless another one is named or a stored run has one."""
    named = dict(argument.split("=", 1) for argument in given if "=" in argument)
    goes_on = named.get("mode") == "eval" or named.get("init", "null") not in ("null", "None")
    if "preset" in named or goes_on or named.get("task") not in group_options("preset"):
        return given
    return [*given, f"preset={named['task']}"]


def settled(composed: DictConfig, given: list[str]) -> DictConfig:
    """The configuration that a call asks for. ``given``: the keys named on the command line.

    Raises:
        UserError: no stored run where one is needed, one where none is read, a group that is not the stored run's, or
            stored names of code.
    """
    if composed.method == ALL:
        _refuse_own_points(given)
    if "method" in given:
        _take_own_budget(composed, given)
    if composed.mode == "eval":
        if composed.run is None:
            raise UserError("mode=eval needs run=DIR, the run_dir of a training run")
        if "run_dir" in given and Path(composed.run_dir) != Path(composed.run):
            raise UserError(f"run_dir={composed.run_dir}: mode=eval writes to run={composed.run}; leave run_dir out")
        composed = _stored_with(composed, given, "run")
    elif composed.run is not None:
        raise UserError(f"run={composed.run} goes with mode=eval; to go on from a run with training, use init=RUN_DIR")
    elif composed.init is not None:
        composed = _stored_with(composed, ["run_dir", *given], "init")
        if "run_dir" not in given:
            composed.run_dir = f"{str(composed.init).rstrip('/')}-{composed.trainer}"
    elif "trainer" in given and composed.trainer != preset_choice(composed.preset, "trainer"):
        _set_all(composed, file_values("trainer", composed.trainer), given)
    _name_after_data(composed)
    return composed


def _refuse_own_points(given: Iterable[str]) -> None:
    for key in given:
        if key.startswith(("transport", "budget.", "eval.budgets", "eval.baselines")):
            raise UserError(f"{key}: method=all plays every method over its own sweep; name one method for it")


def _take_own_budget(composed: DictConfig, given: list[str]) -> None:
    """A method named on the command line brings transport and budget of its own, not a preset's for another method."""
    if composed.method in (ALL, preset_method(composed.preset)):
        return
    own = OmegaConf.structured(load_method(composed.method))
    own.budget.auto = composed.budget.auto
    for key in [key for key in given if key.startswith(("transport.", "budget."))]:
        OmegaConf.update(own, key, OmegaConf.select(composed, key))
    composed.transport, composed.budget = own.transport, own.budget
    if "eval.budgets" not in given:
        composed.eval.budgets = None


def _stored_with(composed: DictConfig, given: list[str], origin: str) -> DictConfig:
    """The configuration stored with the run that the key ``origin`` names, overridden by the command line."""
    stored = OmegaConf.structured(read_config(Path(composed[origin]), key=origin))
    for group in _KEPT[origin]:
        if group in given and composed[group] != stored[group]:
            raise UserError(
                f"{group}={composed[group]} cannot be had with {origin}={composed[origin]}, which keeps the "
                f"{group}={stored[group]} stored there; leave {group}= out, and name single keys instead"
            )
    if "method" in given and composed.method != stored.method:
        stored.eval.budgets = None  # they were values of another method's knob
        for key in ("method", "transport", "budget", "sweep"):
            stored[key] = composed[key]
    if origin == "init" and composed.trainer != stored.trainer:
        _change_trainer(stored, composed.trainer)
    if "budget" in given or any(key.startswith("budget.") for key in given):
        stored.budget.auto = composed.budget.auto  # a budget that is named is not chosen
    for key in given:
        if key not in _GROUPS:
            asked, was = OmegaConf.select(composed, key), OmegaConf.select(stored, key)
            if origin == "run" and f"{key}.".startswith(_TRAINED) and asked != was:
                raise UserError(
                    f"{key}={asked} cannot be had with run={composed.run}, which was trained with {key}={was}; "
                    "leave it out"
                )
            OmegaConf.update(stored, key, asked)
    for key in _CODE_KEYS:
        name = OmegaConf.select(stored, key)
        if key not in given and name is not None and names_code(name):
            raise UserError(
                f"{origin}={composed[origin]} has {key}={name}, and to go on would run the code of that module; "
                f"if you trust the run, name it on the command line as well: {key}={name}"
            )
    return stored


def _change_trainer(stored: DictConfig, trainer: str) -> None:
    """Put what the stored run's trainer set back to its preset's or the schema's, then set what the new one sets.

    Sizes of networks stay, or those taken over would not fit; a policy belongs to the trainer that trains it. A trainer
    that freezes networks adds others to a run that stays as it is, settings and policy as well.
    """
    own = file_values("trainer", trainer)
    if "train.freeze" not in own:
        usual = flatten(asdict(Config())) | file_values("preset", stored.preset)
        keys = [key for key in file_values("trainer", stored.trainer) if not key.startswith("net.")]
        _set_all(stored, {key: usual[key] for key in (*keys, "net.policy")})
    _set_all(stored, own)


def _set_all(config: DictConfig, values: Mapping[str, Any], given: Iterable[str] = ()) -> None:
    """Set dotted keys, but for those that ``given`` names, alone or with a group of keys that they are in."""
    for key, value in values.items():
        if not any(key == one or key.startswith(f"{one}.") for one in given):
            OmegaConf.update(config, key, value)


def _name_after_data(composed: DictConfig) -> None:
    """Where there is no environment, the data file's name (or the task's) stands for it in the run directory's."""
    if composed.env is None:
        template: Any = OmegaConf.to_container(composed, resolve=False)
        name = Path(composed.data.path or "").stem.strip(".") or composed.task
        composed.run_dir = template["run_dir"].replace("${env}", re.sub(r"[^\w.-]", "_", name))


def preset_method(name: str) -> str:
    """The method that a preset is for."""
    return preset_choice(name, "method") or "qgf"


def preset_choice(name: str, group: str) -> str | None:
    """What a preset takes of another group, as its file (or the one it builds on) says."""
    content = _content("preset", name)
    chosen = None
    for base in _bases("preset", content):
        chosen = preset_choice(base, group)
    for entry in content.get("defaults", []):
        if isinstance(entry, dict):
            chosen = entry.get(f"override /{group}", chosen)
    return chosen


def file_values(group: str, name: str) -> dict[str, Any]:
    """Dotted keys that a file of a configuration group (or the one it builds on) sets, but for ``run_dir``."""
    if name not in group_options(group):  # stored by another version
        return {}
    return _values(group, name)


def _values(group: str, name: str) -> dict[str, Any]:
    content = _content(group, name)
    values = {key: value for base in _bases(group, content) for key, value in _values(group, base).items()}
    content.pop("defaults", None)
    content.pop("run_dir", None)
    return values | flatten(content)


def _bases(group: str, content: Mapping[str, Any]) -> Iterator[str]:
    """Files of the same group that a file builds on: ``/GROUP/FOLDER/NAME``, or ``/GROUP/FOLDER@_global_: NAME``."""
    start = f"/{group}/"
    for entry in content.get("defaults", []):
        for place, name in entry.items() if isinstance(entry, dict) else [(entry, None)]:
            if place.startswith(start):
                base = place.removeprefix(start).partition("@")[0]
                yield base if name is None else f"{base}/{name}"


def _content(group: str, name: str) -> dict[str, Any]:
    """A configuration file as it is written, empty where there is none."""
    file = resources.files("vgf.configs") / group / f"{name}.yaml"
    content: Any = OmegaConf.to_container(OmegaConf.create(file.read_text() if file.is_file() else "{}"))
    return dict(content)
