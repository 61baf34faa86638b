"""A cache of keys and values with room for all tokens that will come, so that a step does not move what is there.

transformers' ``DynamicCache`` allocates and copies every layer anew at every token.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

__all__ = ["RoomyLayer", "roomy_cache"]


class RoomyLayer(DynamicLayer):
    """Keys and values are the first positions of larger tensors, and the next ones are written behind them.

    Args:
        room: positions that will come; more are taken too, at the price of a copy.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self._wide: dict[str, Tensor] = {}

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values [rows, heads, new positions, size]; returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = self._appended("keys", self.keys, key_states)
        self.values = self._appended("values", self.values, value_states)
        return self.keys, self.values

    def _appended(self, name: str, old: Tensor | None, new: Tensor) -> Tensor:
        before = 0 if old is None or not old.numel() else old.shape[-2]
        after, wide = before + new.shape[-2], self._wide.get(name)
        # Rows that have been chosen, repeated or added since lie in another tensor.
        if wide is None or old is None or old.data_ptr() != wide.data_ptr() or wide.shape[2] < after:
            wide = new.new_empty(*new.shape[:2], max(self.room, after), new.shape[3])
            if old is not None and before:
                wide[:, :, :before] = old
            self._wide[name] = wide
        wide[:, :, before:after] = new
        return wide[:, :, :after]


def roomy_cache(config: Any, room: int) -> Any:
    """An empty ``DynamicCache`` for ``room`` positions; sliding and recurrent layers are transformers' own."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
