"""Settings that change speed alone: what they accept, and what they say where they cannot have their way."""

from __future__ import annotations

import pytest
import torch

from vgf import UserError
from vgf.speed import Recorder, compiled, records

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def test_an_unknown_setting_is_named():
    with pytest.raises(UserError, match=r"compile=grph is unknown; use one of off, on, graph.*graph"):
        compiled(lambda x: x, "grph")


@pytest.mark.parametrize(
    ("device", "against", "complaint"),
    [
        ("cpu", None, "compile=graph needs a CUDA device; going on"),
        ("cpu", "needs something else", "needs a CUDA device"),
        ("cuda", "needs something else", "compile=graph needs something else; going on with compile=on"),
        ("cuda", None, ""),
    ],
)
def test_updates_are_recorded_where_they_can_be(capsys, device, against, complaint):
    assert records("graph", torch.device(device), against) == (not complaint)
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == bool(complaint)
    assert not records("on", torch.device(device), against)


@GPU
def test_recorded_steps_draw_what_single_steps_draw():
    def walk(launch: int) -> torch.Tensor:
        generator = torch.Generator("cuda").manual_seed(3)
        where = torch.zeros(4, device="cuda")

        def step() -> torch.Tensor:
            where.add_(torch.randn(4, generator=generator, device="cuda"))
            return where.sum()

        made = 0
        recorder = Recorder(step, [generator])
        while made < 40:
            made += recorder.run(0, min(launch, 40 - made))[1]
        return torch.cat([where, torch.randn(4, generator=generator, device="cuda")])

    assert torch.equal(walk(1), walk(7))
