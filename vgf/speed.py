"""Device, threads, precision and compilation: the settings that change speed and nothing else a user sees."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import torch

from vgf.errors import UserError, did_you_mean

__all__ = ["choose", "compiled", "pick_device", "precision_context"]


def choose(key: str, value: str, valid: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``valid``, else raise a UserError that names the key."""
    if value not in valid:
        raise UserError(f"{key}={value} is unknown; use one of {', '.join(valid)}.{did_you_mean(value, valid)}")
    return value


def pick_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU."""
    choose("device", name, ("auto", "cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda, but torch sees no CUDA device here; use device=cpu or device=auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def precision_context(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """Autocast to bfloat16 where asked for and, with ``auto``, where the hardware multiplies it natively."""
    choose("train.precision", precision, ("auto", "float32", "bfloat16"))
    if precision == "float32" or (precision == "auto" and not _multiplies_bfloat16(device)):
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def compiled(function: Callable[..., Any], setting: str) -> Callable[..., Any]:
    """torch.compile with a fallback: where no compiler works, one warning line and eager mode."""
    if choose("compile", setting, ("off", "on")) == "off":
        return function
    fast = torch.compile(function)
    chosen = [fast]

    def call(*args: Any) -> Any:
        try:
            return chosen[0](*args)
        except Exception as error:
            if chosen[0] is function:
                raise
            line = str(error).strip().splitlines()[0][:120]
            print(f"vgf: compile=on does not work here ({line}); going on without", file=sys.stderr)
            chosen[0] = function
            return function(*args)

    return call
