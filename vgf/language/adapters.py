"""LoRA adapters of a run: where they are, what they say about themselves, and the reference with one merged in.

    checkpoints/adapter/adapter_config.json         as PEFT writes it; ``peft`` and ``text.adapter`` load the folder
                        adapter_model.safetensors   weights; how they came about is JSON in the file's metadata

Weights and metadata are one file and replaced in one rename, so an adapter is never half of one round and half of
another.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize

from vgf.config import Config, MethodConfig
from vgf.errors import UserError
from vgf.files import atomic_path, atomic_write_text
from vgf.language.hub import extra
from vgf.language.loading import load_text, open_reference
from vgf.language.policy import TextPolicy
from vgf.language.reference import Reference
from vgf.methods import knob_of

__all__ = ["adapted_reference", "adapter_facts", "adapter_path", "load_adapted", "round_folder", "save_adapter"]

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def adapter_path(run_dir: Path) -> Path:
    """Where a run keeps its adapter."""
    return run_dir / "checkpoints" / "adapter"


def round_folder(run_dir: Path, done: int) -> Path:
    """Where the value heads of the adapter after so many rounds are; the run's own folder before the first one."""
    return run_dir / "rounds" / str(done) if done else run_dir


def save_adapter(folder: Path, model: Any, facts: dict[str, Any]) -> None:
    """Write the adapter of a PEFT model into ``folder``; one that is there is replaced whole.

    Args:
        facts: JSON values, which :func:`adapter_facts` gives back.

    Raises:
        UserError: full disk, no permission.
    """
    with tempfile.TemporaryDirectory() as scratch:  # PEFT writes a folder, not through a rename
        model.peft_config["default"].save_pretrained(scratch)
        atomic_write_text(folder / _CONFIG, (Path(scratch) / _CONFIG).read_text())
    weights = extra("peft").get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    with atomic_path(folder / _WEIGHTS) as path:
        path.write_bytes(serialize(tensors, {"format": "pt", "facts": json.dumps(facts)}))


def adapter_facts(folder: Path) -> dict[str, Any] | None:
    """What was saved with an adapter; None where there is none.

    Raises:
        UserError: the file is damaged, or another program wrote it.
    """
    path = folder / _WEIGHTS
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["facts"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged or no adapter of a run; delete the folder to train it anew") from error
    return facts


def adapted_reference(config: Config, folder: Path, device: torch.device) -> Reference:
    """A copy of the run's reference with the adapter in ``folder`` merged in.

    Raises:
        UserError: the reference cannot be had, or the adapter does not fit it.
    """
    return open_reference(config, device, folder)


def load_adapted(
    run_dir: Path,
    config: Config,
    *,
    method: str | MethodConfig | None = None,
    device: str | torch.device = "cpu",
    trust: bool = False,
) -> TextPolicy:
    """The policy of a run's adapted model: particles are its samples, moved by value heads that were fitted to it.

    Args:
        method: None: the adapter alone, that is the run's method at budget 0; a call's budget is spent on top.

    Raises:
        UserError: the run has no adapter; otherwise as :func:`vgf.language.loading.load_text`.
    """
    facts = adapter_facts(adapter_path(run_dir))
    if facts is None:
        raise UserError(f"{run_dir} has no adapter; train one with trainer=distill")
    return load_text(
        run_dir,
        config,
        method=alone(config) if method is None else method,
        device=device,
        trust=trust,
        opened=lambda config, device: adapted_reference(config, adapter_path(run_dir), device),
        heads_from=round_folder(run_dir, facts["rounds"]),
    )


def alone(config: Config) -> Config:
    """The configuration at budget 0; what it was configured with stays in its sweep."""
    still: dict[str, Any] = {"auto": False, config.transport.knob: 0}
    return replace(config, budget=replace(config.budget, **still), sweep=sorted({0.0, knob_of(config), *config.sweep}))
