"""``vgf.load``: the policy of a run directory, whichever domain it is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vgf import policy
from vgf.config import MethodConfig
from vgf.language.adapters import adapter_facts, adapter_path, load_adapted
from vgf.language.loading import load_text, text_json
from vgf.rundir import read_config

__all__ = ["load"]


def load(
    run_dir: str | Path,
    *,
    method: str | MethodConfig | None = None,
    device: str | torch.device = "cpu",
    trust: bool = False,
    adapter: bool = True,
) -> Any:
    """Load a run's policy, with method and budget as configured.

    A language run that has trained an adapter gives the adapted model, alone: budget is spent on top where a call, or
    ``method``, names one.

    Args:
        run_dir: directory of a training run.
        method: what a call that names no method uses; None: the run's own, at its own budget.
        device: where the networks live.
        trust: whether a reward ``module:function`` that the run names may be imported, which runs the module's code.
        adapter: False leaves a language run's adapter out: the reference, at the run's own budget.

    Returns:
        A :class:`vgf.policy.Policy` (``act``), or a :class:`vgf.language.policy.TextPolicy` (``generate``).

    Raises:
        UserError: when the directory is no run, a part of it is missing or damaged, or it names code of its own.
    """
    folder = Path(run_dir)
    if text_json(folder).is_file():
        adapted = adapter and adapter_facts(adapter_path(folder)) is not None
        make = load_adapted if adapted else load_text
        return make(folder, read_config(folder), method=method, device=device, trust=trust)
    return policy.load(folder, method=method, device=device)
