"""Films of evaluated episodes: GIFs in the folder ``videos`` of a run, of the configured budget and of budget 0.

The same episodes as in the evaluation are played once more, in a process of its own, whose environment draws itself. A
run never stops for a film: where nothing draws, or drawing fails, one line says so.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from vgf.config import Config
from vgf.environments import EnvironmentPool
from vgf.evaluation import EpisodeRecord, episode_seed, evaluate
from vgf.files import atomic_write_text
from vgf.filmed import film_name, make_filmed
from vgf.inherited import inherited
from vgf.methods import ALL, budget_at, knob_of
from vgf.policy import Policy
from vgf.progress import progress_bar
from vgf.rendering import NO_RENDERING, rendering_backend

__all__ = ["film_episodes"]


def film_episodes(config: Config, run_dir: Path, policy: Policy, make_environment: Callable[[], Any]) -> None:
    """Film ``eval.videos`` episodes at the configured budget and at budget 0; one line where that cannot be done."""
    if config.eval.videos == 0 or config.method == ALL:
        return
    if rendering_backend() is None:
        print(f"no videos: {NO_RENDERING}")
        return
    try:
        _film(config, run_dir, policy, make_environment)
    except Exception as error:  # an OpenGL library or a renderer may fail in any way it likes
        print(f"no videos: {' '.join(str(error).split()) or type(error).__name__}")


def _film(config: Config, run_dir: Path, policy: Policy, make_environment: Callable[[], Any]) -> None:
    folder = run_dir / "videos"
    folder.mkdir(exist_ok=True)
    knobs = sorted({0.0, knob_of(config)})
    index: list[dict[str, Any]] = []
    with (
        progress_bar("filming", len(knobs) * config.eval.videos, "episode") as bar,
        inherited(MUJOCO_GL=rendering_backend() or ""),
        EnvironmentPool(partial(make_filmed, make_environment, folder), slots=config.eval.videos, processes=1) as pool,
    ):
        for knob in knobs:
            budget = budget_at(config, knob)
            episodes = evaluate(
                lambda obs, noise, budget=budget: policy.decide(obs, noise, budget, config),  # type: ignore[misc]
                pool,
                noise_shape=policy.noise_shape(config),
                episodes=config.eval.videos,
                seed=config.eval.seed,
                progress=bar.update,
            )
            index += [_entry(config, folder, policy.step, knob, episode) for episode in episodes]
    for file in set(folder.glob("*.gif")) - {folder / entry["file"] for entry in index}:
        file.unlink()  # of an earlier evaluation
    atomic_write_text(folder / "index.json", json.dumps(index, indent=1) + "\n")


def _entry(config: Config, folder: Path, step: int, knob: float, episode: EpisodeRecord) -> dict[str, Any]:
    """Give a film its name, and say what is on it."""
    name = f"{config.method}-{knob:g}-episode{episode.episode}.gif"
    os.replace(folder / film_name(episode_seed(config.eval.seed, episode.episode)), folder / name)
    success = None if math.isnan(episode.success) else bool(episode.success)
    return {
        "file": name, "step": step, "method": config.method, "budget": knob, "episode": episode.episode,
        "return": episode.episode_return, "success": success, "length": episode.length,
    }  # fmt: skip
