"""What a trainer leaves in a checkpoint, and how it goes on from one: its own, or another run's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vgf.checkpoint import load_checkpoint, save_checkpoint, written_by
from vgf.data.fingerprint import require_same_data
from vgf.data.sharded_store import require_residency, residency
from vgf.errors import UserError
from vgf.nets import NetSizes
from vgf.nets.actor_critic import network_of, trained_networks
from vgf.trainers.nonfinite import require_finite

if TYPE_CHECKING:
    from vgf.trainers.trainer import Trainer

__all__ = ["restore", "save", "start_from"]

_ADAM = ("step", "exp_avg", "exp_avg_sq")


def save(trainer: Trainer, run_dir: Path) -> None:
    """Write a checkpoint from which training goes on exactly.

    Raises:
        UserError: networks that are not finite; what :func:`vgf.checkpoint.save_checkpoint` raises.
    """
    require_finite(trainer.networks, trainer.step)
    state: dict[str, Tensor] = {f"stream.{name}": stream.get_state() for name, stream in trainer.streams.items()}
    state |= trainer.extra_state
    for name, parameter in trainer.parameters.items():
        for key, tensor in trainer.optimizer.state[parameter].items():
            state[f"adam.{key}.{name}"] = tensor
    manifest = {
        "sizes": vars(trainer.networks.sizes),
        "trained": sorted(trainer.trained | trainer.inherited),
        "flow_steps": trainer.config.flow_steps,
        "seconds": trainer.seconds,
        **trainer.origin,
        "skipped": trainer.guard.skipped,
        "residency": residency(trainer.data),
    }
    networks, keep_every = trainer.networks.state_dict(), trainer.config.keep_every
    save_checkpoint(run_dir, trainer.step, networks, state, manifest, keep_every=keep_every)


def restore(trainer: Trainer, run_dir: Path) -> dict[str, Tensor]:
    """Load the run's newest checkpoint: networks, optimiser, random streams, step.

    Returns:
        All that it holds to go on training, the trainer's ``extra_state`` among it.

    Raises:
        UserError: no sound checkpoint; other data than it was trained on; networks of another build; data that are kept
            in memory in another way; a random stream that the checkpoint lacks, or has of another kind of device.
    """
    checkpoint = load_checkpoint(run_dir, training=True)
    manifest, stored = checkpoint.manifest, checkpoint.training
    require_same_data(trainer.origin["data"], manifest, run_dir)
    _require_same_build(trainer, manifest["sizes"], str(run_dir))
    require_residency(trainer.data, manifest, run_dir)
    trainer.networks.load_state_dict(checkpoint.networks)
    for name, stream in trainer.streams.items():
        if f"stream.{name}" not in stored:
            raise UserError(
                f"{run_dir} was written by {written_by(manifest)} without its random stream {name}: it "
                "can be evaluated, not trained on; train it anew in another run_dir=..."
            )
        _set_state(stream, stored[f"stream.{name}"], run_dir)
    for name, parameter in trainer.parameters.items():
        if f"adam.step.{name}" in stored:  # V(s) has none where no critic trains it
            moments = {key: stored[f"adam.{key}.{name}"].to(parameter.device) for key in _ADAM}
            trainer.optimizer.state[parameter] = moments
    trainer.inherited = set(manifest.get("trained", ()))
    trainer.step = checkpoint.step
    trainer.seconds = manifest["seconds"]
    trainer.guard.skipped = manifest.get("skipped", 0)
    return stored


def start_from(trainer: Trainer, run_dir: Path) -> None:
    """Take over the networks that another run has trained; those it does not have stay as they are made.

    Raises:
        UserError: no checkpoint there, or networks of another build.
    """
    theirs = load_checkpoint(run_dir)
    sizes = theirs.manifest["sizes"]
    _require_same_build(trainer, sizes, f"init={run_dir}", except_for=("extras", "policy", "judge"))
    # A policy of another kind has parameters of the same names and other shapes.
    left = set() if sizes.get("policy") == trainer.networks.sizes.policy else {"policy"}
    taken = {k: v for k, v in theirs.networks.items() if network_of(k) not in left}
    trainer.networks.load_state_dict(taken, strict=False)
    had = set(trained_networks(theirs.manifest, taken)) - left
    trainer.inherited = had & {network_of(name) for name in trainer.networks.state_dict()}
    gone = sorted(name.removeprefix("extras.") for name in had - trainer.inherited if name.startswith("extras."))
    if gone:
        print(f"left behind: {', '.join(gone)} of init={run_dir}; named in net.extras as well, it goes on training")


def _set_state(stream: torch.Generator, state: Tensor, run_dir: Path) -> None:
    """Go on with a random stream where the run left it; each kind of device keeps a state of another size."""
    if state.shape != stream.get_state().shape:
        theirs = "cpu" if stream.device.type == "cuda" else "cuda"
        raise UserError(
            f"{run_dir} drew its random numbers on another kind of device than {stream.device.type}; go on with "
            f"device={theirs}, or begin another run with its networks: init={run_dir}"
        )
    stream.set_state(state)


def _require_same_build(
    trainer: Trainer, sizes: Mapping[str, Any], whose: str, except_for: tuple[str, ...] = ()
) -> None:
    default = vars(NetSizes(0, 0))
    ours = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(trainer.networks.sizes).items()}
    for name in ours.keys() - set(except_for):
        if ours[name] != (theirs := sizes.get(name, default[name])):
            raise UserError(f"{whose} has networks of another build ({name} {theirs}, here {ours[name]})")
