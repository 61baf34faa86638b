"""The documentation's page on adding a rule, followed literally in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

from doc_blocks import ROOT, blocks


def test_the_page_is_enough(tmp_path):
    placed = {"vgf": "vgf", "tasks": "vgf/tasks", "trainers": "vgf/trainers", "configs": "vgf/configs"}
    for name, where in placed.items():
        shutil.copytree(ROOT / name, tmp_path / where, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests" / "transport", tmp_path / "tests" / "transport")
    page = ROOT / "docs" / "add_a_rule.md"
    field, _, row = (block.text for block in blocks(page, "python"))
    (method,) = (block.text for block in blocks(page, "yaml"))

    fields, rules = (tmp_path / "vgf" / "transport" / name for name in ("fields.py", "rules.py"))
    function = field[field.index("def chained") :]
    fields.write_text(fields.read_text().replace("__all__ = [", '__all__ = [\n    "chained",', 1) + f"\n\n{function}")
    head = "RULES: dict[str, Rule] = {\n"
    rules.write_text(rules.read_text().replace(head, f"{head}    {row}", 1))
    (tmp_path / "vgf" / "configs" / "method" / "qgf_chain.yaml").write_text(method)

    def python(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    tested = next(line for line in blocks(page, "bash")[0].text.splitlines() if "pytest" in line)
    passed = re.search(r"(\d+) passed", python(*tested.split()[1:], "-p", "no:cacheprovider"))
    assert passed is not None
    assert int(passed[1]) >= 10
    load = "from vgf.methods import load_method, knob_of; print(knob_of(load_method('qgf_chain')))"
    assert python("-c", load).strip() == "0.03"
