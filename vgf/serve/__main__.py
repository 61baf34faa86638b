"""``python -m vgf.serve RUN``: the same as ``vgf serve RUN``."""

from __future__ import annotations

import sys

from vgf.complaints import one_line_errors
from vgf.serve.command import run

__all__: list[str] = []

if __name__ == "__main__":
    with one_line_errors():
        run(sys.argv[1:])
