"""Progress where stderr is no terminal: whole lines, no control characters, no more than now and then."""

from __future__ import annotations

import io
import sys

import pytest

from vgf import progress
from vgf.progress import progress_bar


@pytest.fixture
def log(monkeypatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_a_log_file_gets_one_plain_line_of_a_quick_phase(log):
    with progress_bar("evaluating", 200, "episode") as bar:
        for episode in range(200):
            bar.set_postfix_str(f"qgf at {episode}")
            bar.update()
    lines = log.getvalue().splitlines(keepends=True)
    assert len(lines) == 1
    assert lines[0].startswith("evaluating: 200/200 episode")
    assert lines[0].endswith("qgf at 199\n")
    assert all(character.isprintable() for character in lines[0].rstrip("\n"))


def test_lines_come_as_time_passes(log, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LOG_LINES", 0.0)
    with progress_bar("x", 5, "step", delay=0) as bar:
        for _ in range(5):
            bar.update()
    assert [line.split()[1] for line in log.getvalue().splitlines()][-1] == "5/5"
    assert len(log.getvalue().splitlines()) >= 5
    assert "\r" not in log.getvalue()


def test_a_disabled_bar_is_silent_and_an_unknown_total_is_no_fraction(log):
    with progress_bar("off", 3, "B", disable=True) as bar:
        bar.update()
    assert log.getvalue() == ""
    with progress_bar("open", None, "B", unit_scale=True) as bar:
        bar.update(5000)
    assert log.getvalue().startswith("open: 5.00k B in 00:00")
