"""``python -m vgf.bench``: measure everything, write ``benchmarks/results.json`` and the tables of ``docs/speed.md``.

    python -m vgf.bench                     all items, written
    python -m vgf.bench act text            these items, printed; --write writes them as well
    python -m vgf.bench act --json          one JSON object: ours, other, ratio, what they are, and every row
    python -m vgf.bench --quick             fewer and shorter turns

Bad input ends with one line on stderr and status 2.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from typing import Any

from vgf.arguments import Arguments
from vgf.bench.item import Item
from vgf.bench.references import folder
from vgf.bench.results import load_average, stamped, table, write
from vgf.bench.timing import Speed
from vgf.errors import UserError, did_you_mean

__all__ = ["ITEMS", "main", "measure"]

# item -> the module that measures it, imported when asked for: every process that times imports this file
ITEMS = {
    "qgf_update": "updates",
    "vgf_update": "updates",
    "ours_vs_eager": "updates",
    "scaling": "scaling",
    "act": "acting",
    "act_exported": "acting",
    "evaluate": "playing",
    "text": "text",
    "gpu": "gpu",
}


def measure(name: str, speed: Speed) -> Item:
    """Measure one item of ``ITEMS``."""
    found: Item = getattr(importlib.import_module(f"vgf.bench.{ITEMS[name]}"), name)(speed)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, 2 for what the user can put right, 130 after Ctrl-C."""
    try:
        _run(_parse(arguments))
    except UserError as error:
        print(f"vgf: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("vgf: stopped; what was printed is measured, the rest is not", file=sys.stderr)
        return 130
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Arguments("python -m vgf.bench", __doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(ITEMS)}; none: all")
    parser.add_argument("--json", action="store_true", help="print one JSON object, of one item")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns")
    parser.add_argument("--write", action="store_true", help="write the named items")
    given = parser.parse_args(arguments)
    for name in given.names:
        if name not in ITEMS:
            raise UserError(f"there is no item {name!r}; use one of {', '.join(ITEMS)}.{did_you_mean(name, ITEMS)}")
    if given.json and len(given.names) != 1:
        raise UserError("--json prints one object: name one item")
    return given


def _run(given: argparse.Namespace) -> None:
    folder()  # without the references there is nothing to compare with
    speed = Speed.quick() if given.quick else Speed()
    for name in given.names or ITEMS:
        print(f"measuring {name} ...", file=sys.stderr)
        load, began = load_average(), time.perf_counter()
        item = stamped(measure(name, speed).as_dict(), load, time.perf_counter() - began)
        print(json.dumps({"item": name, **item}) if given.json else f"{table(name, item)}\n", flush=True)
        if given.write or not (given.names or given.quick):
            _keep(name, item)


def _keep(name: str, item: dict[str, Any]) -> None:
    write({name: item})
    if name == "scaling":
        from vgf.bench.scaling import draw

        draw(item, folder().parent / "docs" / "speed.png")


if __name__ == "__main__":
    sys.exit(main())
