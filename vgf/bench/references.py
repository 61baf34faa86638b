"""The plain reference implementations: they lie in ``benchmarks/`` of a checkout and are no part of the package."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import vgf
from vgf.errors import UserError

__all__ = ["folder", "missing_jax", "reference"]


def folder() -> Path:
    """Where the references lie.

    Raises:
        UserError: in an installation without them.
    """
    place = Path(vgf.__file__).resolve().parents[1] / "benchmarks"
    if not (place / "qgf_torch.py").is_file():
        raise UserError(
            f"the reference implementations are not installed (no {place}): run from a checkout, "
            "with pip install -e . there"
        )
    return place


def reference(name: str) -> ModuleType:
    """A module of ``benchmarks/``, such as ``qgf_torch``.

    Raises:
        UserError: as :func:`folder`.
    """
    if str(folder()) not in sys.path:
        sys.path.insert(0, str(folder()))
    return importlib.import_module(name)


def missing_jax() -> str | None:
    """What to do to compare with JAX; None where it is installed."""
    missing = [name for name in ("jax", "optax") if importlib.util.find_spec(name) is None]
    return f"{' and '.join(missing)} not installed; pip install 'vgf[jax]' to compare with JAX" if missing else None
