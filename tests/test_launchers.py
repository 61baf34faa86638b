"""Launchers of sweeps: their files compose where the plugin is installed, and one runs a sweep for real."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

from vgf.config import Config

PLUGINS = {
    "cores": "hydra_plugins.hydra_joblib_launcher",
    "slurm": "hydra_plugins.hydra_submitit_launcher",
    "ray_tasks": "hydra_plugins.hydra_ray_launcher",
}


def installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(PLUGINS[name]) is not None
    except ModuleNotFoundError:
        return False


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not installed(name), reason=f"the plugin of hydra/launcher={name} is not installed")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        pytest.param("cores", "n_jobs", 2, marks=needs("cores")),
        pytest.param("slurm", "timeout_min", 720, marks=needs("slurm")),
        pytest.param("slurm", "partition", "gpu", marks=needs("slurm")),
        pytest.param("ray_tasks", "ray.remote.num_cpus", 2, marks=needs("ray_tasks")),
    ],
)
def test_a_launcher_composes_with_its_plugin(name, key, value):
    GlobalHydra.instance().clear()
    ConfigStore.instance().store(name="schema", node=Config)
    asked = [f"hydra/launcher={name}", *(["hydra.launcher.partition=gpu"] if key == "partition" else [])]
    with initialize_config_module("vgf.configs", version_base="1.3"):
        launcher = compose("config", asked, return_hydra_config=True).hydra.launcher
    for part in key.split("."):
        launcher = launcher[part]
    assert launcher == value


@needs("slurm")
@pytest.mark.slow
def test_submitit_runs_a_sweep(tmp_path):
    """The launcher's own processes, without Slurm: what a job is given and where it writes are the same."""
    command = [sys.executable, "-m", "vgf.run", "-m", "hydra/launcher=submitit_local", "task=toy", "seed=1,2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"toy-seed1", "toy-seed2"}
