"""vgf: value gradients move the samples of a reference model; a transport budget says how far."""

import os

# Idle OpenMP threads sleep instead of spinning: on cores that something else uses too, spinning costs up to 16 times.
# They look for work for some microseconds first: waking them for every operation of an update made two threads slower
# than one (4x512, batch 256: 43 ms asleep at once, 25 with these turns; beside two busy processes 124 and 95).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from vgf.errors import UserError
from vgf.loading import load
from vgf.policy import Policy
from vgf.transport import Budget, Moved, transport

__all__ = ["Budget", "Moved", "Policy", "UserError", "__version__", "load", "transport"]

__version__ = "0.1.0"
