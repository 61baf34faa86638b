"""Downloads from a server on this machine that cuts, lies, forgets and vanishes."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest

from vgf.data import download as module
from vgf.data.download import DownloadError, download
from vgf.errors import UserError

BODY = bytes(range(256)) * 1024  # 256 KB
SHA = hashlib.sha256(BODY).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files``; ``cut`` holds after how many bytes each coming transfer breaks off."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"/d/x.npz": BODY}
        self.etag: str | None = '"one"'
        self.ranges = True
        self.kind = "application/octet-stream"
        self.cut: list[int] = []
        self.asked: list[tuple[str, str | None]] = []  # path, Range

    @property
    def mirror(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/d"

    def ranges_of(self, path: str) -> list[str | None]:
        return [r for p, r in self.asked if p == path]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append((self.path, wanted))
        if self.path not in server.files:
            return self.send_error(404)
        body, begin = server.files[self.path], 0
        same = server.etag is not None and self.headers.get("If-Range") == server.etag
        if wanted and server.ranges and same:
            begin = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
            if begin >= len(body):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if server.etag is not None:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        end = server.cut.pop(0) if server.cut and self.path.endswith("npz") else len(body)
        self.wfile.write(body[begin : begin + end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def dead() -> str:
    """Return the address of a port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/d"


def test_plain(server: Server, tmp_path: Path) -> None:
    path = download("x.npz", [server.mirror + "/"], tmp_path / "new")
    assert path == tmp_path / "new" / "x.npz"
    assert path.read_bytes() == BODY
    manifest = json.loads((tmp_path / "new" / "x.npz.json").read_text())
    assert manifest.pop("when").startswith("20")
    assert manifest == {"url": f"{server.mirror}/x.npz", "size": len(BODY), "sha256": SHA}
    assert sorted(p.name for p in path.parent.iterdir()) == ["x.npz", "x.npz.json"]
    asked = len(server.asked)
    assert download("x.npz", [server.mirror], tmp_path / "new", sha256=SHA.upper()) == path
    assert len(server.asked) == asked


def test_goes_on_after_a_cut(server: Server, tmp_path: Path) -> None:
    server.cut = [100_000, 50_000]
    assert download("x.npz", [server.mirror], tmp_path, sha256=SHA).read_bytes() == BODY
    assert server.ranges_of("/d/x.npz") == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_run_goes_on(server: Server, tmp_path: Path) -> None:
    server.cut = [100_000, 0]
    with pytest.raises(DownloadError, match="broke after 100000 of 262144 bytes"):
        download("x.npz", [server.mirror], tmp_path)
    assert not (tmp_path / "x.npz").exists()
    assert download("x.npz", [server.mirror], tmp_path).read_bytes() == BODY
    assert server.ranges_of("/d/x.npz")[-1] == "bytes=100000-"


@pytest.mark.parametrize("change", ["etag", "no ranges", "no etag", "shorter", "other mirror", "record gone"])
def test_starts_afresh_when_the_part_is_not_of_this_file(server: Server, tmp_path: Path, change: str) -> None:
    server.cut = [100_000, 0]
    with pytest.raises(DownloadError):
        download("x.npz", [server.mirror], tmp_path)
    new = BODY[::-1]
    mirror = server.mirror
    if change == "etag":
        server.etag = '"two"'
    elif change == "no ranges":
        server.ranges = False
    elif change == "no etag":
        server.etag = None
    elif change == "shorter":  # ... with the same ETag, as a careless server would
        new = b"short"
    elif change == "other mirror":
        mirror = f"{server.mirror}/other"
        server.files["/d/other/x.npz"] = new
    else:
        (tmp_path / "x.npz.part.json").write_text("{")
    server.files["/d/x.npz"] = new
    assert download("x.npz", [mirror], tmp_path).read_bytes() == new
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.npz", "x.npz.json"]


