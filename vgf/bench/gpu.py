"""On a GPU: updates a second in eager, compiled and graph mode, and the share of the card's roof they reach."""

from __future__ import annotations

import torch

from vgf.bench.item import Item, Row
from vgf.bench.problems import Case, operations, trainer
from vgf.bench.roofs import measure_roofs
from vgf.bench.timing import Side, Speed, Steps, race
from vgf.check import check_config
from vgf.errors import UserError

__all__ = ["gpu"]

_CASES = (Case("vgf", hidden=512, layers=4), Case("qgf", hidden=512, layers=4))


def gpu(speed: Speed) -> Item:
    """Not measured where there is no card."""
    if not torch.cuda.is_available():
        return Item(
            "updates/s", "higher", None, None, None, "", "", note="not measured: torch sees no CUDA device here"
        )
    modes = [mode for mode in ("off", "on", "graph") if _known(mode)]
    roof = measure_roofs(speed, device="cuda", size=8192).bfloat16
    rows, shares, headline = [], {}, None
    for case in _CASES:
        what = f"{case.method}, {case.label}"
        run = race([Side(_build, (case, mode)) for mode in modes], speed)
        eager, best = run.times[modes[0]], run.times[modes[-1]]
        for mode, times in run.times.items():
            ratio = None if mode == modes[0] else times.times_faster(eager)
            rows.append(Row(what, f"ours, compile={mode}", 1 / times.seconds, times.spread, ratio))
        shares[what] = operations(case) / best.seconds / roof
        headline = headline or (1 / best.seconds, 1 / eager.seconds, best.times_faster(eager))
    assert headline is not None
    fast, slow = (f"ours, compile={mode}: {_CASES[0].label}" for mode in (modes[-1], modes[0]))
    card = {"card": torch.cuda.get_device_name(), "roof_flop_per_s": roof, "share_of_roof": shares}
    return Item("updates/s", "higher", *headline, fast, slow, rows, card)


def _known(mode: str) -> bool:
    try:
        check_config(_CASES[0].config(compile=mode))
    except UserError:
        return False
    return True


def _build(case: Case, mode: str) -> Steps:
    made = trainer(case, device="cuda", compile=mode)

    def step() -> None:
        made.update(made.data)
        torch.cuda.synchronize()

    return {mode: step}
