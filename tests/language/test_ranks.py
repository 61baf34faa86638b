"""One process does everything; of several, the first one goes first and its answer is everybody's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vgf.language.ranks import first_first, from_first, is_first, join, leave, processes

_SCRIPT = """
import sys, time, torch
from pathlib import Path
from vgf.language.ranks import first_first, from_first, is_first, join, leave, processes
folder = Path(sys.argv[1])
join(torch.device("cpu"))
with first_first():
    if is_first():
        time.sleep(0.5)
        (folder / "made").write_text("once")
    found = (folder / "made").read_text()
told = from_first(lambda: {"by": 0} if is_first() else 1 / 0)
leave()
(folder / f"rank{is_first()}").write_text(f"{processes()} {found} {told['by']}")
"""


def test_one_process_waits_for_nobody() -> None:
    assert processes() == 1
    assert is_first()
    join(torch.device("cpu"))
    with first_first():
        assert from_first(lambda: 3) == 3
    leave()


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    """As ``accelerate launch`` starts them on GPUs; on processors it starts one, unless it is given MPI."""
    pytest.importorskip("accelerate")
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--num_processes",
        "2",
        "--cpu",
        "--main_process_port",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*launch, str(script), str(tmp_path)],
        capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"rank{first}").read_text() for first in (True, False)] == ["2 once 0", "2 once 0"]
