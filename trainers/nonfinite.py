"""Updates whose loss or gradient is not finite: found where they happen, named, kept for replay, never made.

Every update sums its losses and the norm of their gradient into one number and looks at that alone (``is_finite``); a
gradient too large for its norm to be a float32 counts as well, because its square would enter Adam's state. Only when
that number is not finite is the update taken apart: which tensors, which rows of the batch, which operation
(``examine``). What is needed to make the update again goes into the run directory::

    RUN_DIR/nonfinite/step-000000037/draw.safetensors       the batch and all random numbers of the update
                                     networks.safetensors   parameters and buffers it began from
                                     finding.json           what was found, network sizes, trainer

``python -m vgf.trainers.replay RUN_DIR/nonfinite/step-000000037`` makes it again. ``train.nonfinite=stop`` then ends
the run, ``skip`` goes on with the next batch: parameters, optimiser and target networks stay as they were.

Updates that are recorded (``compile=graph``) are not looked at one by one: their parameters are, where metrics are
logged and checkpoints saved (``require_finite``), and nothing is kept for replay.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save as serialize
from torch import Tensor, nn

from vgf.errors import UserError
from vgf.files import atomic_path, atomic_write_text
from vgf.trainers.terms import Draw, Losses

__all__ = ["Finding", "Guard", "examine", "is_finite", "require_finite", "summed"]

LossOf = Callable[[Draw, Draw | None], Losses]

_ROWS_NAMED = 8  # a bad parameter makes every row bad; a bad row is one of few
_KEPT = 10  # folders of one run
_IN_A_ROW = 100  # skipped updates, after which no batch will do


@dataclass(frozen=True)
class Finding:
    """What is not finite in an update.

    Attributes:
        step: updates made before it.
        tensors: names, the cause first: parameters, else columns of the batch, else losses, else gradients. Empty: all
            were finite when the update was made again, which is done plainly (not compiled, cut up or stacked).
        rows: places in the batch of the rows that are not finite alone, at most eight; empty: no single row is.
        data_rows: the rows of the data that these are, in the same order.
        held_out: rows are those of the held-out batch.
        operation: the first function whose gradient is NaN, as autograd calls it; "" where there is none.
    """

    step: int
    tensors: list[str]
    rows: list[int]
    data_rows: list[int]
    held_out: bool
    operation: str

    def line(self) -> str:
        """One line that says so."""
        if not self.tensors:
            return f"a loss or gradient was not finite at step {self.step}, and all were when the update was made again"
        first, others = self.tensors[0], len(self.tensors) - 1
        more = f" (and {others} more)" if others else ""
        whose = "held-out batch" if self.held_out else "batch"
        where = f", from rows {self.rows} of the {whose} (rows {self.data_rows} of its data)" if self.rows else ""
        return f"{first}{more} is not finite at step {self.step}{where}"


class Guard:
    """Decides what becomes of updates that are not finite.

    Args:
        how: ``stop`` or ``skip``.

    Attributes:
        folder: where they are kept; None: nowhere.
        skipped: updates left out so far.
    """

    def __init__(self, how: str) -> None:
        self.how = how
        self.folder: Path | None = None
        self.skipped = 0
        self._last, self._in_a_row = -1, 0

    def refuse(self, finding: Finding, networks: nn.Module, draws: Mapping[str, Draw | None], facts: dict) -> None:
        """Keep the update, count it, or stop.

        Args:
            draws: ``draw`` and ``held_out`` of the update.
            facts: what a replay needs besides, JSON values.

        Raises:
            UserError: ``stop``, or a hundred updates in a row were skipped.
        """
        kept = self._keep(finding, networks, draws, facts)
        again = f"; 'python -m vgf.trainers.replay {kept}' makes this update again" if kept else ""
        if self.how == "stop":
            raise UserError(
                f"{finding.line()}; lower train.learning_rate, check the data, or leave such batches out with "
                f"train.nonfinite=skip{again}"
            )
        self.skipped += 1
        self._in_a_row = self._in_a_row + 1 if finding.step == self._last + 1 else 1
        self._last = finding.step
        if self._in_a_row >= _IN_A_ROW:
            raise UserError(f"{finding.line()}, as in the {_IN_A_ROW} updates before; lower train.learning_rate{again}")

    def _keep(
        self, finding: Finding, networks: nn.Module, draws: Mapping[str, Draw | None], facts: dict
    ) -> Path | None:  # fmt: skip
        if self.folder is None:
            return None
        folder = self.folder / f"step-{finding.step:09d}"
        if not folder.is_dir() and sum(1 for _ in self.folder.glob("step-*")) >= _KEPT:
            return None
        draw = {f"{k}.{name}": t for k, d in draws.items() if d is not None for name, t in d.tensors().items()}
        for name, tensors in (("draw", draw), ("networks", networks.state_dict())):
            with atomic_path(folder / f"{name}.safetensors") as path:
                path.write_bytes(
                    serialize(
                        {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
                    )
                )
        atomic_write_text(folder / "finding.json", json.dumps(asdict(finding) | facts, indent=2) + "\n")
        return folder


def summed(losses: Losses) -> Tensor:
    """What is minimised."""
    return torch.stack([loss for name, loss in losses.items() if name.endswith("/loss")]).sum()


def is_finite(total: Tensor, gradients: Iterable[Tensor | None]) -> bool:
    """Whether a summed loss and the norm of its gradients are finite; one number is read from the device."""
    norm = nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None])
    return math.isfinite(float(total.detach() + norm))


def require_finite(networks: nn.Module, step: int) -> None:
    """Raise a UserError for parameters or buffers that are not finite: they are never written to a checkpoint."""
    if bad := _bad(networks.state_dict()):
        raise UserError(f"{bad[0]} is not finite after {step} updates; lower train.learning_rate")


def examine(
    networks: nn.Module, parameters: Mapping[str, Tensor], losses: LossOf, draw: Draw, held_out: Draw | None, step: int
) -> Finding:  # fmt: skip
    """Make an update's losses and gradients again and say what in them is not finite. Leaves no ``grad``.

    Args:
        networks: as the update began.
        parameters: those that are trained.
        losses: (draw, held-out draw or None) -> named losses.
        step: for the finding.
    """

    def bad(draw: Draw, held_out: Draw | None) -> tuple[list[str], list[str]]:
        for parameter in parameters.values():
            parameter.grad = None
        found = losses(draw, held_out)
        summed(found).backward()
        terms = _bad({name: loss for name, loss in found.items() if name.endswith("/loss")})
        gradients = {f"gradient of {name}": p.grad for name, p in parameters.items() if p.grad is not None}
        return terms, _bad(gradients) or _largest(gradients)

    inputs = draw.tensors() | ({f"held_out.{k}": v for k, v in held_out.tensors().items()} if held_out else {})
    terms, gradients = bad(draw, held_out)
    tensors = [*_bad(networks.state_dict()), *_bad(inputs), *terms, *gradients]
    rows: list[int] = []
    whose = draw
    if not _bad(networks.state_dict()):
        rows = list(_single_rows(draw, lambda part: any(bad(part, None))))
        if not rows and held_out is not None:
            small = draw[:1]
            rows = list(_single_rows(held_out, lambda part: any(bad(small, part))))
            whose = held_out if rows else draw
    data_rows = whose.batch.rows[rows].tolist() if rows else []
    operation = _operation(lambda: summed(losses(draw, held_out)))
    for parameter in parameters.values():
        parameter.grad = None
    return Finding(step, tensors, rows, data_rows, whose is held_out, operation)


def _bad(tensors: Mapping[str, Tensor]) -> list[str]:
    return [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]


def _largest(gradients: Mapping[str, Tensor]) -> list[str]:
    """The largest gradient, where all are finite but their norm is not."""
    if not gradients or math.isfinite(float(nn.utils.get_total_norm(gradients.values()))):
        return []
    return [f"norm of the {max(gradients, key=lambda name: float(gradients[name].abs().max()))}"]


def _single_rows(draw: Draw, bad: Callable[[Draw], bool]) -> Iterator[int]:
    """Places of rows that are bad alone, by halving; the first eight."""
    found = 0
    pending = [torch.arange(len(draw.noise), device=draw.noise.device)]
    while pending and found < _ROWS_NAMED:
        rows = pending.pop()
        if not bad(draw[rows]):
            continue
        if len(rows) == 1:
            found += 1
            yield int(rows)
        else:
            half = len(rows) // 2
            pending += [rows[half:], rows[:half]]


def _operation(total: Callable[[], Tensor]) -> str:
    """Name of the first function whose gradient is NaN, as autograd's anomaly mode has it."""
    try:
        with warnings.catch_warnings(), torch.autograd.set_detect_anomaly(True):
            warnings.simplefilter("ignore")  # anomaly mode warns with the whole stack
            total().backward()
    except RuntimeError as error:
        return str(error).split("'")[1] if "returned nan values" in str(error) else ""
    return ""
