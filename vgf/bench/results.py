"""Where results go: ``benchmarks/results.json``, and the tables in ``docs/speed.md`` between two markers.

Each item carries the command, commit, date and load it was measured under, so that a file of several runs stays honest.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vgf.bench.references import folder
from vgf.cores import cores
from vgf.errors import UserError
from vgf.files import atomic_write_text, locked
from vgf.speed import processor

__all__ = ["machine", "stamped", "table", "write"]

_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"
_PACKAGES = ("torch", "numpy", "jax", "jaxlib", "optax", "transformers", "mujoco", "ogbench")


def machine() -> dict[str, Any]:
    """Processor, cores, memory and versions; no names."""
    return {
        "processor": processor(),
        "cores": len(cores()),
        "memory_gb": _memory_gb(),
        "bfloat16_in_hardware": torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported(),
        "card": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.system(),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def stamped(item: dict[str, Any], load_before: float | None, seconds: float) -> dict[str, Any]:
    """An item with the circumstances of its measurement."""
    command = "python -m vgf.bench" + "".join(f" {shlex.quote(word)}" for word in sys.argv[1:])
    return item | {
        "measured": {
            "command": command,
            "commit": _commit(),
            "date": time.strftime("%Y-%m-%d"),
            "load_before": load_before,
            "load_after": load_average(),
            "seconds": round(seconds),
            "machine": machine(),
        }
    }


def load_average() -> float | None:
    """Processes that wanted a core during the last minute."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def write(items: Mapping[str, Any]) -> tuple[Path, Path]:
    """Put items into ``results.json`` and the tables, beside those that are there.

    Raises:
        UserError: no checkout, damaged files, or no permission.
    """
    path, page = folder() / "results.json", folder().parent / "docs" / "speed.md"
    with locked(path):
        try:
            known = json.loads(path.read_text()) if path.is_file() else {}
            before, rest = page.read_text().split(_BEGIN)
            after = rest.split(_END)[1]
        except (OSError, ValueError, IndexError) as error:
            raise UserError(f"{path} or {page} cannot be read ({error}); restore them with git checkout") from error
        merged = known | dict(items)
        atomic_write_text(path, json.dumps(merged, indent=1) + "\n")
        tables = "\n\n".join(table(name, item) for name, item in merged.items())
        atomic_write_text(page, f"{before}{_BEGIN}\n{tables}\n{_END}{after}")
    return path, page


def table(name: str, item: Mapping[str, Any]) -> str:
    """One item in Markdown: headline, rows, circumstances."""
    lines = [f"### `{name}`", "", _headline(item), ""]
    if item["rows"]:
        used = [
            (key, title) for key, title in _COLUMNS.items() if any(row[key] not in (None, "") for row in item["rows"])
        ]
        titles = [item["unit"] if key == "value" else title for key, title in used]
        lines += [f"| {' | '.join(titles)} |", "|" + " --- |" * len(used)]
        lines += [f"| {' | '.join(_cell(key, row[key]) for key, _ in used)} |" for row in item["rows"]]
        lines.append("")
    lines += [f"{_sentence(item['note'])}\n"] if item["note"] and item["rows"] else []
    lines += [f"- {fact.replace('_', ' ')}: {_plain(value)}" for fact, value in item["extra"].items()]
    return "\n".join([*lines, *([""] if item["extra"] else []), _circumstances(item["measured"])])


_COLUMNS = {
    "what": "work", "who": "whose", "value": "", "spread": "spread", "p99": "99 % of calls", "ratio": "ratio",
    "processor_ratio": "ratio in processor time", "peak_mb": "peak MB", "note": "",
}  # fmt: skip


def _headline(item: Mapping[str, Any]) -> str:
    if item["ratio"] is None:
        return _sentence(item["note"] or "not measured")
    better = "more is better" if item["better"] == "higher" else "less is better"
    return (
        f"**{item['ratio']:.3g}** ({better}): {item['ours']:.4g} {item['unit']} ({item['ours_is']}) "
        f"against {item['other']:.4g} ({item['other_is']})."
    )


def _cell(key: str, value: Any) -> str:
    if value is None:
        return ""
    if key == "spread":
        return f"{value:.0%}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key.replace('_', ' ')} {_plain(entry)}" for key, entry in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def _circumstances(measured: Mapping[str, Any]) -> str:
    where = measured["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    return (
        f"`{measured['command']}`, commit {measured['commit']}, {measured['date']}, {measured['seconds']} s; "
        f"{where['processor']}, {where['cores']} cores, {where['memory_gb']} GB, "
        f"bfloat16 in hardware: {'yes' if where['bfloat16_in_hardware'] else 'no'}; load average "
        f"{measured['load_before']} before, {measured['load_after']} after; {versions}."
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _memory_gb() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)
    except (AttributeError, ValueError, OSError):
        return None


def _commit() -> str | None:
    """Short name of the commit, with ``+`` where the code differs from it."""

    def git(*words: str) -> str:
        found = subprocess.run(["git", *words], cwd=folder(), capture_output=True, text=True, check=True, timeout=10)
        return found.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "..", ":!results.json", ":!../docs")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError, UserError):
        return None
