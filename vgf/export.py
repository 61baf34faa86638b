"""A trained policy as one file that acts with torch alone: ``python -m vgf.export RUN_DIR --out policy.pt2``.

    obs [B, S], noise [B, N, D], size []  ->  actions [B, H, A]

The budget stays an argument: ``size`` is its size, 0 the reference. Rule, selector, steps and radius are those of the
method and fixed in the file; a portable file says which in ``vgf.json``. Load it with

    program = torch.export.load("policy.pt2").module()              # any platform that torch runs on
    program = torch._inductor.aoti_load_package("policy.pt2")       # of --aot: compiled for the machine it was made on

Decisions are traced as the operations that they come down to (``make_fx``), value gradients included, so whatever
autograd does at every Euler step in Python is written out once; twins, which only measurements need, drop out. Not
exported: rules that draw noise of their own inside the flow (qpilots_m, qpilots_g).
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from vgf.config import MethodConfig
from vgf.errors import UserError
from vgf.files import atomic_path, writing
from vgf.methods import configured_budget
from vgf.policy import Policy, load
from vgf.transport import Budget, get_rule

__all__ = ["export_policy", "main", "traced"]

_BATCH = 10_007  # of the example that is traced: no size of a network, which would be taken for the same number


@dataclass(frozen=True)
class _OpenSize(Budget):
    """A budget whose size is a tensor, to be known when the policy acts."""

    def __post_init__(self) -> None:
        pass  # there is no number to check

    @property
    def is_zero(self) -> bool:
        return self.steps == 0


def traced(
    policy: Policy, method: str | MethodConfig | None = None, budget: Budget | None = None
) -> torch.export.ExportedProgram:
    """The policy's decisions under one method as a program: (obs [B, S], noise [B, N, D], size []) -> [B, H, A].

    Args:
        policy: on the device that the program will run on.
        method: as for :meth:`vgf.policy.Policy.act`.
        budget: its steps and radius are fixed in the program; open ones are the method's.

    Raises:
        UserError: a method this policy lacks networks for, or whose rule cannot be exported.
    """
    chosen = policy.resolve(method)
    policy.require(chosen)
    if get_rule(chosen.transport.rule).draws:
        raise UserError(
            f"rule {chosen.transport.rule!r} draws noise inside the flow and cannot be exported; use another method, "
            "such as qpilots_u or qgf"
        )
    own = configured_budget(chosen)
    fixed = budget.filled(own) if budget else own
    sizes = policy.networks.sizes

    def decide(obs: Tensor, noise: Tensor, size: Tensor) -> tuple[Tensor]:
        open_size: Any = size
        choice = policy.choose(obs, noise, _OpenSize(fixed.steps, open_size, fixed.radius), chosen)
        return (choice.actions.reshape(-1, sizes.chunk, sizes.action),)

    device = next(policy.networks.parameters()).device
    obs = torch.zeros(_BATCH, sizes.observation, device=device)
    noise = torch.zeros(_BATCH, *policy.noise_shape(chosen), device=device)
    size = torch.zeros((), device=device)
    graph = make_fx(decide, tracing_mode="symbolic", _allow_non_fake_inputs=True)(obs, noise, size)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        program = torch.export.export(_Flat(graph), (obs, noise, size), dynamic_shapes=({0: batch}, {0: batch}, None))
    program.example_inputs = ((obs[:2].clone(), noise[:2].clone(), size), {})  # fewer zeros to keep in the file
    return program


class _Flat(torch.nn.Module):
    """The traced graph, returning its one result.

    Its parameters are buffers: torch 2.9 has parameters of a loaded program require gradients, and actions with them.
    """

    def __init__(self, graph: torch.fx.GraphModule) -> None:
        super().__init__()
        for name, parameter in list(graph.named_parameters()):
            delattr(graph, name)
            graph.register_buffer(name, parameter.detach())
        self.decide = graph  # "graph" is taken: the exported module has one of its own

    def forward(self, obs: Tensor, noise: Tensor, size: Tensor) -> Tensor:
        return self.decide(obs, noise, size)[0]


def export_policy(
    policy: Policy,
    path: Path,
    *,
    method: str | MethodConfig | None = None,
    budget: Budget | None = None,
    aot: bool = False,
) -> None:
    """Write :func:`traced` to a file, as a portable program or (``aot``) compiled for this machine.

    Raises:
        UserError: as for :func:`traced`; no compiler for ``aot``; a path that cannot be written.
    """
    if path.suffix != ".pt2":
        raise UserError(f"--out {path} must end in .pt2, which torch asks of such files")
    program = traced(policy, method, budget)
    chosen = policy.resolve(method)
    own = configured_budget(chosen)
    fixed = budget.filled(own) if budget else own
    facts = {
        "method": chosen.method,
        "observation": policy.networks.sizes.observation,
        "noise": policy.noise_shape(chosen),
        "budget": {"steps": fixed.steps, "size": fixed.size, "radius": fixed.radius},
    }
    with writing("the policy", path), atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's, of its own parts
        if aot:
            _compile(program, temporary)
        else:
            torch.export.save(program, temporary, extra_files={"vgf.json": json.dumps(facts)})


def _compile(program: torch.export.ExportedProgram, path: Path) -> None:
    from torch._inductor import aoti_compile_and_package

    try:
        aoti_compile_and_package(program, package_path=str(path))
    except Exception as error:
        line = str(error).strip().splitlines()[0][:120]
        raise UserError(f"--aot: the compiler does not work here ({line}); leave --aot out") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``python -m vgf.export``."""
    parser = argparse.ArgumentParser(prog="python -m vgf.export", description="Write a trained policy to one file.")
    parser.add_argument("run_dir", metavar="RUN_DIR", help="directory of a training run")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="file to write, FILE.pt2")
    parser.add_argument("--method", help="a method other than the run's own")
    parser.add_argument("--steps", type=int, help="budget.steps, fixed in the file")
    parser.add_argument("--radius", type=float, help="budget.radius, fixed in the file")
    parser.add_argument("--aot", action="store_true", help="compile for this machine (AOTInductor)")
    given = parser.parse_args(arguments)
    logging.getLogger("torch").setLevel(logging.ERROR)
    try:
        budget = Budget(given.steps, None, given.radius)
        policy = load(given.run_dir, method=given.method)
        export_policy(policy, given.out, budget=budget, aot=given.aot)
    except UserError as error:
        print(f"vgf: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{given.out}: method {policy.method.method}, noise {policy.noise_shape(policy.method)}")


if __name__ == "__main__":
    main()
