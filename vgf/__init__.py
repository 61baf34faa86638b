"""vgf: value gradients move the samples of a reference model; a transport budget says how far."""

import importlib
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

# Idle OpenMP threads sleep instead of spinning: on cores that something else uses too, spinning costs up to 16 times.
# They look for work for some microseconds first: waking them for every operation of an update made two threads slower
# than one (4x512, batch 256: 43 ms asleep at once, 25 with these turns; beside two busy processes 124 and 95).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if TYPE_CHECKING:
    from vgf.errors import UserError
    from vgf.loading import load
    from vgf.policy import Policy
    from vgf.transport import Budget, Moved, transport

__all__ = ["Budget", "Moved", "Policy", "UserError", "__version__", "load", "transport"]

__version__ = "0.1.0"

_HOMES = {
    "UserError": "vgf.errors",
    "load": "vgf.loading",
    "Policy": "vgf.policy",
    "Budget": "vgf.transport",
    "Moved": "vgf.transport",
    "transport": "vgf.transport",
}


class _LoadedWhenAsked(ModuleType):
    """This package: its public names come with the first use, so that processes that step environments load no torch.

    ``vgf.transport`` is the function, also after its package of the same name was imported.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_HOMES[name]), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):  # import binds a package's modules to their names
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _LoadedWhenAsked
