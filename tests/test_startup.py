"""What is loaded when: processes that step environments or make data are small and quick to start."""

from __future__ import annotations

import subprocess
import sys

_LIGHT = (
    "vgf",
    "vgf.run",
    "vgf.environments",
    "vgf.filmed",
    "vgf.data.generate",
    "vgf.tasks.custom",
    "vgf.tasks.mujoco",
    "vgf.tasks.ogbench",
    "vgf.tasks.ogbench_goals",
)


def test_processes_that_play_load_no_networks():
    """The main module of a command and the modules that make environments, as a worker process imports them."""
    asked = f"import {', '.join(_LIGHT)}, sys; print(sorted({{'torch', 'hydra', 'matplotlib'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_there_when_asked_for():
    asked = (
        "import vgf, vgf.transport.rules\n"
        "from vgf import *\n"
        "from vgf import transport\n"
        "assert callable(transport) and callable(vgf.transport) and not set(vgf.__all__) - set(dir(vgf))\n"
        "assert all(getattr(vgf, name) is globals()[name] for name in vgf.__all__)\n"
        "try:\n    vgf.nothing\nexcept AttributeError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "module 'vgf' has no attribute 'nothing'"
