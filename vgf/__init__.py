"""vgf: value gradients move the samples of a reference model; a transport budget says how far."""

import os

# Idle OpenMP threads must sleep, not spin: environment processes and training share the cores.
# Read when torch is first imported, so it is set here; a value of the user's own is left alone.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from vgf.errors import UserError
from vgf.policy import Policy, load
from vgf.transport import Budget, Moved, transport

__all__ = ["Budget", "Moved", "Policy", "UserError", "__version__", "load", "transport"]

__version__ = "0.1.0"
