"""What a run notes of the command and the versions that it was started with."""

from __future__ import annotations

import shlex
from importlib import metadata

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from vgf import provenance
from vgf.provenance import PACKAGES, command_line, environment_text


def test_a_shell_reads_the_command_line_as_it_was_given(monkeypatch):
    given = ["task=ogbench", "eval.budgets=[0, 1]", "run_dir=it's here"]
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # another test of this process may have made a run
    monkeypatch.setattr("sys.argv", ["vgf", *given])
    assert shlex.split(command_line()) == ["python", "-m", "vgf.run", *given]
    monkeypatch.setattr("sys.argv", ["vgf"])
    assert command_line() == "python -m vgf.run"


def test_one_job_of_a_sweep_notes_its_own_command(monkeypatch):
    job = OmegaConf.create({"hydra": {"overrides": {"task": ["task=ogbench", "seed=2"]}}})
    monkeypatch.setattr(HydraConfig.instance(), "cfg", job)
    monkeypatch.setattr("sys.argv", ["vgf", "--multirun", "task=ogbench", "seed=1,2"])
    assert command_line() == "python -m vgf.run task=ogbench seed=2"


def test_the_environment_names_each_package_with_its_version(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", (*PACKAGES, "no-such-package"))
    monkeypatch.setattr(provenance, "git_revision", lambda: None)
    told = dict(line.split(": ", 1) for line in environment_text().splitlines())
    assert {name: told[name] for name in PACKAGES} == {name: metadata.version(name) for name in PACKAGES}
    assert told["no-such-package"] == "not installed"
    assert told["commit"] == "unknown"
