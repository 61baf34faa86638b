"""Makes an update again that was not finite: ``python -m vgf.trainers.replay RUN_DIR/nonfinite/step-000000037``.

The folder is what :mod:`vgf.trainers.nonfinite` has kept; the settings are those of the run around it. On the same
machine the same is found; elsewhere, or after a change of the code, what is found shows whether the change helped.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vgf.errors import UserError
from vgf.nets import ActorCritic, NetSizes
from vgf.rundir import read_config
from vgf.speed import precision_context
from vgf.trainers.nonfinite import Finding, examine
from vgf.trainers.pieces import losses_of
from vgf.trainers.terms import Draw, Losses

__all__ = ["main", "replay"]


_LOSSES_OF = {"online": "offline"}  # a trainer without losses of its own -> whose it minimises


def replay(folder: Path) -> tuple[Finding, dict[str, float]]:
    """Make the update of a folder again, on the CPU.

    Returns:
        What in it is not finite (``tensors`` is empty where all is), and its losses by name.

    Raises:
        UserError: the folder or the run around it cannot be read.
    """
    try:
        facts = json.loads((folder / "finding.json").read_text(encoding="utf-8"))
        held = load_file(folder / "draw.safetensors")
        networks = ActorCritic(NetSizes(**facts["sizes"]))
        networks.load_state_dict(load_file(folder / "networks.safetensors"))
        draws = {name: _draw(held, name) for name in ("draw", "held_out")}
        trained, step, trainer = set(facts["trained"]), int(facts["step"]), str(facts["trainer"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        cause = " ".join(str(error).split())[:200]
        raise UserError(f"{folder} does not hold an update to make again ({type(error).__name__}: {cause})") from error
    config = read_config(folder.parent.parent)
    if config.trainer != trainer:
        raise UserError(f"{folder} was kept by trainer={trainer}, but the run around it is of trainer={config.trainer}")
    objective = importlib.import_module(f"vgf.trainers.{_LOSSES_OF.get(trainer, trainer)}").objective(config)

    def losses(draw: Draw, held_out: Draw | None) -> Losses:
        with precision_context(torch.device("cpu"), config.train.precision):
            return losses_of(networks, objective, config.train, draw, held_out)

    parameters = {name: p.requires_grad_(name in trained) for name, p in networks.named_parameters()}
    draw, held_out = draws["draw"], draws["held_out"]
    if draw is None:
        raise UserError(f"{folder} does not hold an update to make again (its draw is empty)")
    finding = examine(networks, {k: p for k, p in parameters.items() if k in trained}, losses, draw, held_out, step)
    return finding, {name: float(loss.detach()) for name, loss in losses(draw, held_out).items()}


def _draw(held: dict[str, Tensor], name: str) -> Draw | None:
    tensors = {key.removeprefix(f"{name}."): t for key, t in held.items() if key.startswith(f"{name}.")}
    return Draw.of(tensors) if tensors else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is found; returns the exit status, 0 where all is finite now."""
    parser = argparse.ArgumentParser(prog="python -m vgf.trainers.replay", description="Make a kept update again.")
    parser.add_argument("folder", type=Path, help="RUN_DIR/nonfinite/step-...")
    try:
        finding, losses = replay(parser.parse_args(arguments).folder)
    except UserError as error:
        print(f"vgf: {error}", file=sys.stderr)
        return 2
    for name, value in losses.items():
        print(f"{name:<24} {value:.6g}")
    if not finding.tensors:
        print("every loss and gradient is finite")
        return 0
    print(f"{finding.line()}\nnot finite: {', '.join(finding.tensors)}")
    if finding.operation:
        print(f"the first gradient that is NaN is that of {finding.operation}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
