"""The few addresses of the Hugging Face Hub that a push and a pull use, in memory."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Hub", "serving_hub"]

_SHA = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Repositories by name: path in the repository -> content."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.refuse = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = self.path.split("/")
        if self.server.refuse:
            self._send(403, {"error": "no"})
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(part for part in (asked.get("organization"), asked["name"]) if part)
            self.server.repos.setdefault(name, {})
            self._send(200, {"url": f"{self.server.address}/{name}", "name": name})
        elif self.path == "/api/validate-yaml":
            assert json.loads(body)["content"].startswith("---\n")
            self._send(200, {"warnings": [], "errors": []})
        elif "preupload" in parts:
            files = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            self._send(200, {"files": modes})
        elif "commit" in parts:
            files = self.server.repos["/".join(parts[3:5])]
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            self._send(
                200, {"commitUrl": f"{self.server.address}/{'/'.join(parts[3:5])}/commit/{_SHA}", "commitOid": _SHA}
            )
        else:
            self._send(404, {"error": self.path})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path == "/":
            self._send(200, {})
            return
        found = next((name for name in self.server.repos if f"/{name}/" in f"{path}/"), None)
        if found is None:
            self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return
        files = self.server.repos[found]
        if path.startswith(f"/api/models/{found}/tree/"):
            entries = [{"type": "file", "path": name, "size": len(c), "oid": _oid(c)} for name, c in files.items()]
            self._send(200, entries)
            return
        if path.startswith("/api/"):
            siblings = [{"rfilename": name} for name in files]
            self._send(200, {"id": found, "sha": _SHA, "siblings": siblings, "private": False, "tags": []})
            return
        content = files[path.split(f"/resolve/{_SHA}/")[1]]
        self._send(200, content, {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": _SHA})

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (
            {"Content-Type": "application/json", "Content-Length": str(len(body))} | (headers or {})
        ).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # as git counts


@contextlib.contextmanager
def serving_hub() -> Iterator[Hub]:
    """A hub in a thread."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, args=[0.01], daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
