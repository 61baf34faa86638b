"""One process does everything; of several, the first one goes first and its answer is everybody's."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.small_text import save_model
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


def in_two_processes(*command: str) -> subprocess.CompletedProcess[str]:
    """As ``accelerate launch`` starts them on GPUs; on processors it starts one, unless it is given MPI."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run([*launch, *command], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    in_two_processes(str(script), str(tmp_path))
    assert [(tmp_path / f"rank{first}").read_text() for first in (True, False)] == ["2 once 0", "2 once 0"]


@pytest.mark.slow
def test_two_processes_train_and_evaluate_one_run(tmp_path: Path) -> None:
    """The whole command, as the documents give it for processors."""
    pytest.importorskip("trl")
    prompts = [{"prompt": f"{a} {b} was"} for a in ("a", "it", "film") for b in ("film", "it", "a", "bad")]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    small = {"prompts": 8, "keep": 2, "lora": 4, "epochs": 1, "measured": 4, "batch_size": 4}
    asked = [
        "task=llm_reward", "trainer=dpo", f"text.model={save_model(tmp_path / 'model')}", "device=cpu", "threads=1",
        "text.reward.model=regex:good", "text.gold.model=length", "text.second=null",
        f"text.prompts={tmp_path / 'prompts.jsonl'}", "text.held_out=2",
        "text.new_tokens=6", "text.dtype=float32", "text.seeds=1", "text.controls=[]", "eval.budgets=[0]",
        "text.heads.prompts=10", "text.heads.steps=20", "transport.particles=4",
        f"text.cache={tmp_path / 'cache'}", f"run_dir={tmp_path / 'run'}",
        *(f"text.finetune.{key}={value}" for key, value in small.items()),
    ]  # fmt: skip
    done = in_two_processes("-m", "vgf.run", *asked)
    assert (tmp_path / "run" / "eval.csv").stat().st_size > 0
    assert done.stdout.count("report:") == 1  # by the first process alone
