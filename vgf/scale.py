"""Normalised scores: returns on a scale where 0 and 100 have a stated meaning, kept in ``scale.json`` of a run.

Only where somebody has measured both ends; without the file no normalised score is shown.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from vgf.errors import UserError
from vgf.files import atomic_write_text

__all__ = ["ScoreScale", "read_scale", "write_scale"]

_FILE = "scale.json"


@dataclass(frozen=True)
class ScoreScale:
    """Two returns that a score is measured by, and where they come from.

    Attributes:
        low: the return that scores 0, such as a random policy's.
        high: the return that scores 100, such as an expert's; more than ``low``.
        source: provenance of both, for the report.
    """

    low: float
    high: float
    source: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UserError(f"a scale from {self.low:g} to {self.high:g} is none; it needs two finite rising returns")

    def score(self, episode_return: float) -> float:
        """100 * (return - low) / (high - low), not clipped."""
        return 100 * (episode_return - self.low) / (self.high - self.low)


def write_scale(run_dir: Path, scale: ScoreScale | None) -> None:
    """Keep the scale of a run; none leaves no file."""
    if scale is None:
        (run_dir / _FILE).unlink(missing_ok=True)
    else:
        atomic_write_text(run_dir / _FILE, json.dumps(asdict(scale), indent=2) + "\n")


def read_scale(run_dir: Path) -> ScoreScale | None:
    """The scale of a run, None where it has none.

    Raises:
        UserError: the file is damaged.
    """
    path = run_dir / _FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        return ScoreScale(float(content["low"]), float(content["high"]), str(content["source"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error!r}); delete it to go on without normalised scores") from error