def test_wrong_checksum_goes_to_the_next_mirror(server: Server, tmp_path: Path) -> None:
    server.files["/d/bad/x.npz"] = BODY[::-1]
    bad = f"{server.mirror}/bad"
    assert download("x.npz", [bad, server.mirror], tmp_path / "a", sha256=SHA).read_bytes() == BODY
    with pytest.raises(DownloadError, match=f"{bad}: its SHA-256 is .*, not the expected {SHA}"):
        download("x.npz", [bad], tmp_path / "b", sha256=SHA)
    assert list((tmp_path / "b").iterdir()) == []


def test_checksum_beside_the_file(server: Server, tmp_path: Path) -> None:
    server.files["/d/x.npz.sha256"] = f"{SHA}  x.npz\n".encode()
    assert download("x.npz", [server.mirror], tmp_path / "a").read_bytes() == BODY
    server.files["/d/x.npz.sha256"] = f"{'0' * 64}  x.npz\n".encode()
    with pytest.raises(DownloadError, match="not the expected 0000"):
        download("x.npz", [server.mirror], tmp_path / "b")


def test_first_mirror_dead(server: Server, dead: str, tmp_path: Path) -> None:
    assert download("x.npz", [dead, server.mirror], tmp_path).read_bytes() == BODY


def test_every_mirror_has_its_reason(server: Server, dead: str, tmp_path: Path) -> None:
    server.kind = "text/html"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and never answers
        mute = f"http://127.0.0.1:{silent.getsockname()[1]}"
        mirrors = [dead, mute, f"{server.mirror}/none", server.mirror, "nonsense", (tmp_path / "no").as_uri()]
        with pytest.raises(DownloadError) as caught:
            download("x.npz", mirrors, tmp_path, timeout=1.0)
    message = str(caught.value)
    assert "\n" not in message
    reasons = dict(zip(mirrors, message.removeprefix("x.npz could not be downloaded: ").split("; "), strict=True))
    assert reasons[dead].startswith(f"{dead}: Connection refused")
    assert reasons[mute] == f"{mute}: no answer within 1 s"
    assert reasons[mirrors[2]] == f"{mirrors[2]}: HTTP 404 Not Found"
    assert "web page" in reasons[server.mirror]
    assert "unknown url type" in reasons["nonsense"]
    assert "No such file" in reasons[mirrors[5]]


@pytest.mark.parametrize("error", [TimeoutError("timed out"), URLError(TimeoutError("timed out"))])
def test_the_clock_of_urllib_may_be_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("urllib.request.urlopen", fail)
    with pytest.raises(DownloadError, match=r"no answer within 0\.3 s"):
        download("x.npz", ["http://nowhere.invalid"], tmp_path, timeout=0.3)


def test_a_host_that_does_not_answer_is_given_up_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name look-up hangs, which no timeout of urllib covers."""
    released = threading.Event()
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: released.wait(60))
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.1)
    with pytest.raises(DownloadError, match=r"no answer within 0\.1 s"):
        download("x.npz", ["http://nowhere.invalid"], tmp_path, timeout=1000)
    released.set()


def test_folder_as_mirror(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "x.npz").write_bytes(BODY)
    path = download("x.npz", [(tmp_path / "mirror").as_uri()], tmp_path, sha256=SHA)
    assert path.read_bytes() == BODY


def test_two_at_once_fetch_it_once(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(download("x.npz", [server.mirror], tmp_path))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [tmp_path / "x.npz"] * 4
    assert server.ranges_of("/d/x.npz") == [None]
    assert (tmp_path / "x.npz").read_bytes() == BODY


def test_what_is_there_must_be_what_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"mine")
    with pytest.raises(UserError, match="delete it to download it again"):
        download("x.npz", [], tmp_path, sha256=SHA)
    with pytest.raises(UserError, match="64 hexadecimal digits"):
        download("x.npz", [], tmp_path, sha256="abc")
    with pytest.raises(DownloadError, match="no mirror is given"):
        download("y.npz", [], tmp_path)


def test_full_disk_is_not_the_fault_of_the_mirror(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "require_space", lambda folder, needed: (_ for _ in ()).throw(UserError("no room")))
    with pytest.raises(UserError, match=r"^no room$") as caught:
        download("x.npz", [server.mirror], tmp_path)
    assert not isinstance(caught.value, DownloadError)
