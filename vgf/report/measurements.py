"""What a move does on held-out states, without an environment: reads and writes ``offline.csv`` of a run directory."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from vgf.errors import UserError
from vgf.files import atomic_write_text

__all__ = ["Measurement", "add_measurements", "read_measurements"]


@dataclass(frozen=True)
class Measurement:
    """One row of ``offline.csv``; all but the first three are means over states.

    Attributes:
        step, method, budget: what was measured; budget is a value of the method's knob.
        states, particles: how many states, and particles in each state's cloud.
        value: of the chosen action, under the critic that moves.
        judge: of the chosen action, under the judge; NaN without one.
        travelled: RMS distance per coordinate of the chosen action from its twin.
        w_inf_bound, mmd, w2: distances between moved and unmoved cloud, see ``vgf.transport.distance``.
    """

    step: int
    method: str
    budget: float
    states: int
    particles: int
    value: float
    judge: float
    travelled: float
    w_inf_bound: float
    mmd: float
    w2: float


_COLUMNS = tuple(f.name for f in fields(Measurement))


def add_measurements(run_dir: Path, new: Iterable[Measurement]) -> None:
    """Add rows to ``offline.csv``; those of the same step, method and budget are replaced."""
    rows = {(m.step, m.method, m.budget): m for m in [*read_measurements(run_dir), *new]}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for m in rows.values():
        writer.writerow([f"{x:.6g}" if isinstance(x, float) else x for x in asdict(m).values()])
    atomic_write_text(run_dir / "offline.csv", text.getvalue())


def read_measurements(run_dir: Path) -> list[Measurement]:
    """Rows of ``offline.csv``; none when the file is missing.

    Raises:
        UserError: when the file is damaged.
    """
    path = run_dir / "offline.csv"
    if not path.is_file():
        return []
    try:
        with path.open(newline="") as file:
            return [_measurement(row) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error!r}); delete it and evaluate again") from error


def _measurement(row: dict[str, str]) -> Measurement:
    whole = {name: int(row[name]) for name in ("step", "states", "particles")}
    numbers = {name: float(row[name]) for name in _COLUMNS if name not in whole and name != "method"}
    return Measurement(method=row["method"], **whole, **numbers)  # type: ignore[arg-type]
