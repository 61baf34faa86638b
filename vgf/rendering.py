"""Whether frames can be drawn here: tried once, in a process of its own, because a bad OpenGL library ends it."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

__all__ = ["NO_RENDERING", "rendering_backend"]

NO_RENDERING = "neither EGL nor OSMesa draws here, or MUJOCO_GL says no; on Debian: apt-get install libegl1 libgl1"
_SECONDS = 60
_OFF = {"disable", "disabled", "off", "false", "0"}  # MuJoCo's own words for no rendering
_TRIAL = """
import mujoco, os
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom size="1"/></worldbody></mujoco>')
renderer = mujoco.Renderer(model, 16, 16)
renderer.update_scene(mujoco.MjData(model))
assert renderer.render().shape == (16, 16, 3)
os.write(1, b"drawn")
os._exit(0)  # OSMesa raises when it is freed
"""


@functools.cache
def rendering_backend() -> str | None:
    """The value of ``MUJOCO_GL`` that draws here: the user's own, else egl or osmesa; None when none does."""
    named = os.environ.get("MUJOCO_GL", "").strip().lower()
    if named in _OFF:
        return None
    return next((backend for backend in ([named] if named else ["egl", "osmesa"]) if _draws(backend)), None)


def _draws(backend: str) -> bool:
    environment = os.environ | {"MUJOCO_GL": backend}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TRIAL], env=environment, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout == b"drawn"
