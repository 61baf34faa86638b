"""Films of evaluated episodes: GIFs in the folder ``videos`` of a run, of the configured budget and of budget 0.

The same episodes as in the evaluation are played once more, in a process of its own, whose environment draws itself. A
run never stops for a film: where nothing draws, or drawing fails, one line says so.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from PIL import Image

from vgf.config import Config
from vgf.environments import EnvironmentPool
from vgf.evaluation import EpisodeRecord, episode_seed, evaluate
from vgf.files import atomic_path, atomic_write_text
from vgf.inherited import inherited
from vgf.methods import ALL, budget_at, knob_of
from vgf.policy import Policy
from vgf.progress import progress_bar
from vgf.rendering import NO_RENDERING, rendering_backend

__all__ = ["film_episodes"]

_FRAMES = 40  # of an episode at most
_SECONDS = 15.0  # of drawing an episode, about: where drawing is slow there are fewer frames
_PIXELS = 240  # of the longer side
_COLOURS = 64
_MILLISECONDS = 80  # a frame is shown


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
    with progress_bar("filming", len(knobs) * config.eval.videos, "episode") as bar:
        for knob in knobs:
            budget = budget_at(config, knob)
            with inherited(MUJOCO_GL=rendering_backend() or ""), EnvironmentPool(
                partial(_make_filmed, make_environment, folder), slots=config.eval.videos, processes=1
            ) as pool:  # fmt: skip
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
    os.replace(folder / _film_name(episode_seed(config.eval.seed, episode.episode)), folder / name)
    success = None if math.isnan(episode.success) else bool(episode.success)
    return {
        "file": name, "step": step, "method": config.method, "budget": knob, "episode": episode.episode,
        "return": episode.episode_return, "success": success, "length": episode.length,
    }  # fmt: skip


def _make_filmed(make_environment: Callable[[], Any], folder: Path) -> gymnasium.Env:
    return _Filmed(make_environment(), folder)


def _film_name(seed: int) -> str:
    return f".seed-{seed}.gif"


@dataclass
class _Film:
    path: Path
    frames: list[Image.Image]


class _Filmed(gymnasium.Wrapper):
    """Draws every few steps and writes a GIF, named after the seed, when the episode ends."""

    def __init__(self, env: gymnasium.Env, folder: Path) -> None:
        super().__init__(env)
        self.deals_episodes = getattr(env, "deals_episodes", False)
        limit = getattr(env.spec, "max_episode_steps", None) or 200
        self._limit, self._folder = int(limit), folder
        base: Any = env.unwrapped
        if base.render_mode is None:
            base.render_mode = "rgb_array"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        answer = self.env.reset(seed=seed, options=options)
        self._steps, self._film = 0, _Film(self._folder / _film_name(seed or 0), [])
        self._shoot()
        return answer

    def step(self, action: Any) -> Any:
        answer = self.env.step(action)
        self._steps += 1
        done = bool(answer[2] or answer[3])
        if done or self._steps >= self._next:
            self._shoot()
        if done:
            _write_gif(self._film)
        return answer

    def _shoot(self) -> None:
        """Add a frame, and choose the step of the next one."""
        began = time.perf_counter()
        self._film.frames.append(self._draw())
        took = time.perf_counter() - began
        self._next = self._steps + math.ceil(self._limit * max(1 / _FRAMES, took / _SECONDS))

    def _draw(self) -> Image.Image:
        frame: Any = self.env.unwrapped.render()
        if frame is None:
            raise RuntimeError(f"{self.env.unwrapped} draws no frames")
        image = Image.fromarray(np.asarray(frame, np.uint8)[..., :3])
        image.thumbnail((_PIXELS, _PIXELS))
        return image


def _write_gif(film: _Film) -> None:
    frames = [image.quantize(_COLOURS) for image in film.frames]
    shown = [_MILLISECONDS] * (len(frames) - 1) + [1500]  # a while on the last one
    with atomic_path(film.path) as path:
        frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:], duration=shown, loop=0)
