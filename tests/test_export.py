"""Exported policies act as they do here, at any budget, and need nothing of this package to do so."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from vgf import Budget, UserError, load
from vgf.config import MethodConfig
from vgf.export import export_policy, main, traced
from vgf.methods import load_method
from vgf.nets import ActorCritic, NetSizes
from vgf.policy import Policy

SIZES = NetSizes(3, 2, chunk=2, hidden=8, layers=1)


EXTRAS = {"robust_q": "noisy", "cfgrl": "optimal", "a_vgf": "gradient"}  # methods that need a network of their own


def untrained(*extras: str) -> Policy:
    torch.manual_seed(0)
    return Policy(ActorCritic(replace(SIZES, extras=extras)), load_method("qgf"), flow_steps=2)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return untrained()


def inputs(policy: Policy, method: str | MethodConfig, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    noise_shape = policy.noise_shape(policy.resolve(method))
    return torch.randn(rows, 3, generator=generator), torch.randn(rows, *noise_shape, generator=generator)


def assert_acts_alike(act, policy: Policy, method: str | MethodConfig, **fixed) -> None:
    chosen = policy.resolve(method)
    for rows, size in ((1, 0.0), (1, 0.3), (5, 0.1)):
        obs, noise = inputs(policy, method, rows)
        expected = policy.choose(obs, noise, Budget(size=size, **fixed), chosen).actions.view(rows, 2, 2)
        torch.testing.assert_close(act(obs, noise, torch.tensor(size)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(method, marks=[] if method == "qgf" else pytest.mark.slow)
        for method in ("qgf", "vgf", "grad_step", "best_of_n", "qgf_jacobian", "qpilots_u", "bptt", "idql")
    ],
)
def test_the_program_acts_like_the_policy(policy, method):
    assert_acts_alike(traced(policy, method).module(), policy, method)


@pytest.mark.slow
@pytest.mark.parametrize("method", EXTRAS)
def test_so_do_methods_with_networks_of_their_own(method):
    policy = untrained(EXTRAS[method])
    assert_acts_alike(traced(policy, method).module(), policy, method)


@pytest.mark.slow
def test_limits_and_selection_are_part_of_the_program(policy):
    qgf = load_method("qgf")
    how = replace(
        qgf.transport,
        particles=3,
        gate=1.2,
        keep_best=True,
        aggregate="mean-0.5*std",
        select="softmax",
        temperature=0.1,
    )
    method = replace(qgf, transport=how)
    program = traced(policy, method, Budget(radius=0.05)).module()
    assert_acts_alike(program, policy, method, radius=0.05)


@pytest.mark.slow
def test_steps_and_radius_are_fixed_and_the_size_is_not(policy):
    program = traced(policy, "grad_step", Budget(steps=1, radius=0.05)).module()
    assert_acts_alike(program, policy, "grad_step", steps=1, radius=0.05)
    obs, noise = inputs(policy, "grad_step", 4)
    near, far = (program(obs, noise, torch.tensor(size)) for size in (0.001, 100.0))
    assert (near != far).any()


def test_the_file_needs_torch_alone(policy, tmp_path):
    file = tmp_path / "policy.pt2"
    export_policy(policy, file, method="best_of_n", budget=Budget(steps=0))
    obs, noise = inputs(policy, "best_of_n", 2)
    np.savez(tmp_path / "inputs.npz", obs=obs, noise=noise)
    script = (
        "import sys, numpy, torch\n"
        "given = numpy.load('inputs.npz')\n"
        "program = torch.export.load('policy.pt2').module()\n"
        "assert not list(program.parameters())\n"
        "obs, noise = (torch.from_numpy(given[name]) for name in ('obs', 'noise'))\n"
        "numpy.save('actions.npy', program(obs, noise, torch.tensor(0.2)).numpy())\n"
        "assert not any(name.split('.')[0] == 'vgf' for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    expected = policy.choose(obs, noise, None, load_method("best_of_n")).actions.view(2, 2, 2)
    np.testing.assert_allclose(np.load(tmp_path / "actions.npy"), expected.numpy(), rtol=1e-5, atol=1e-6)
    with zipfile.ZipFile(file) as archive:
        (facts,) = [json.loads(archive.read(name)) for name in archive.namelist() if name.endswith("vgf.json")]
    assert facts["method"] == "best_of_n"
    assert facts["noise"] == list(noise.shape[1:])
    assert facts["budget"]["steps"] == 0


@pytest.mark.slow
def test_compiled_for_this_machine(policy, tmp_path):
    file = tmp_path / "policy.pt2"
    try:
        export_policy(policy, file, aot=True)
    except UserError as error:
        pytest.skip(str(error))
    assert_acts_alike(torch._inductor.aoti_load_package(str(file)), policy, "qgf")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "qpilots_g"}, "draws noise inside the flow"),
        ({"method": "cfgrl"}, r"net.extras=\[optimal\]"),
        ({"method": "qfg"}, "Did you mean 'qgf'"),
    ],
)
def test_what_cannot_be_exported(policy, tmp_path, options, said):
    with pytest.raises(UserError, match=said):
        export_policy(policy, tmp_path / "policy.pt2", **options)
    with pytest.raises(UserError, match=r"must end in .pt2"):
        export_policy(policy, tmp_path / "policy.onnx")
    assert not list(tmp_path.iterdir())


def test_mistakes_on_the_command_line_are_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / "nothing"), "--out", str(tmp_path / "policy.pt2")])
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("vgf: ")


@pytest.mark.slow
def test_a_run_is_exported_by_command(tiny_run, tmp_path, capsys):
    file = tmp_path / "run.pt2"
    main([str(tiny_run), "--out", str(file), "--method", "best_of_n"])
    assert str(file) in capsys.readouterr().out
    policy = load(tiny_run, method="best_of_n")
    obs, noise = torch.zeros(2, 2), torch.randn(2, *policy.noise_shape(policy.method))
    expected = policy.choose(obs, noise, None, policy.method).actions
    actions = torch.export.load(file).module()(obs, noise, torch.tensor(0.0))
    torch.testing.assert_close(actions.flatten(1), expected)
