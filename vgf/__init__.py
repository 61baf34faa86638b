"""vgf: value gradients move the samples of a reference model; a transport budget says how far."""

import os

# Idle OpenMP threads sleep instead of spinning: on cores that something else uses too, spinning costs up to 16 times.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from vgf.errors import UserError
from vgf.loading import load
from vgf.policy import Policy
from vgf.transport import Budget, Moved, transport

__all__ = ["Budget", "Moved", "Policy", "UserError", "__version__", "load", "transport"]

__version__ = "0.1.0"
