"""Data: a store of transitions, n-step and action-chunked batches, readers, generation, download."""

from vgf.data.chunks import chunk_batch

__all__ = ["chunk_batch"]
