"""One verified file from the first of several mirrors that has it.

What arrives goes to ``<name>.part``, with ``<name>.part.json`` beside it that says where it comes from. A later
try, in this run or the next, asks the same address for the rest (HTTP Range with If-Range, so that a file changed
meanwhile starts afresh). Only a file of the announced size and the right checksum is renamed to ``<name>``.

Everything here is the standard library's ``urllib``: proxies come from the usual environment variables, and
``file://`` folders serve as mirrors too.
"""

from __future__ import annotations

import json
import queue
import re
import sys
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

from vgf.errors import UserError
from vgf.files import atomic_write_text, file_sha256, locked, rename_over, require_space, writing
from vgf.progress import progress_bar

__all__ = ["DownloadError", "download"]

_ANSWER_SECONDS = 8.0  # for name look-up, connecting and the first line of the answer together
_SIDECAR_SECONDS = 4.0
_ATTEMPTS = 5  # at one mirror, each of which must bring something
_BLOCK = 1 << 16
_RANGE_REFUSED = 416


class DownloadError(UserError):
    """No mirror gave the file; the message has one reason a mirror."""


class _MirrorError(Exception):
    """This mirror cannot give the file; ``status`` is the HTTP status if that is why."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.again = status == _RANGE_REFUSED  # asking once more may help


class _CutError(_MirrorError):
    """The transfer broke off; asking again may bring the rest."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.again = True


class _WrongFileError(_MirrorError):
    """This mirror has another file than the one asked for; what came of it is worthless."""


def download(
    name: str,
    mirrors: Sequence[str],
    folder: Path,
    *,
    sha256: str | None = None,
    timeout: float = 20,
    progress: bool = True,
) -> Path:
    """Fetch ``<mirror>/<name>`` to ``folder/name`` unless it is there, and write ``folder/<name>.json`` about it.

    Args:
        name: file name, the same on every mirror.
        mirrors: base addresses, tried in this order.
        sha256: checksum in hex. None: that of ``<mirror>/<name>.sha256`` where the mirror has one, else unchecked.
        timeout: seconds without a byte after which a transfer is given up. An answer must begin within 8 seconds.
        progress: draw a bar on stderr, if that is a terminal.

    Returns:
        ``folder/name``. Its manifest holds ``url``, ``size``, ``sha256`` and ``when`` (UTC).

    Raises:
        DownloadError: every mirror failed.
        UserError: the file that is there is not the one asked for, or the folder cannot be written.
    """
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UserError(f"{sha256!r} is not a SHA-256 checksum; give its 64 hexadecimal digits")
    target = folder / name
    if _is_there(target, sha256):  # before the lock, so that a read-only folder will do
        return target
    with locked(target, waiting=lambda: print(f"waiting for another run to download {name}", file=sys.stderr)):
        if _is_there(target, sha256):
            return target
        part, reasons = _Part(target), []
        for mirror in mirrors:
            url = f"{mirror.rstrip('/')}/{name}"
            try:
                _fetch(url, part, timeout, progress)
                digest = _verified(url, part, sha256, timeout)
            except _MirrorError as error:
                if isinstance(error, _WrongFileError):
                    part.remove()
                reasons.append(f"{mirror}: {error}")
                continue
            _keep(part, target, url, digest)
            return target
    raise DownloadError(f"{name} could not be downloaded: {'; '.join(reasons) or 'no mirror is given'}")


def _is_there(target: Path, sha256: str | None) -> bool:
    if not target.is_file():
        return False
    if sha256 is not None and (digest := file_sha256(target)) != sha256.lower():
        again = "delete it to download it again"
        raise UserError(f"{target} has SHA-256 {digest}, not the expected {sha256.lower()}; {again}")
    return True


