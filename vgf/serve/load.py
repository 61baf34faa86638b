"""How fast a server answers: ``python -m vgf.serve.load URL --budgets 0 0.1 --concurrent 1 8``.

Each budget and number of concurrent callers gets the same requests; a caller sends its next one when it has its
answer. Prints a Markdown table of median and 99th percentile of the latency, and of the throughput.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vgf.arguments import Arguments, positive
from vgf.complaints import one_line_errors
from vgf.errors import UserError

__all__ = ["Timing", "main", "measure"]

_PROMPTS = ("The film begins with", "I really liked the", "This movie was the", "In the end the")


@dataclass(frozen=True)
class Timing:
    """Latencies of one budget and number of callers.

    Attributes:
        seconds: of each request.
        whole: wall clock of all of them.
        items: actions or completion tokens received.
    """

    seconds: list[float]
    whole: float
    items: int


def measure(address: str, budget: float | None, *, requests: int, concurrent: int, **more: Any) -> Timing:
    """Send requests and time the answers.

    Args:
        address: of a server, without a path.
        budget: the method's knob; None: as configured.
        requests: how many in all.
        concurrent: callers that send at the same time.
        **more: further fields of each request.

    Raises:
        UserError: the server does not answer, or refuses.
    """
    info = _ask(f"{address}/info")
    numbers, seconds, items = itertools.count(), [0.0] * requests, [0] * requests
    failures: list[Exception] = []

    def caller() -> None:
        while not failures and (number := next(numbers)) < requests:
            path, body = _request(info, budget, number)
            began = time.perf_counter()
            try:
                answer = _ask(address + path, body | more)
            except Exception as error:
                failures.append(error)
                return
            seconds[number] = time.perf_counter() - began
            items[number] = 1 if info["kind"] == "control" else answer["usage"]["completion_tokens"]

    threads = [threading.Thread(target=caller) for _ in range(concurrent)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return Timing(seconds, time.perf_counter() - began, sum(items))


def _request(info: dict[str, Any], budget: float | None, number: int) -> tuple[str, dict[str, Any]]:
    if info["kind"] == "text":
        prompt = _PROMPTS[number % len(_PROMPTS)]
        return "/v1/completions", {"prompt": prompt, "seed": number, "transport_budget": budget}
    observation = np.random.default_rng(number).standard_normal(info["observation"]).tolist()
    return "/act", {"observations": observation, "seed": number, "budget": budget}


def _ask(url: str, body: dict[str, Any] | None = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=600) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise UserError(f"{url} refuses: {error.read(500).decode(errors='replace')}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{url} does not answer ({error}); is 'vgf serve' running there?") from error


def main(arguments: Sequence[str]) -> None:
    """Measure a server and print the table.

    Raises:
        UserError: as :func:`measure`.
    """
    parser = Arguments("python -m vgf.serve.load", "Measure a server.")
    parser.add_argument("address", help="such as http://127.0.0.1:8000")
    parser.add_argument("--budgets", type=float, nargs="+", help="values of the method's knob (default: as configured)")
    parser.add_argument("--concurrent", type=positive, nargs="+", default=[1, 8], help="callers at the same time")
    parser.add_argument("--requests", type=positive, default=40, help="in all, for each row of the table")
    parser.add_argument("--particles", type=int, help="of each prompt (text)")
    given = parser.parse_args(arguments)
    more = {} if given.particles is None else {"particles": given.particles}
    measure(given.address, None, requests=2, concurrent=1, **more)  # the first calls are slower
    print("| budget | callers | p50 ms | p99 ms | requests/s | actions or tokens/s |\n|---|---|---|---|---|---|")
    for budget in given.budgets or [None]:
        for concurrent in given.concurrent:
            found = measure(given.address, budget, requests=given.requests, concurrent=concurrent, **more)
            p50, p99 = 1e3 * np.percentile(found.seconds, [50, 99])
            rates = f"{given.requests / found.whole:.1f} | {found.items / found.whole:.0f}"
            named = "configured" if budget is None else f"{budget:g}"
            print(f"| {named} | {concurrent} | {p50:.0f} | {p99:.0f} | {rates} |", flush=True)


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
