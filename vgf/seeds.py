"""``seeds=K``: the configurations of K runs that differ in seed and run directory."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from vgf.config import Config
from vgf.errors import UserError

__all__ = ["each_seed"]

_MOST = 100  # every seed holds networks, optimiser and a run directory of its own


def each_seed(composed: DictConfig) -> Iterator[Config]:
    """One configuration for each of the seeds ``seed, seed + 1, ...``, as its own command would have composed it.

    Where ``run_dir`` does not name the seed, ``-seedN`` is appended to it.

    Raises:
        UserError: ``seeds`` is not from 1 to 100, leads beyond the last seed there is, is not a training run's, or is
            asked to leave out updates of single seeds.
    """
    count = 1 if composed.seeds is None else composed.seeds
    if not 1 <= count <= _MOST:
        raise UserError(f"seeds={count} is out of range; it must be from 1 to {_MOST}")
    if composed.seeds is not None and composed.mode != "train":
        raise UserError("seeds= trains several seeds at once; mode=eval evaluates one run, so leave it out")
    if count > 1 and composed.seed + count > 2**32:
        raise UserError(f"seed={composed.seed} seeds={count} leads beyond {2**32 - 1}, the last seed there is")
    if count > 1 and composed.train.nonfinite == "skip":
        raise UserError("train.nonfinite=skip leaves out an update of one seed; with seeds= use train.nonfinite=stop")
    for seed in range(composed.seed, composed.seed + count):
        own = copy.deepcopy(composed)
        own.seed, own.seeds = seed, None
        if count > 1 and own.run_dir == _at_seed(own, seed + 1):
            own.run_dir = f"{str(own.run_dir).rstrip('/')}-seed{seed}"
        config = OmegaConf.to_object(own)
        assert isinstance(config, Config)
        yield config


def _at_seed(composed: DictConfig, seed: int) -> str:
    other = copy.deepcopy(composed)
    other.seed = seed
    return str(other.run_dir)
