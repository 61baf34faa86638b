"""How fast everything a user waits for is, side by side with plain reference implementations.

``python -m vgf.bench`` measures all of it, ``python -m vgf.bench NAME --json`` one item. What is compared is timed in
turns, each side in a process of its own with the same cores: see ``timing.py``.
"""
