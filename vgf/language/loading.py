"""A language run's files, and the policy made from them.

``checkpoints/heads.safetensors`` holds the value heads; ``text.json`` says where reference and reward are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialize

from vgf.config import Config, MethodConfig
from vgf.errors import UserError
from vgf.files import atomic_path, atomic_write_text
from vgf.language.decoding import Sampling
from vgf.language.heads import ValueHeads
from vgf.language.hub import UNREADABLE, extra, first_line
from vgf.language.limits import Limits
from vgf.language.models import load_reference
from vgf.language.policy import TextPolicy, Values
from vgf.language.reference import Reference
from vgf.language.rewards import load_reward
from vgf.language.scorers import names_code, scorer
from vgf.rundir import as_loaded

__all__ = [
    "heads_path",
    "heads_rows",
    "load_heads",
    "load_text",
    "note_parts",
    "open_reference",
    "precision",
    "sampling_of",
    "save_heads",
    "text_json",
    "with_own_parts",
]


def heads_path(run_dir: Path) -> Path:
    """Where a run keeps its value heads."""
    return run_dir / "checkpoints" / "heads.safetensors"


def text_json(run_dir: Path) -> Path:
    """Where a run says what it is made of."""
    return run_dir / "text.json"


def precision(config: Config) -> torch.dtype:
    """The reference's number format: bfloat16, unless the configuration says otherwise."""
    return torch.float32 if config.text.dtype == "float32" else torch.bfloat16


def sampling_of(config: Config) -> Sampling:
    """How a run draws tokens."""
    text = config.text
    return Sampling(text.new_tokens, text.temperature, text.top_k, text.top_p, tuple(text.stop))


def open_reference(config: Config, device: torch.device, trained: Path | None = None) -> Reference:
    """The run's reference model, with its adapter where there is one.

    The sum of weights and adapters is formed in float32 and rounded once. Added to weights that are bfloat16 numbers
    already, changes of less than half their spacing (0.2 to 0.4 % of a weight) would vanish.

    Args:
        trained: folder of an adapter that is put on top of it; None: none.

    Raises:
        UserError: it cannot be had or loaded, or an adapter is no folder of PEFT or does not fit it.
    """
    name, cache = config.text.model, Path(config.text.cache).expanduser()
    adapters = [folder for folder in (_given_adapter(config), trained) if folder is not None]
    model, tokenizer = load_reference(name, cache, torch.float32 if adapters else precision(config), device)
    for folder in adapters:
        model = _merged(model, name, folder)
    if adapters:
        for weight in model.parameters():  # not model.to(dtype), which would round the rotary frequencies as well
            weight.data = weight.data.to(precision(config))
    return Reference(model, tokenizer)


def _given_adapter(config: Config) -> Path | None:
    """The folder ``text.adapter``, which PEFT has saved."""
    if config.text.adapter is None:
        return None
    folder = Path(config.text.adapter).expanduser()
    if not (folder / "adapter_config.json").is_file():
        raise UserError(f"text.adapter={folder} holds no adapter_config.json; give a folder that PEFT has saved")
    if not (folder / "adapter_model.safetensors").is_file():
        raise UserError(
            f"text.adapter={folder} holds no adapter_model.safetensors (pickled weights are not loaded); "
            "save it with safe_serialization=True"
        )
    return folder


def _merged(model: Any, name: str, folder: Path) -> Any:
    """The model with the adapter in ``folder`` added to its weights."""
    peft = extra("peft")
    try:
        return peft.PeftModel.from_pretrained(model, folder).merge_and_unload()
    except (*UNREADABLE, TypeError, SafetensorError) as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])  # torch names the weight in the second
        raise UserError(f"the adapter in {folder} cannot be put on {name}: {reason}") from error


def save_heads(run_dir: Path, heads: dict[str, ValueHeads], rows: Sequence[dict[str, float]] = ()) -> None:
    """Write value heads under their names, with the rows of ``metrics.jsonl`` that tell of them."""
    tensors = {f"{name}.{key}": value for name, net in heads.items() for key, value in net.state_dict().items()}
    sizes = {
        name: {"width": len(net.mean), "layer": net.layer, "hidden": net.hidden, "heads": net.net.heads}
        for name, net in heads.items()
    }
    facts = {"sizes": json.dumps(sizes), "metrics": json.dumps(list(rows))}
    with atomic_path(heads_path(run_dir)) as path:
        path.write_bytes(serialize({key: value.contiguous() for key, value in tensors.items()}, facts))


