"""On a GPU: updates a second in eager, compiled and graph mode, and the share of the card's roof they reach."""

from __future__ import annotations

import sys

import torch

from vgf.bench.item import Item, Row
from vgf.bench.problems import Case, operations, trainer
from vgf.bench.roofs import measure_roofs
from vgf.bench.timing import Side, Speed, Steps, race
from vgf.speed import COMPILE

__all__ = ["gpu"]

_UPDATES = 100  # a timed call; what is launched at once, logged and stored divides it
_CASES = (Case("vgf", hidden=512, layers=4), Case("qgf", hidden=512, layers=4))


def gpu(speed: Speed) -> Item:
    """Not measured where there is no card."""
    if not torch.cuda.is_available():
        return Item(
            "updates/s", "higher", None, None, None, "", "", note="not measured: torch sees no CUDA device here"
        )
    roof = measure_roofs(speed, device="cuda", size=8192).bfloat16
    rows, shares, headline = [], {}, None
    for case in _CASES:
        what = f"{case.method}, {case.label}"
        run = race([Side(_build, (case, mode)) for mode in COMPILE], speed)
        eager, best = run.times["off"], run.times["graph"]
        for mode, times in run.times.items():
            ratio = None if mode == "off" else times.times_faster(eager)
            rows.append(Row(what, f"ours, compile={mode}", _UPDATES / times.seconds, times.spread, ratio))
        shares[what] = _UPDATES * operations(case) / best.seconds / roof
        headline = headline or (_UPDATES / best.seconds, _UPDATES / eager.seconds, best.times_faster(eager))
    assert headline is not None
    fast, slow = (f"ours, compile={mode}: {_CASES[0].label}" for mode in ("graph", "off"))
    card = {"card": torch.cuda.get_device_name(), "roof_flop_per_s": roof, "share_of_roof": shares}
    return Item("updates/s", "higher", *headline, fast, slow, rows, card)


def _build(case: Case, mode: str) -> Steps:
    made = trainer(case, device="cuda", compile=mode)
    made.last_step = sys.maxsize

    def step() -> None:  # as the training loop makes them: launches of several where they are recorded
        end = made.step + _UPDATES
        while made.step < end:
            made.advance()
        torch.cuda.synchronize()

    return {mode: step}
