"""vgf: value gradients move the samples of a reference model; a transport budget says how far."""

from vgf.errors import UserError
from vgf.loading import load
from vgf.policy import Policy
from vgf.transport import Budget, Moved, transport

__all__ = ["Budget", "Moved", "Policy", "UserError", "__version__", "load", "transport"]

__version__ = "0.1.0"