class _Part:
    """The beginning of a file, and the record of where it comes from."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self._record = target.with_name(target.name + ".part.json")

    @property
    def length(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def record(self, url: str) -> dict[str, Any] | None:
        """Return ``{"url", "validator", "size"}`` if the part comes from ``url`` and can be gone on with."""
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            return record if record["url"] == url and record["validator"] and self.length else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_record(self, url: str, validator: str | None, size: int | None) -> None:
        atomic_write_text(self._record, json.dumps({"url": url, "validator": validator, "size": size}))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    def become(self, target: Path) -> None:
        rename_over(self.path, target)
        self._record.unlink(missing_ok=True)


def _fetch(url: str, part: _Part, timeout: float, progress: bool) -> None:
    """Bring ``part`` to its full length from ``url``, asking again for as long as something comes."""
    for attempt in range(1, _ATTEMPTS + 1):
        before = part.length
        try:
            return _fetch_once(url, part, timeout, progress)
        except _MirrorError as error:
            if error.status == _RANGE_REFUSED:  # the file there has become shorter than the part
                part.remove()
            if attempt == _ATTEMPTS or part.length == before or not error.again:
                raise


def _fetch_once(url: str, part: _Part, timeout: float, progress: bool) -> None:
    """Bring ``part`` to its full length, with one request."""
    known = part.record(url)
    offset = part.length if known else 0
    if known and offset == known["size"]:
        return
    headers = {"Range": f"bytes={offset}-", "If-Range": known["validator"]} if known else {}
    with _open(url, headers, timeout) as answer:
        if answer.headers.get_content_type() == "text/html":
            raise _MirrorError("the answer is a web page, not the file")
        resumed = known is not None and answer.status == 206
        offset, total = _extent(answer, offset if resumed else 0, part)
        require_space(part.path.parent, (total or 0) - offset)
        if not resumed:
            part.path.unlink(missing_ok=True)  # before its record changes
            part.write_record(url, _validator(answer), total)
        bar = progress_bar(part.path.stem, total, "B", initial=offset, unit_scale=True, disable=not progress)
        with writing(part.path.stem, part.path.parent), part.path.open("ab") as file, bar:
            for block in _blocks(answer):
                file.write(block)
                bar.update(len(block))
    if total is not None and part.length < total:
        raise _CutError(f"the connection broke after {part.length} of {total} bytes")


def _open(url: str, headers: dict[str, str], timeout: float) -> Any:
    """Open ``url``; raise _MirrorError with the reason when there is no good answer within a few seconds.

    The timeout of ``urllib`` counts each address of a host anew and leaves out the name look-up, which alone can
    take half a minute. So a thread does it all, and is left behind when it takes too long.
    """
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    limit = min(timeout, _ANSWER_SECONDS)

    def ask() -> None:
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "vgf", **headers})
            answers.put(urllib.request.urlopen(request, timeout=timeout))
        except Exception as error:  # whatever it is, it is handed on to the caller
            answers.put(error)

    threading.Thread(target=ask, daemon=True, name="download").start()
    try:
        answer = answers.get(timeout=limit)
    except queue.Empty:
        answer = TimeoutError()
    if isinstance(getattr(answer, "reason", answer), TimeoutError):  # its own clock, or ours
        raise _MirrorError(f"no answer within {limit:g} s")
    if isinstance(answer, (OSError, HTTPException, ValueError)):
        raise _MirrorError(_reason(answer), getattr(answer, "code", None)) from answer
    if isinstance(answer, Exception):
        raise answer
    return answer


def _extent(answer: Any, offset: int, part: _Part) -> tuple[int, int | None]:
    """Return where the answer's body begins in the file, and the length of the whole file if announced."""
    if not offset:
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    extent = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", "").strip())
    if extent is None or int(extent[1]) != offset:
        part.remove()
        raise _CutError("the server answered with another range than the one asked for")
    return offset, int(extent[2])


def _validator(answer: Any) -> str | None:
    """Return what If-Range can compare later: a strong ETag, else the date, else None (no going on then)."""
    etag = answer.headers.get("ETag", "")
    return etag if etag.startswith('"') else answer.headers.get("Last-Modified")


def _blocks(answer: Any) -> Iterator[bytes]:
    """Yield the body; errors here are the network's, unlike those of the file it is written to."""
    while True:
        try:
            block = answer.read(_BLOCK)
        except (OSError, HTTPException) as error:
            raise _CutError(f"the connection broke: {_reason(error)}") from error
        if not block:
            return
        yield block


def _verified(url: str, part: _Part, sha256: str | None, timeout: float) -> str:
    """Return the checksum of ``part``; raise _WrongFileError when it is not the one it should be."""
    expected = (sha256 or _sidecar(url, timeout) or "").lower()
    digest = file_sha256(part.path)
    if expected and digest != expected:
        raise _WrongFileError(f"its SHA-256 is {digest}, not the expected {expected}")
    return digest


def _sidecar(url: str, timeout: float) -> str | None:
    """Return the checksum that ``<url>.sha256`` holds; most servers have no such file, which is fine."""
    try:
        with _open(f"{url}.sha256", {}, min(timeout, _SIDECAR_SECONDS)) as answer:
            text = answer.read(4096).decode("ascii", errors="replace")
    except (_MirrorError, OSError, HTTPException):
        return None
    found = re.match(r"\s*([0-9a-fA-F]{64})\b", text)
    return found[1] if found else None


def _keep(part: _Part, target: Path, url: str, digest: str) -> None:
    size = part.length
    part.become(target)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = {"url": url, "size": size, "sha256": digest, "when": when}
    atomic_write_text(target.with_name(target.name + ".json"), json.dumps(manifest, indent=2) + "\n")


def _reason(error: BaseException) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP {error.code} {error.reason}"
    cause = error.reason if isinstance(error, URLError) else error
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(str(text).split())
