"""What the terminal tells about the toolkit itself: help, explanations, completion, the state of the machine."""

from __future__ import annotations

__all__: list[str] = []
