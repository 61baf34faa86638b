"""The command line: ``python -m vgf.run task=ogbench method=qgf seed=1 ...`` (also ``vgf ...``); see vgf/launch.py.

Bad input ends with one line on stderr and status 2; Ctrl-C with status 130, SIGTERM with 143, nothing lost: the same
command goes on. Processes that a run starts import this module once more, so it loads nothing.
"""

from __future__ import annotations

from vgf.interrupt import ended_by_signal, raise_on_sigterm

__all__ = ["main"]


def main() -> None:
    """Entry point of the console script and of ``python -m vgf.run``."""
    raise_on_sigterm()
    with ended_by_signal():  # loading takes seconds
        from vgf import launch
    launch.main()


if __name__ == "__main__":
    main()
