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

__all__ = ["SUFFIXES", "fill_folder"]

SUFFIXES = (".safetensors", ".json", ".yaml", ".csv", ".png", ".md", ".html")
_TEXTS = (
    "eval.csv", "evaluations.json", "offline.csv", "samples.json", "auto_budget.json", "scale.json", "report.html",
)  # fmt: skip
_OF_MACHINE = ("tracker", "device", "threads", "data.processes", "eval.processes")  # whoever pulls has their own
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
                atomic_write_text(target / name, _without_home((run_dir / name).read_text(encoding="utf-8")))
        if (run_dir / "curve.png").is_file():
            shutil.copyfile(run_dir / "curve.png", target / "curve.png")
        atomic_write_text(target / "README.md", _without_home(model_card(run_dir, config, repo, licence)))
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
    parts: dict[str, Any] = json.loads(text_json(run_dir).read_text())
    if parts["reward_path"] is not None:
        _copy_model(run_dir / parts["reward_path"], target / "reward", "the run's reward")
        parts |= {"reward_path": "reward"}
    text = config.text
    if parts["reward_path"] is not None:
        text = replace(text, reward=replace(text.reward, path="reward"))
    if adapter_path(run_dir).is_dir():
        _copy_model(adapter_path(run_dir), target / adapter_path(Path()), "the run's adapter", text.model)
    if text.adapter is not None:
        _copy_model(Path(text.adapter).expanduser(), target / "adapter", "text.adapter", text.model)
        text = replace(text, adapter="adapter")
    if _is_local(text.model):
        _copy_model(find_model(text.model, Path(text.cache).expanduser()), target / "reference", "text.model")
        text = replace(text, model="reference")
    atomic_write_text(target / "text.json", json.dumps(parts | {"reference": text.model}, indent=2) + "\n")
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
        shutil.copyfile(file, target / file.name)
    settings = target / "adapter_config.json"
    if base is not None and settings.is_file():
        atomic_write_text(
            settings, json.dumps(json.loads(settings.read_text()) | {"base_model_name_or_path": base}, indent=2)
        )


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
    text = replace(config.text, cache="~/.cache/vgf", prompts=_name(config.text.prompts))
    for reward in ("reward", "gold", "second"):
        settings = getattr(text, reward)
        if settings is not None:
            path = None if settings.path is None else _name(settings.path)
            own = replace(settings, path=path, data=_name(settings.data), model=_name(settings.model))
            text = replace(text, **{reward: own})
    data = replace(config.data, folder="~/.cache/vgf/data", path=config.data.path and _name(config.data.path))
    init = config.init and _name(config.init)
    return replace(config, run_dir=f"runs/{run_dir.resolve().name}", run=None, init=init, data=data, text=text)


def _name(path: str) -> str:
    """The last part of a path of this machine; anything else as it is."""
    local = Path(path).expanduser()
    return local.name if local.is_absolute() or local.exists() else path


def _without_home(text: str) -> str:
    home = str(Path.home())
    return text.replace(f"{home}/", "~/") if len(home) > 1 else text
