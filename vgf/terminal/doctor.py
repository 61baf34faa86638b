"""``vgf doctor``: what this machine has for vgf, one line each, and what to do about what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import torch

from vgf.commands import Parser
from vgf.config import Config
from vgf.cores import cores
from vgf.provenance import PACKAGES
from vgf.rendering import NO_RENDERING, rendering_backend
from vgf.terminal.help import columns

__all__ = ["run"]

_HUB_SECONDS = 4.0
_WIDTH = 120


def run(arguments: Sequence[str]) -> None:
    """Print the report, part by part as it is found; nothing is written, and no hub is asked for more than a header."""
    Parser("doctor").parse_args(list(arguments))
    for title, rows in (
        ("versions", _versions()),
        ("extras", _extras()),
        ("devices", _devices()),
        ("room", _room()),
        ("rendering", _rendering()),
        ("hubs", _hubs()),
    ):
        print(f"{title}\n{columns(rows, _WIDTH)}", end="", flush=True)


def _versions() -> Iterator[tuple[str, str]]:
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "platform", platform.platform()
    for name in PACKAGES:
        yield name, _version(name) or "not installed; pip install vgf again"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _extras() -> Iterator[tuple[str, str]]:
    """Extras of the package, and which of their packages are missing."""
    try:
        requirements = metadata.requires("vgf") or []
    except metadata.PackageNotFoundError:
        return
    wanted: dict[str, list[str]] = {}
    for line in requirements:
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        name = re.match(r"[\w.-]+", line)
        if extra and name and name[0] != "vgf":
            wanted.setdefault(extra[1], []).append(name[0])
    for group, names in wanted.items():
        missing = [name for name in dict.fromkeys(names) if not _version(name)]
        if missing:
            yield group, f"missing {', '.join(missing)}; pip install 'vgf[{group}]'"
        else:
            yield group, "installed"


def _devices() -> Iterator[tuple[str, str]]:
    yield "CPU", f"{len(cores())} cores, torch uses {torch.get_num_threads()} threads; {_cpu_speed()}"
    if not torch.cuda.is_available():
        yield "CUDA", "none that torch sees; runs use the CPU"
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        yield f"cuda:{number}", f"{torch.cuda.get_device_name(number)}, {_gb(free)} of {_gb(total)} free"
    yield "torch.compile", _compiler()


def _cpu_speed() -> str:
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bfloat16 in hardware" if fast else "no bfloat16 in hardware: train.precision=auto is float32"


def _compiler() -> str:
    """What compile=on would use: a C++ compiler for the CPU, Triton for CUDA."""
    named = os.environ.get("CXX")
    found = next((path for name in (named, "g++", "clang++", "c++") if name and (path := shutil.which(name))), None)
    if torch.cuda.is_available() and importlib.util.find_spec("triton") is None:
        return "no Triton: compile=on will go on without; pip install triton"
    if found is None:
        return "no C++ compiler: compile=on will go on without; install g++ (or name one in CXX)"
    return f"{found}"


def _room() -> Iterator[tuple[str, str]]:
    config = Config()
    yield "memory", _memory()
    places = {"here": Path(), "data.folder": Path(config.data.folder), "text.cache": Path(config.text.cache)}
    for name, path in places.items():
        absolute = path.expanduser().absolute()
        there = next(folder for folder in (absolute, *absolute.parents) if folder.exists())
        writable = "" if os.access(there, os.W_OK) else ", NOT WRITABLE"
        yield f"disk of {name}", f"{_gb(shutil.disk_usage(there).free)} free at {absolute}{writable}"


def _memory() -> str:
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return "unknown on this system"
    found = dict(re.findall(r"(\w+):\s+(\d+) kB", text))
    free, total = int(found["MemAvailable"]), int(found["MemTotal"])
    return f"{_gb(1024 * free)} of {_gb(1024 * total)} free"


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _rendering() -> Iterator[tuple[str, str]]:
    backend = rendering_backend()
    yield "MuJoCo", f"MUJOCO_GL={backend} draws" if backend else NO_RENDERING


def _hubs() -> Iterator[tuple[str, str]]:
    """Hosts that data and models come from, asked at the same time."""
    addresses = [*Config().data.mirrors, "https://huggingface.co", "https://pypi.org"]
    with ThreadPoolExecutor(len(addresses)) as pool:
        yield from zip(addresses, pool.map(_reach, addresses), strict=True)


def _reach(address: str) -> str:
    try:
        request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "vgf-doctor"})
        with urllib.request.urlopen(request, timeout=_HUB_SECONDS):
            return "reachable"
    except urllib.error.HTTPError as error:  # it answered: a folder, or a proxy, that gives no listing
        return f"answers (HTTP {error.code})"
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        told = "no answer in time" if isinstance(reason, TimeoutError | socket.timeout) else str(reason)
        return f"not reachable ({told}); what is cached or made here still works"
