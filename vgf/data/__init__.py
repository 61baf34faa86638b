"""Data: a store of transitions, n-step and action-chunked batches, readers, generation, download."""

from vgf.data.chunks import chunk_batch
from vgf.data.store import TransitionStore

__all__ = ["TransitionStore", "chunk_batch"]
