"""Data: a store of transitions, n-step and action-chunked batches, readers, generation, download."""
