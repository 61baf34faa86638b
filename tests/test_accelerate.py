"""The configuration files for ``accelerate launch``: accelerate's own loader and its command line know every key."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
import yaml

pytest.importorskip("accelerate")
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import DistributedType

KINDS = {
    "single": DistributedType.NO,
    "multi_gpu": DistributedType.MULTI_GPU,
    "fsdp": DistributedType.FSDP,
    "deepspeed_zero2": DistributedType.DEEPSPEED,
}


def _file(name: str) -> Path:
    return Path(str(resources.files("vgf.configs.accelerate") / f"{name}.yaml"))


def test_there_are_no_others() -> None:
    assert {file.stem for file in _file("single").parent.glob("*.yaml")} == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_accelerate_loads_it(name: str) -> None:
    found = load_config_from_file(str(_file(name)))  # an unknown key is a ValueError
    assert found.distributed_type == KINDS[name]
    assert found.num_processes == (1 if name == "single" else 2)
    assert not found.use_cpu


@pytest.mark.parametrize("name", KINDS)
def test_keys_of_its_parts_are_arguments_of_accelerate_launch(name: str) -> None:
    known = {action.dest for action in launch_command_parser()._actions}
    parts = {key: part for key, part in yaml.safe_load(_file(name).read_text()).items() if key.endswith("_config")}
    assert set(parts) == ({"fsdp_config"} if name == "fsdp" else {"deepspeed_config"} if "zero" in name else set())
    for part in parts.values():
        assert not set(part) - known


def test_an_unknown_key_would_be_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(_file("multi_gpu").read_text() + "number_of_processes: 2\n")
    with pytest.raises(ValueError, match="number_of_processes"):
        load_config_from_file(str(wrong))
