"""Output that nobody reads to its end."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.report.made_runs import SWEEP, make_run
from vgf.complaints import one_line_errors


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end otherwise there")
@pytest.mark.parametrize("flags", [[], ["-u"]])
def test_a_reader_that_has_gone_ends_the_command_without_a_traceback(tmp_path, flags):
    command = [
        sys.executable,
        *flags,
        "-m",
        "vgf.run",
        "compare",
        str(make_run(tmp_path / "a", SWEEP)),
        "--out",
        str(tmp_path),
    ]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
    assert (tmp_path / "compare.html").is_file()


def test_another_broken_pipe_is_not_taken_for_it():
    with pytest.raises(BrokenPipeError), one_line_errors():
        raise BrokenPipeError
