"""The README's and every page's commands and Python, executed from top to bottom, each page in a folder of its own.

Commands that train or play get small settings at their end, where they win over the page's. ``RUN_DIR``, ``FILE`` and
the like are replaced by a small finished run and small files. Installing, other programs and ``--aot`` (minutes, and a
compiler) are left out, and so are marked blocks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from doc_blocks import PAGES, blocks, commands

from tests.tasks.test_llm_presets import _arguments, files  # noqa: F401  a fixture: tiny models, texts and pairs

pytestmark = pytest.mark.slow

PLAYED = ["eval.episodes=2", "eval.videos=0", "eval.environments=2", "eval.processes=1"]
TRAINED = ["train.log_every=10", "train.save_every=10", "train.batch_size=32"]
ONLINE = ["online.steps=40", "online.start=10", "online.eval_every=20"]
SIZES = ["net.hidden=16", "net.layers=1", "data.processes=1", "device=cpu"]
COLLECTED = ["data.sac.steps=3000", "data.sac.start=500", "data.sac.rollout=2000", "data.sac.hidden=16"]
PENDULUM = ["data.action_low=-2", "data.action_high=2"]  # of the file that stands in for the reader's
ASIDE = ("serve", "push", "pull")  # one never ends, two need an account; tests/serve and tests/share call them
TEXT = ["text.finetune.rounds=1", "text.finetune.prompts=8", "text.finetune.max_steps=2", "text.controls=[]"]


def shrunk(arguments: list[str], text: list[str]) -> list[str]:
    """The arguments of a run with small settings behind them."""
    named = dict(word.split("=", 1) for word in arguments if "=" in word)
    if named.get("task") == "toy":
        return arguments
    if named.get("task") == "llm_reward":
        second = named.get("text.second") != "null"
        return [*arguments, *(word for word in text if second or not word.startswith("text.second.")), *TEXT]
    if named.get("mode") == "eval":
        return [*arguments, *PLAYED]
    small = [*PLAYED, *TRAINED]
    small += ONLINE if named.get("trainer") == "online" else []
    small += [] if named.get("train.steps") == "0" else ["train.steps=40" if "init" in named else "train.steps=20"]
    if "init" not in named:
        small += SIZES + (COLLECTED if named.get("task") == "mujoco" else [])
        small += PENDULUM if named.get("task") == "custom" and "env" not in named else []
        small += [] if "data.path" in named or named.get("task") == "mujoco" else ["data.transitions=2000"]
    return [*arguments, *small]


def start(words: list[str], folder: Path, workplace: Path) -> None:
    environment = os.environ | {"VGF_DATA": str(workplace / "data"), "OMP_NUM_THREADS": "1", "MUJOCO_GL": "disable"}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stderr[-3000:]}"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run of the default task, and a data file of Pendulum's."""
    folder = tmp_path_factory.mktemp("docs")
    start(["-m", "vgf.run", *shrunk(["task=ogbench", f"run_dir={folder / 'run'}"], [])], folder, folder)
    environment, rng = gymnasium.make("Pendulum-v1"), np.random.default_rng(0)
    rows = []
    for episode in range(12):
        observation, _ = environment.reset(seed=episode)
        for step in range(200):
            action = rng.uniform(-2, 2, 1).astype(np.float32)
            after, reward, *_ = environment.step(action)
            rows.append((observation, action, reward, False, step == 199))
            observation = after
    names = ("observations", "actions", "rewards", "terminals", "timeouts")
    np.savez(folder / "pendulum.npz", **{n: np.array(c) for n, c in zip(names, zip(*rows, strict=True), strict=True)})
    return folder


def replaced(word: str, folder: Path, workplace: Path) -> str:
    """The word with the page's stand-ins replaced by what there is."""
    source = min((workplace / "data").rglob("cube*.npz"), key=lambda path: len(path.name))
    known = {"RUN_DIR": folder / "RUN_DIR", "SOURCE.npz": source, "FILE": workplace / "pendulum.npz"}
    known |= {"RUN": folder / "runs" / "a", "DIR": folder / "DIR"}
    key, equals, value = word.rpartition("=")
    return f"{key}{equals}{known.get(value, value)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page: Path, workplace: Path, tmp_path: Path, files: Path) -> None:  # noqa: F811  the fixture
    folder = workplace / "pages" / page.stem
    folder.mkdir(parents=True)
    for name in ("RUN_DIR", "runs/a", "runs/b", "DIR/a", "DIR/b"):
        shutil.copytree(workplace / "run", folder / name)
    text = [
        word for word in _arguments("tldr", files, tmp_path)[1:] if not word.startswith(("run_dir", "eval", "budget"))
    ]
    python = ""
    for block in blocks(page, "bash", "python"):
        if block.mark:
            continue
        if block.language == "python":
            python += block.text + "\n"
            continue
        for words in commands(block):
            given = [replaced(word, folder, workplace) for word in words]
            if given[:2] == ["python", "-m"] and given[2].startswith("vgf.") and "--aot" not in given:
                module, arguments = given[2], given[3:]
            elif given[0] == "vgf" and given[1] not in ASIDE:
                module, arguments = "vgf.run", given[1:]
            else:
                continue
            is_run = module == "vgf.run" and any("=" in word for word in arguments)
            start(["-m", module, *(shrunk(arguments, text) if is_run else arguments)], folder, workplace)
    (folder / "page.py").write_text(python)
    start(["page.py"], folder, workplace)
