"""What is loaded when: processes that step environments or make data are small and quick to start."""

from __future__ import annotations

import dataclasses
import inspect
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


def test_the_functions_that_other_code_calls_are_where_they_were():
    """The names and signatures that code outside this repository relies on."""
    from vgf import Budget, load, transport
    from vgf.data import chunk_batch
    from vgf.losses import expectile_loss, sql_loss
    from vgf.policy import Policy
    from vgf.transport.kernels import rbf_kernel, svgd_direction

    def positional(function):
        parameters = inspect.signature(function).parameters.values()
        return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]

    assert positional(transport) == ["rule", "context", "start"]
    assert positional(rbf_kernel) == ["x", "y", "bandwidth"]
    assert positional(svgd_direction) == ["particles", "score"]
    assert positional(chunk_batch) == ["data", "idx", "length", "discount"]
    assert positional(Policy.act)[:4] == ["self", "obs", "budget", "seed"]
    assert positional(load) == ["run_dir"]
    assert [field.name for field in dataclasses.fields(Budget)] == ["steps", "size", "radius"]
    assert callable(expectile_loss)
    assert callable(sql_loss)
