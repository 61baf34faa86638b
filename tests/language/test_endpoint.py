"""The judge behind a server: what it sends and reads, what it does when the server fails, what it never says."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from vgf.errors import UserError
from vgf.language import endpoint
from vgf.language.scorers import is_scorer, scorer

KEY = "sk-secret-12345"
VARIABLES = ("VGF_JUDGE_URL", "OPENAI_BASE_URL", "VGF_JUDGE_KEY", "OPENAI_API_KEY")


class Server(ThreadingHTTPServer):
    """Answers with what ``replies`` holds, in turn: a grade, or a status and a body; then with ``grade``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []  # path, headers, payload
        self.replies: list[Any] = []
        self.grade = "7"
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append((self.path, dict(self.headers), payload))
            reply = self.server.replies.pop(0) if self.server.replies else self.server.grade
        status, body = reply if isinstance(reply, tuple) else (200, _completion(reply))
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def _completion(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server and no key of whoever runs the tests; no waiting; no proxy between the test and itself."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(endpoint, "_WAITS", (0.0, 0.0))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("VGF_JUDGE_URL", running.address + "/v1/")
        monkeypatch.setenv("VGF_JUDGE_KEY", KEY)
        yield running
        running.shutdown()
        thread.join()


def _refusal() -> str:
    with pytest.raises(UserError) as caught:
        scorer("endpoint:m")(["p"], ["c"])
    message = str(caught.value)
    assert "\n" not in message
    assert KEY not in message
    return message


def test_what_is_sent_and_what_is_read(server: Server) -> None:
    assert scorer("endpoint:some/model:7b")(["Why {so}?"], ["Because."]) == [7.0]
    ((path, headers, payload),) = server.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert (payload["model"], payload["temperature"]) == ("some/model:7b", 0)
    system, user = payload["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    assert "from 1" in system["content"]
    assert "Why {so}?" in user["content"]
    assert "Because." in user["content"]


def test_it_is_a_scorer_without_a_gradient(server: Server) -> None:
    assert is_scorer("endpoint:m")
    assert not scorer("endpoint:m").has_gradient


def test_other_variables_serve_too_and_a_key_is_not_needed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VGF_JUDGE_URL")
    monkeypatch.delenv("VGF_JUDGE_KEY")
    monkeypatch.setenv("OPENAI_BASE_URL", server.address)
    assert scorer("endpoint:m")(["p"], ["c"]) == [7.0]
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    assert scorer("endpoint:m")(["p"], ["c"]) == [7.0]
    assert [headers.get("Authorization") for _, headers, _ in server.requests] == [None, "Bearer other"]


@pytest.mark.parametrize(
    ("text", "grade"),
    [("8", 8), (" 10. ", 10), ("Rating: 3", 3), ("**6.5**", 6.5), ("9/10", 9), ("4\nIt is short.", 4),
     ("It is fine.\n\nScore: 5 / 10", 5), ("<think>1 or 2?</think>\n2", 2)],
)  # fmt: skip
def test_grades_are_found(server: Server, text: str, grade: float) -> None:
    server.grade = text
    assert scorer("endpoint:m")(["p"], ["c"]) == [grade]


@pytest.mark.parametrize("text", ["good", "", "11", "0", "between 3 and 4", "On a scale of 1-10, 8", "-7 of 10"])
def test_an_answer_without_a_grade_names_its_row(server: Server, text: str) -> None:
    server.replies = ["5", text]
    judge = scorer("endpoint:m")
    assert judge(["p"], ["first"]) == [5.0]
    with pytest.raises(UserError, match="for row 1, not a number from 1 to 10") as caught:
        judge(["p", "p"], ["first", "second"])
    assert repr(text) in str(caught.value)


def test_nothing_is_asked_twice_and_rows_keep_their_order(server: Server) -> None:
    server.replies = ["1"]
    judge = scorer("endpoint:m")
    assert judge(["p", "p"], ["c", "c"]) == [1.0, 1.0]
    assert judge(["p", "q", "p"], ["d", "c", "c"]) == [7.0, 7.0, 1.0]
    assert judge(["q"], ["c"]) == [7.0]
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_fault_that_passes_is_waited_for(server: Server, status: int) -> None:
    server.replies = [(status, {})]
    assert scorer("endpoint:m")(["p"], ["c"]) == [7.0]
    assert len(server.requests) == 2


def test_a_fault_that_stays_is_said_after_a_bounded_number_of_tries(server: Server) -> None:
    server.replies = [(500, {"error": {"message": f"no memory for {KEY}\nmore"}})] * 9
    assert "failed with 500 (no memory for [key])" in _refusal()
    assert len(server.requests) == 3


def test_a_silent_server_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("VGF_JUDGE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "cannot be reached at VGF_JUDGE_URL (timed out)" in _refusal()


def test_a_refused_key_is_one_line_and_one_request(server: Server) -> None:
    server.replies = [(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}})] * 3
    assert "refused the key in VGF_JUDGE_KEY (401)" in _refusal()
    assert len(server.requests) == 1


def test_a_key_that_is_missing_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VGF_JUDGE_KEY")
    server.replies = [(401, {})]
    assert "refused a request without a key (VGF_JUDGE_KEY)" in _refusal()


def test_an_unknown_model_says_what_the_server_says(server: Server) -> None:
    server.replies = [(404, {"error": {"message": "The model m does not exist"}})]
    assert "failed with 404 (The model m does not exist)" in _refusal()
    server.replies = [(404, ["not", "an", "object"])]
    assert "failed with 404 (Not Found)" in _refusal()


def test_another_kind_of_server_is_told(server: Server) -> None:
    server.replies = [(200, {"message": "hello"})]
    assert "does not answer like OpenAI's chat/completions" in _refusal()


def test_a_dead_port_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("VGF_JUDGE_URL", f"http://127.0.0.1:{port}/v1")
    monkeypatch.setenv("VGF_JUDGE_KEY", KEY)
    message = _refusal()
    assert "cannot be reached at VGF_JUDGE_URL" in message
    assert "refused" in message
    assert str(port) not in message


@pytest.mark.parametrize("address", ["http://[::1/v1", "http://localhost:1/\u00fc/v1", "localhost:8000", "ftp://host"])
def test_what_is_no_address_is_one_line(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("VGF_JUDGE_URL", address)
    with pytest.raises(UserError, match="VGF_JUDGE_URL is not an address"):
        scorer("endpoint:m")


def test_settings_are_checked_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="needs a model: endpoint:MODEL"):
        scorer("endpoint")
    with pytest.raises(UserError, match="set VGF_JUDGE_URL"):
        scorer("endpoint:m")
    for wrong in ("localhost:8000/v1", "file:///etc/hosts", "https://"):
        monkeypatch.setenv("VGF_JUDGE_URL", wrong)
        with pytest.raises(UserError, match="VGF_JUDGE_URL is not an address"):
            scorer("endpoint:m")
    monkeypatch.setenv("VGF_JUDGE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("VGF_JUDGE_KEY", f"{KEY}\n{KEY}")
    assert "VGF_JUDGE_KEY holds a character that no key has" in _refusal()
