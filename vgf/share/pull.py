"""``vgf pull REPO [DIR]``: a run from the Hugging Face Hub, checked before it is put in its place.

What strangers have written is data: weights are safetensors, settings are plain YAML without interpolations, and a
reward that is a function of some Python module is refused, because loading the run would import it.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vgf.commands import Parser
from vgf.config import Config
from vgf.errors import UserError
from vgf.files import atomic_write_text, writing
from vgf.language.loading import text_json
from vgf.language.models import DEFAULT_MODEL, HUB_NAME
from vgf.language.scorers import names_code
from vgf.rundir import read_config
from vgf.share.folder import SUFFIXES
from vgf.share.hub import hub_api, one_line_refusals, require_name

__all__ = ["check_folder", "run"]

_STEP = re.compile(r"step-\d{9}")


def run(arguments: Sequence[str]) -> None:
    """Pull a run.

    Raises:
        UserError: no such repository, no network, a folder that is not empty, or a repository that is no run.
    """
    parser = Parser("pull")
    parser.add_argument("repo", help="OWNER/NAME")
    parser.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="where to (default: NAME)")
    parser.add_argument("--revision", help="branch, tag or commit (default: main)")
    given = parser.parse_args(arguments)
    require_name(given.repo)
    target = given.folder or Path(given.repo.split("/")[-1])
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} is not empty; choose another folder")
    api = hub_api()
    with tempfile.TemporaryDirectory() as scratch:
        with one_line_refusals(given.repo):
            folder = api.snapshot_download(
                given.repo,
                revision=given.revision,
                local_dir=Path(scratch) / "run",
                allow_patterns=[f"*{suffix}" for suffix in SUFFIXES],
            )
        _put(check_folder(Path(folder), given.repo), Path(folder), target)
    print(f"{target}: vgf.load({str(target)!r}), vgf serve {target}, or vgf mode=eval run={target}")


def check_folder(folder: Path, origin: str) -> list[Path]:
    """The files of a pulled run that are kept, relative to its folder, once what they say has been checked.

    Raises:
        UserError: no run, or one that names files or functions outside itself.
    """
    files = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    kept = [file for file in files if file.suffix in SUFFIXES and not any(part.startswith(".") for part in file.parts)]
    if Path("config.yaml") not in kept:
        raise UserError(f"{origin} is no run of vgf: it has no config.yaml")
    config = read_config(folder, key=origin)
    if text_json(folder).is_file():
        _check_text(folder, config, origin)
    elif len(_steps(kept)) != 1:
        raise UserError(f"{origin} holds {len(_steps(kept))} checkpoints; a run that was pushed has one")
    return kept


def _check_text(folder: Path, config: Config, origin: str) -> None:
    try:
        parts: dict[str, Any] = json.loads(text_json(folder).read_text())
        reward, proxy = parts["reward_path"], str(parts["proxy"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{origin}: text.json cannot be read ({error})") from error
    own = config.text.reward.path
    if {reward, own} - {None, "reward"} or config.text.adapter not in (None, "adapter"):
        raise UserError(f"{origin} names a reward or an adapter outside itself; it is not taken")
    if reward is None and names_code(proxy):
        raise UserError(
            f"{origin}: its reward is the Python function {proxy}, which loading would import; it is not taken"
        )
    if not HUB_NAME.fullmatch(config.text.model) or ".." in config.text.model:
        raise UserError(
            f"{origin}: its reference {config.text.model[:80]!r} is no name of the hub, such as {DEFAULT_MODEL}"
        )


def _steps(files: Sequence[Path]) -> set[str]:
    return {file.parts[1] for file in files if file.parts[0] == "checkpoints" and _STEP.fullmatch(file.parts[1])}


def _put(kept: Sequence[Path], folder: Path, target: Path) -> None:
    with writing("the run", target):
        for file in kept:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file, target / file)
        for step in _steps(kept):
            atomic_write_text(target / "checkpoints" / "latest", step + "\n")
