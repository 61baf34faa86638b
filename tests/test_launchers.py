"""Launchers of sweeps: their files compose where the plugin is installed, and one runs a sweep for real."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

from tests.command import run_main
from vgf.config import Config
from vgf.errors import UserError
from vgf.tasks import toy

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


@pytest.mark.parametrize(("name", "extra"), [("cores", "sweep"), ("slurm", "slurm"), ("ray_tasks", "ray")])
def test_a_launcher_whose_plugin_is_missing_says_what_to_install(name, extra, monkeypatch, tmp_path):
    if installed(name):
        pytest.skip(f"the plugin of hydra/launcher={name} is installed")
    monkeypatch.chdir(tmp_path)
    status, text = run_main(["-m", f"hydra/launcher={name}", "seed=1,2"])
    assert (status, text.count("\n")) == (2, 0)
    assert f"pip install 'vgf[{extra}]'" in text


def test_a_job_that_fails_is_told_and_the_others_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    ran = []
    monkeypatch.setattr(toy, "demonstrate", lambda seed, folder: ran.append(seed) or "")
    monkeypatch.setattr("vgf.launch.settled", refusing_seed_one)
    status, text = run_main(["-m", "task=toy", "seed=1,2,3"])
    assert (status, ran) == (2, [2, 3])
    assert text.count("vgf: seed one is refused") == 2  # where it failed, and as the reason of the status
    assert "Traceback" not in text


def refusing_seed_one(composed, given):
    if composed.seed == 1:
        raise UserError("seed one is refused")
    return composed


@needs("slurm")
@pytest.mark.slow
def test_submitit_runs_a_sweep(tmp_path):
    """The launcher's own processes, without Slurm: what a job is given and where it writes are the same."""
    command = [sys.executable, "-m", "vgf.run", "-m", "hydra/launcher=submitit_local", "task=toy", "seed=1,2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"toy-seed1", "toy-seed2"}
