"""Progress bars: lively on a terminal; in a log file a plain line now and then, never thousands."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

__all__ = ["progress_bar"]

_SECONDS_BETWEEN_LOG_LINES = 15.0


class _LogLines(tqdm):
    """A bar that writes lines of plain text: a log file or a pipe shows no carriage returns."""

    disable: bool

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write the state as one line."""
        del pos
        self.fp.write(f"{msg or self}\n")
        self.fp.flush()

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Note what the next line will say; no line is written for it."""
        del refresh
        super().set_postfix_str(s, refresh=False)

    def set_postfix(self, ordered_dict: Any = None, refresh: bool = True, **values: Any) -> None:
        """As :meth:`set_postfix_str`."""
        del refresh
        super().set_postfix(ordered_dict, refresh=False, **values)

    def close(self) -> None:
        """Write the last state, where any progress was made since the last line."""
        if not self.disable:
            self.disable = True
            self._decr_instances(self)
            if self.n != self.last_print_n or self.n == self.initial:
                self.display()


def progress_bar(description: str, total: int | None, unit: str, **settings: Any) -> tqdm:
    """Return a bar on stderr with rate and time left.

    Args:
        description: what is going on.
        total: how many there will be; None when unknown.
        unit: of what, in the singular.
        **settings: passed on to tqdm.
    """
    if sys.stderr.isatty():
        return tqdm(desc=description, total=total, unit=unit, mininterval=0.2, **settings)
    done = "{n_fmt}/{total_fmt}{unit} in {elapsed}, {remaining} left" if total else "{n_fmt}{unit} in {elapsed}"
    pace = {"mininterval": _SECONDS_BETWEEN_LOG_LINES, "maxinterval": _SECONDS_BETWEEN_LOG_LINES}
    # The delay: no line before anything is done.
    line = {"bar_format": f"{{desc}}: {done}, {{rate_fmt}}{{postfix}}", "delay": 1e-3}
    return _LogLines(file=sys.stderr, desc=description, total=total, unit=f" {unit}", **(pace | line | settings))
