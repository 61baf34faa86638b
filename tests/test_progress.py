"""Progress where stderr is no terminal: whole lines, no control characters, no more than now and then."""

from __future__ import annotations

from vgf import progress
from vgf.progress import progress_bar


def test_a_log_file_gets_one_plain_line_of_a_quick_phase(capsys):
    with progress_bar("evaluating", 200, "episode") as bar:
        for episode in range(200):
            bar.set_postfix_str(f"qgf at {episode}")
            bar.update()
    lines = capsys.readouterr().err.splitlines(keepends=True)
    assert len(lines) == 1
    assert lines[0].startswith("evaluating: 200/200 episode")
    assert lines[0].endswith("qgf at 199\n")
    assert all(character.isprintable() for character in lines[0].rstrip("\n"))


def test_lines_come_as_time_passes(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LOG_LINES", 0.0)
    with progress_bar("x", 5, "step", delay=0) as bar:
        for _ in range(5):
            bar.update()
    text = capsys.readouterr().err
    assert [line.split()[1] for line in text.splitlines()] == [f"{done}/5" for done in range(6)]
    assert "\r" not in text


def test_a_disabled_bar_is_silent_and_an_unknown_total_is_no_fraction(capsys):
    with progress_bar("off", 3, "B", disable=True) as bar:
        bar.update()
    assert capsys.readouterr().err == ""
    with progress_bar("open", None, "B", unit_scale=True) as bar:
        bar.update(5000)
    assert capsys.readouterr().err.startswith("open: 5.00k B in 00:00")
