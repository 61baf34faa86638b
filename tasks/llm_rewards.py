"""Rewards of a language run: loaded, trained and cached, or found as functions.

A trained reward is kept in ``text.cache``, under a name made from everything that shaped it, contents of data and
base included, so that the next run with the same settings takes it from there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from vgf.errors import UserError
from vgf.files import file_sha256
from vgf.language.convert import make_whole
from vgf.language.models import find_model
from vgf.language.policy import Reward
from vgf.language.ranks import processes
from vgf.language.rewards import load_reward
from vgf.language.rows import SCHEMAS, read_texts
from vgf.language.scorers import is_scorer, scorer
from vgf.language.settings import RewardConfig
from vgf.language.text import Reviews, preference_pairs
from vgf.trainers.reward import train_reward

__all__ = ["FoundReward", "find_reward"]

_MOST_HELD_OUT = 500


@dataclass(frozen=True)
class FoundReward:
    """A reward, where it is kept (None for a function), and one line about it."""

    reward: Reward
    path: Path | None
    line: str


def find_reward(
    name: str,
    config: RewardConfig,
    *,
    reference: Path,
    reviews: Reviews,
    cache: Path,
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
) -> FoundReward:
    """The reward that ``text.<name>`` asks for.

    Args:
        name: reward, gold or second: what errors call it.
        reference: folder of the reference model.
        reviews: what ``data=reviews`` means here; no other reward sees them.
        cache: folder of trained rewards.

    Raises:
        UserError: it cannot be had, or its data lack columns.
    """
    if config.path is not None:
        path = find_model(config.path, cache)
        return FoundReward(load_reward(name, path, device, dtype, config.max_length), path, str(config.path))
    if is_scorer(config.model):
        return FoundReward(scorer(config.model), None, config.model)
    base = reference if config.model == "reference" else find_model(config.model, cache)
    layers = config.layers if config.model == "reference" else None
    settings = asdict(config) | {"path": None, "layers": layers, "seed": seed, "base": _identity(base)}
    rows: Sequence[Mapping[str, str]] = []
    if config.data == "reviews":
        settings["reviews"] = len(reviews)
    else:
        rows = read_texts(config.data, SCHEMAS["pairs"], columns=config.columns)
        settings["rows"] = _digest(json.dumps(row, sort_keys=True) for row in rows)
    folder = cache / "rewards" / f"{name}-{_digest([json.dumps(settings, sort_keys=True)])[:12]}"

    def fill(place: Path) -> None:
        if processes() > 1:
            raise UserError(
                f"{name} is not trained yet, and rewards are trained by one process: run the same task with "
                "trainer=value, without accelerate launch, once before"
            )
        pairs, held_out = _pairs(name, config, reviews, rows, seed)
        print(f"{name}: training a reward model on {len(pairs):,} pairs ({base.name}); kept in {folder}")
        accuracy = train_reward(base, pairs, held_out, config, place, seed=seed, layers=layers)
        facts = settings | {"accuracy": accuracy, "pairs_held_out": len(held_out)}
        (place / "reward.json").write_text(json.dumps(facts, indent=2) + "\n")

    make_whole(folder, fill)
    facts = json.loads((folder / "reward.json").read_text())
    what = f"first {layers} blocks of the reference" if layers is not None else config.model
    line = f"{what}, {facts['accuracy']:.1%} of {facts['pairs_held_out']} held-out pairs ranked right"
    return FoundReward(load_reward(name, folder, device, dtype, config.max_length), folder, line)


def _pairs(
    name: str, config: RewardConfig, reviews: Reviews, rows: Sequence[Mapping[str, str]], seed: int
) -> tuple[Sequence[Mapping[str, str]], Sequence[Mapping[str, str]]]:
    """Pairs to train on and pairs to measure on; reviews of one part are not in the other."""
    if config.data == "reviews":
        kept = len(reviews) - len(reviews) // 10
        train = preference_pairs(reviews.take(range(kept)), config.pairs or 20_000, config.words, seed)
        held = preference_pairs(reviews.take(range(kept, len(reviews))), _MOST_HELD_OUT, config.words, seed)
        return train, held
    held_out = min(_MOST_HELD_OUT, len(rows) // 10)
    if not held_out:
        raise UserError(f"text.{name}.data={config.data} has {len(rows)} usable pairs; a reward needs 10 or more")
    return rows[: len(rows) - held_out][: config.pairs], rows[len(rows) - held_out :]


def _identity(folder: Path) -> str:
    """A model's weights by their content. The hub's cache names a file after that, which saves reading it."""
    files = [path.resolve() for path in sorted(folder.glob("*.safetensors"))]
    return _digest(path.name if re.fullmatch("[0-9a-f]{64}", path.name) else file_sha256(path) for path in files)


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
