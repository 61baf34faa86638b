"""Environments that draw themselves: a GIF an episode. Processes that film import this module, and no networks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from PIL import Image

from vgf.files import atomic_path

__all__ = ["film_name", "make_filmed"]

_FRAMES = 40  # of an episode at most
_SECONDS = 15.0  # of drawing an episode, about: where drawing is slow there are fewer frames
_PIXELS = 240  # of the longer side
_COLOURS = 64
_MILLISECONDS = 80  # a frame is shown


def make_filmed(make_environment: Callable[[], Any], folder: Path) -> gymnasium.Env:
    """Make an environment that leaves a GIF of each of its episodes in ``folder``, called :func:`film_name`."""
    return _Filmed(make_environment(), folder)


def film_name(seed: int) -> str:
    """What the film of the episode with this seed is called until it is known what it shows."""
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
        self._steps, self._film = 0, _Film(self._folder / film_name(seed or 0), [])
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
