"""``python -m vgf.bench``: what it prints and writes, and what it says when something is not there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vgf.bench.results
from vgf.bench import __main__ as command
from vgf.bench import references, scaling
from vgf.bench.item import Item, Row
from vgf.bench.timing import Speed
from vgf.errors import UserError

ITEM = Item(
    "updates/s", "higher", 12.3456, 4.0, 3.0864, "ours, eager", "plain",
    [Row("one core", "ours, eager", 12.3456, 0.05, 3.0864), Row("one core", "plain", 4.0, 0.0, note="slow")],
    extra={"slopes": {"batch": 0.98765}},
)  # fmt: skip


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder that looks like a checkout, and one item that takes no time."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "speed.md").write_text(
        "before\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nafter\n"
    )
    for module in (vgf.bench.results, command):
        monkeypatch.setattr(module, "folder", lambda: tmp_path / "benchmarks")
    monkeypatch.setattr(command, "ITEMS", {"fast": "", "slow": ""})
    monkeypatch.setattr(command, "measure", lambda name, speed: ITEM)
    return tmp_path


@pytest.mark.slow
def test_act_prints_one_json_object():
    done = subprocess.run(
        [sys.executable, "-m", "vgf.bench", "act", "--json", "--quick"],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["ours"] > 0
    assert found["other"] > 0
    assert found["ratio"] == pytest.approx(found["ours"] / found["other"], rel=1e-2)
    assert found["unit"] == "milliseconds/decision"
    assert {row["what"] for row in found["rows"]} == {"batch 1", "batch 64"}
    assert found["extra"]["floor_qgf"]["milliseconds"] < found["ours"]


def test_the_page_keeps_its_words_and_results_are_merged(checkout, capsys):
    assert command.main([]) == 0
    assert command.main(["fast", "--write"]) == 0
    page = (checkout / "docs" / "speed.md").read_text()
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    assert "old" not in page
    assert page.count("### `fast`") == page.count("### `slow`") == 1
    assert "**3.09** (more is better): 12.35 updates/s (ours, eager) against 4 (plain)." in page
    assert "| one core | ours, eager | 12.35 | 5% | 3.086 |  |" in page
    stored = json.loads((checkout / "benchmarks" / "results.json").read_text())
    assert list(stored) == ["fast", "slow"]
    assert stored["fast"]["extra"]["slopes"]["batch"] == 0.9877
    assert stored["fast"]["measured"]["machine"]["cores"] >= 1
    assert "### `fast`" in capsys.readouterr().out


def test_named_items_are_only_printed(checkout, capsys):
    assert command.main(["slow", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["item"] == "slow"
    assert not (checkout / "benchmarks" / "results.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["qgf_updat"], "there is no item 'qgf_updat'; use one of .* Did you mean 'qgf_update'"),
        (["--json"], "--json prints one object: name one item"),
        (["act", "text", "--json"], "--json prints one object: name one item"),
    ],
)
def test_bad_input_is_one_line(arguments, said, capsys):
    assert command.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(said, error)


def test_without_the_references_one_line_says_where_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(references.vgf, "__file__", str(tmp_path / "vgf" / "__init__.py"))
    with pytest.raises(UserError, match="the reference implementations are not installed"):
        references.folder()
    assert command.main(["gpu"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_without_jax_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.setattr(references.importlib.util, "find_spec", lambda name: None if name == "jax" else object())
    assert references.missing_jax() == "jax not installed; pip install 'vgf[jax]' to compare with JAX"


def test_without_a_card_nothing_is_measured(monkeypatch):
    from vgf.bench import gpu

    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    item = gpu.gpu(Speed.quick())
    assert (item.ours, item.other, item.ratio) == (None, None, None)
    assert item.note.startswith("not measured")
    assert "Not measured" in vgf.bench.results.table(
        "gpu", vgf.bench.results.stamped(item.as_dict(), load_before=None, seconds=0.0)
    )


def test_a_slope_is_the_exponent():
    x = np.array([1, 2, 5, 10])
    assert scaling.slope(x, 3 * x**1.7) == pytest.approx(1.7)


def test_results_in_the_repository_are_those_of_the_page():
    root = Path(references.folder()).parent
    stored = json.loads((root / "benchmarks" / "results.json").read_text())
    page = (root / "docs" / "speed.md").read_text()
    for name, item in stored.items():
        assert vgf.bench.results.table(name, item) in page


@pytest.mark.slow
def test_an_exported_policy_is_timed_beside_the_policy():
    found = command.measure("act_exported", Speed.quick())
    assert found.ratio is not None
    assert found.ratio > 0
    assert {row.who for row in found.rows} >= {"exported, reference", "exported, qgf, 10 steps guided"}


def test_a_misspelt_option_is_one_line(capsys):
    assert command.main(["--quik"]) == 2
    said = capsys.readouterr().err
    assert said == "vgf: unrecognized arguments: --quik; see 'python -m vgf.bench --help'\n"