def heads_rows(run_dir: Path) -> list[dict[str, float]]:
    """The rows of ``metrics.jsonl`` that were saved with value heads.

    Raises:
        UserError: the file is damaged.
    """
    path = heads_path(run_dir)
    try:
        with safe_open(path, "pt") as file:
            rows: list[dict[str, float]] = json.loads(file.metadata().get("metrics", "[]"))
    except (SafetensorError, OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({first_line(error)}); delete it to fit the heads anew") from error
    return rows


def load_heads(run_dir: Path, device: torch.device) -> dict[str, ValueHeads]:
    """Read value heads; none where there is no file.

    Raises:
        UserError: the file is damaged.
    """
    path = heads_path(run_dir)
    if not path.is_file():
        return {}
    try:
        with safe_open(path, "pt") as file:
            sizes: dict[str, Any] = json.loads(file.metadata()["sizes"])
        tensors = load_file(path, device=str(device))
        found = {}
        for name, size in sizes.items():
            found[name] = ValueHeads(**size).to(device)
            own = {key.removeprefix(f"{name}."): v for key, v in tensors.items() if key.startswith(f"{name}.")}
            found[name].load_state_dict(own)
            found[name].eval().requires_grad_(False)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{path} is damaged ({str(error).splitlines()[0]}); delete it to fit the heads anew") from error
    return found


def text_policy(config: Config, reference: Reference, values: Values, method: MethodConfig | None = None) -> TextPolicy:
    """A policy with a run's settings."""
    text = config.text
    return TextPolicy(
        reference,
        values,
        method or config,
        sampling_of(config),
        chat=text.chat,
        batch=text.batch,
        limits=Limits(text.limits.changed, text.limits.nll_rise),
    )


def load_text(
    run_dir: Path,
    config: Config,
    *,
    method: str | MethodConfig | None = None,
    device: str | torch.device = "cpu",
    trust: bool = False,
    opened: Callable[[Config, torch.device], Reference] = open_reference,
    heads_from: Path | None = None,
) -> TextPolicy:
    """The policy of a language run: reference, reward and heads as it was trained with.

    Trained with ``budget=auto`` it acts with what was chosen. ``opened`` and ``heads_from`` put another model, and the
    heads that were fitted to it, in the reference's place (:func:`vgf.language.adapters.load_adapted`).

    Raises:
        UserError: a part of it cannot be found any more, or is damaged; or its reward is a function of a module and
            ``trust`` is False: the run may be a stranger's, and importing a module runs its code.
    """
    device = torch.device(device)
    config = with_own_parts(run_dir, config)
    try:
        parts = json.loads(text_json(run_dir).read_text())
        kept, name = parts["reward_path"], str(parts["proxy"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{text_json(run_dir)} cannot be read ({error}); the run has not come so far") from error
    if kept is None and names_code(name) and not trust:
        raise UserError(
            f"{run_dir} has the reward {name}, and to load it would run the code of that module; if you trust the run: "
            "vgf.load(..., trust=True), vgf serve --trust"
        )
    reward = (
        scorer(name)
        if kept is None
        else load_reward("reward", run_dir / kept, device, precision(config), config.text.reward.max_length)
    )
    heads = load_heads(heads_from or run_dir, device)
    chosen = as_loaded(run_dir, config, method)
    values = Values(reward, heads.get("heads"), heads.get("tokens"))
    return text_policy(config, opened(config, device), values, chosen)


def with_own_parts(run_dir: Path, config: Config) -> Config:
    """The configuration with paths to what lies in the run directory (see vgf.share): reference, adapter, reward."""
    text = config.text
    reward = run_dir / text.reward.path if text.reward.path else None
    if reward is not None and reward.is_dir():
        text = replace(text, reward=replace(text.reward, path=str(reward)))
    model, adapter = (run_dir / name if name else None for name in (text.model, text.adapter))
    if model is not None and model.is_dir():
        text = replace(text, model=str(model))
    if adapter is not None and adapter.is_dir():
        text = replace(text, adapter=str(adapter))
    return replace(config, text=text)


def note_parts(run_dir: Path, **parts: Any) -> None:
    """Add to what ``text.json`` says."""
    path = text_json(run_dir)
    known = json.loads(path.read_text()) if path.is_file() else {}
    atomic_write_text(path, json.dumps(known | parts, indent=2) + "\n")
