"""The folder that is pushed: a run without what is of this machine alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vgf.checkpoint import load_checkpoint
from vgf.config import Config
from vgf.errors import UserError
from vgf.files import atomic_write_text, writing
from vgf.language.adapters import adapter_path
from vgf.language.loading import heads_path, text_json
from vgf.language.models import find_model
from vgf.rundir import as_chosen, read_config
from vgf.share.card import model_card
from vgf.share.paths import last_part, without_home, without_paths

__all__ = ["SUFFIXES", "fill_folder"]

SUFFIXES = (".safetensors", ".json", ".yaml", ".csv", ".png", ".md", ".html")
_TEXTS = (
    "eval.csv", "evaluations.json", "offline.csv", "samples.json", "auto_budget.json", "scale.json", "report.html",
)  # fmt: skip
_OF_MACHINE = ("tracker", "device", "threads", "data.processes", "eval.processes")  # whoever pulls has their own
_BASES = ("_name_or_path", "name_or_path", "base_model_name_or_path")  # where transformers and PEFT keep paths
_MODEL = ("*.safetensors", "*.json")  # of a folder that transformers has saved; pickles and code stay behind


def fill_folder(run_dir: Path, target: Path, *, repo: str, licence: str, with_reference: bool = False) -> Config:
    """Write what is pushed of a run into ``target``, which is empty or does not exist.

    Args:
        run_dir: of a finished run.
        target: where to.
        repo: its name on the hub, for the card.
        licence: one of the hub's names, for the card.
        with_reference: also the reference model of a language run, where it is a folder of this machine.

    Returns:
        The configuration as it is pushed: as the run acts, with the budget that ``budget=auto`` chose.

    Raises:
        UserError: no finished run, a part of it is missing, or its reference is of this machine alone.
    """
    config = as_chosen(run_dir, read_config(run_dir))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} is not empty; choose another folder")
    of_text = text_json(run_dir).is_file()
    if of_text and _is_local(config.text.model) and not with_reference:
        raise UserError(
            f"text.model={config.text.model} is of this machine alone; add --with-reference to push it as well"
        )
    with writing("the folder", target):
        target.mkdir(parents=True, exist_ok=True)
        if of_text:
            config = _text_parts(run_dir, config, target)
        else:
            _networks(run_dir, target)
        config = _without_paths(config, run_dir)
        atomic_write_text(target / "config.yaml", _without_machine(config))
        for name in _TEXTS:
            if (run_dir / name).is_file():
                atomic_write_text(target / name, without_home((run_dir / name).read_text(encoding="utf-8")))
        if (run_dir / "curve.png").is_file():
            shutil.copyfile(run_dir / "curve.png", target / "curve.png")
        atomic_write_text(target / "README.md", without_home(model_card(run_dir, config, repo, licence)))
    return config


def _networks(run_dir: Path, target: Path) -> None:
    """The newest checkpoint, checked against its manifest, without the optimiser's state."""
    name = f"checkpoints/step-{load_checkpoint(run_dir).step:09d}"
    (target / name).mkdir(parents=True)
    for file in ("networks.safetensors", "manifest.json"):
        shutil.copyfile(run_dir / name / file, target / name / file)


def _text_parts(run_dir: Path, config: Config, target: Path) -> Config:
    """Heads, adapter, reward and, where it is of this machine, the reference; paths become names inside the folder."""
    for path in (heads_path(run_dir), *sorted(run_dir.glob("rounds/*/checkpoints/heads.safetensors"))):
        if path.is_file():
            copy = target / path.relative_to(run_dir)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    text, parts = config.text, _object(text_json(run_dir))
    pushed = without_paths(parts)
    if _is_local(text.model):
        _copy_model(find_model(text.model, Path(text.cache).expanduser()), target / "reference", "text.model")
        text = replace(text, model="reference")
    if parts["reward_path"] is None:
        pushed["proxy"] = parts["proxy"]  # a function's name, by which it is found: a pattern may look like a path
    else:
        _copy_model(run_dir / parts["reward_path"], target / "reward", "the run's reward")
        text = replace(text, reward=replace(text.reward, path="reward"))
        pushed["reward_path"] = "reward"
    if adapter_path(run_dir).is_dir():
        _copy_model(adapter_path(run_dir), target / adapter_path(Path()), "the run's adapter", text.model)
    if text.adapter is not None:
        _copy_model(Path(text.adapter).expanduser(), target / "adapter", "text.adapter", text.model)
        text = replace(text, adapter="adapter")
    atomic_write_text(target / "text.json", json.dumps(pushed | {"reference": text.model}, indent=2) + "\n")
    return replace(config, text=text)


def _is_local(model: str) -> bool:
    path = Path(model).expanduser()
    return path.is_absolute() or path.suffix == ".gguf" or path.exists()


def _copy_model(source: Path, target: Path, what: str, base: str | None = None) -> None:
    """Weights and settings of a folder that transformers or PEFT has saved; ``base`` in the place of a base's path."""
    files = sorted({file for pattern in _MODEL for file in source.glob(pattern) if file.is_file()})
    if not any(file.suffix == ".safetensors" for file in files):
        raise UserError(f"{what} ({source}) has no safetensors weights; nothing else is pushed")
    target.mkdir(parents=True)
    for file in files:
        if file.name == "reward.json" or file.name.endswith("config.json"):
            settings = _object(file)
            pushed = without_paths(settings) if file.name == "reward.json" else settings | _bases(settings, base)
            atomic_write_text(target / file.name, json.dumps(pushed, indent=2) + "\n")
        else:
            shutil.copyfile(file, target / file.name)


def _bases(settings: dict[str, Any], base: str | None) -> dict[str, str]:
    """What settings of transformers or PEFT call the model they come from."""
    return {key: base or last_part(settings[key]) for key in _BASES if isinstance(settings.get(key), str)}


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}); restore it from a copy") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no settings; restore it from a copy")
    return found


def _without_machine(config: Config) -> str:
    """The configuration as YAML; what is left out of it is the default of the machine that reads it."""
    settings: Any = OmegaConf.to_container(OmegaConf.structured(config))
    for key in _OF_MACHINE:
        *groups, name = key.split(".")
        group = settings
        for one in groups:
            group = group[one]
        del group[name]
    return OmegaConf.to_yaml(settings)


def _without_paths(config: Config, run_dir: Path) -> Config:
    """The configuration with this machine's folders at their defaults, and files by their names alone."""
    text = replace(config.text, cache="~/.cache/vgf", prompts=last_part(config.text.prompts))
    for reward in ("reward", "gold", "second"):
        settings = getattr(text, reward)
        if settings is not None:
            path = None if settings.path is None else last_part(settings.path)
            own = replace(settings, path=path, data=last_part(settings.data), model=last_part(settings.model))
            text = replace(text, **{reward: own})
    data = replace(config.data, folder="~/.cache/vgf/data", path=config.data.path and last_part(config.data.path))
    init = config.init and last_part(config.init)
    return replace(config, run_dir=f"runs/{run_dir.resolve().name}", run=None, init=init, data=data, text=text)
