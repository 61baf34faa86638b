"""``vgf push RUN REPO``: a run to the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from vgf.commands import Parser
from vgf.share.folder import SUFFIXES, fill_folder
from vgf.share.hub import hub_api, one_line_refusals, require_name

__all__ = ["run"]


def run(arguments: Sequence[str]) -> None:
    """Push a run, or write the folder that would be pushed.

    Raises:
        UserError: no finished run, no network, no right to write there.
    """
    parser = Parser("push")
    parser.add_argument("run", type=Path, help="directory of a finished run")
    parser.add_argument("repo", help="OWNER/NAME; made if need be")
    parser.add_argument("--dry-run", type=Path, metavar="DIR", help="write the folder to DIR and push nothing")
    parser.add_argument("--license", default="other", help="the hub's name of a licence, such as mit (default: other)")
    parser.add_argument("--private", action="store_true", help="if the repository is made")
    parser.add_argument("--with-reference", action="store_true", help="also a reference model that is a local folder")
    given = parser.parse_args(arguments)
    require_name(given.repo)
    settings = {"repo": given.repo, "licence": given.license, "with_reference": given.with_reference}
    if given.dry_run is not None:
        fill_folder(given.run, given.dry_run, **settings)
        print(f"{given.dry_run} holds what would be pushed to {given.repo}: {_summary(given.dry_run)}")
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        fill_folder(given.run, folder, **settings)
        api = hub_api()
        with one_line_refusals(given.repo):
            url = api.create_repo(given.repo, private=given.private, exist_ok=True)
            api.upload_folder(
                repo_id=given.repo,
                folder_path=folder,
                allow_patterns=[f"*{suffix}" for suffix in SUFFIXES],
                commit_message=f"vgf push of {given.run.resolve().name}",
            )
        print(f"{url}: {_summary(folder)}")


def _summary(folder: Path) -> str:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return f"{len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB"
