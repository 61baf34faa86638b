"""Made-up episodes, a run directory of them, and what a browser shows of its page."""

from __future__ import annotations

import csv
from html.parser import HTMLParser
from pathlib import Path

from vgf.report.episodes import COLUMNS, Row

QGF = ("qgf", 0.03)


def rows_of(method: str, rates: dict[float, float], *, episodes: int = 10, step: int = 100) -> list[Row]:
    """Episodes of which the given share succeeds, budget by budget."""
    return [
        Row(step, method, budget, e, -50.0 + 40 * won, float(won), 50.0, budget, 1.5, 2.0)
        for budget, rate in rates.items()
        for e in range(episodes)
        for won in [e < rate * episodes]
    ]


def sweep() -> list[Row]:
    return rows_of("best_of_n", {0: 0.5}) + rows_of("qgf", {0: 0.0, 0.01: 0.4, 0.03: 0.8, 0.1: 0.6})


def write_rows(run_dir: Path, rows: list[Row]) -> Path:
    run_dir.mkdir(exist_ok=True)
    with open(run_dir / "eval.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for r in rows:
            success = "" if r.success is None else int(r.success)
            side = (r.length, r.travelled, r.value, r.milliseconds)
            writer.writerow([r.step, r.method, r.budget, r.episode, r.episode_return, success, *side])
    return run_dir


class Page(HTMLParser):
    """Collects what a browser would see, and checks that elements are closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data
