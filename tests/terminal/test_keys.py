"""Keys and their meanings, help, explanations and completion: complete, and true to the configuration."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.command import run_main
from vgf.commands import COMMANDS
from vgf.complaints import config_keys, group_options
from vgf.methods import method_names
from vgf.terminal.completion import script
from vgf.terminal.explain import explain
from vgf.terminal.help import help_text
from vgf.terminal.keys import GROUPS, config_groups, keys, option_meaning


def test_every_key_has_a_meaning_and_none_is_left_out():
    assert [key.name for key in keys() if not key.meaning] == []
    listed = {name for name, _ in config_keys()} - set(config_groups())
    assert listed <= {key.name for key in keys()}


def test_types_and_defaults_are_written_as_on_the_command_line():
    by_name = {key.name: key for key in keys()}
    assert (by_name["train.steps"].kind, by_name["train.steps"].default) == ("int", "25000")
    assert (by_name["budget.size"].kind, by_name["budget.size"].default) == ("float or null", "null")
    assert (by_name["eval.baselines"].kind, by_name["eval.baselines"].default) == ("list of str", "[best_of_n]")
    assert by_name["text.second.model"].default == "vader"  # of a group that may be null


def test_every_name_a_group_takes_says_what_it_is():
    silent = [f"{g}={n}" for g in GROUPS for n in group_options(g) if not option_meaning(g, n)]
    assert silent == []


@pytest.mark.parametrize("width", [60, 120])
def test_help_lists_everything_within_the_width(width):
    text = help_text(width)
    names = [*COMMANDS, *(key.name for key in keys() if not key.like), *group_options("task"), *group_options("method")]
    assert [name for name in names if name not in text] == []
    assert all(name.split("/")[-1] in text for name in group_options("preset"))
    assert [line for line in text.splitlines() if line.startswith(" " * 34) and len(line) > width] == []


def test_help_is_printed_by_the_command_line():
    status, text = run_main(["--help"])
    assert status == 0
    assert text == help_text(120).strip()


@pytest.mark.parametrize("name", method_names())
def test_a_method_is_explained_with_rule_and_source(name):
    text = explain(name)
    assert text.startswith(f"method={name}: ")
    assert "source" in text
    assert f"configs/method/{name}.yaml" in text


def test_a_paper_is_named_with_its_address():
    assert "QGF eqs. 7, 9" in explain("qgf")
    assert "arxiv.org/abs/2606.11087" in explain("qgf")
    assert "arxiv.org/abs/2604.14265" in explain("vgf")
    assert "net.extras=[flow_map]" in explain("qpilots_m")


def test_keys_and_groups_are_explained():
    text = explain("train.steps")
    assert "default                         25000" in text
    assert "at least 0" in text
    assert "preset=maze (8000)" in text
    assert all(f"budget.{field}=" in explain("budget") for field in ("steps", "size", "radius", "auto"))
    assert explain("trainer=fql").startswith("trainer=fql: FQL")
    assert "one of iql, sql, sarsa, td" in explain("train.critic")
    assert explain("gate") == explain("transport.gate")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "buget.size"], "vgf: nothing is called 'buget.size'. Did you mean 'budget.size'"),
        (["explain", "tariner=fql"], "vgf: nothing is called 'tariner=fql'."),
        (["explain"], "vgf: the following arguments are required: NAME; see 'vgf explain --help'"),
        (["completion", "tcsh"], "vgf: argument shell: invalid choice: 'tcsh'"),
        (["task=nothing"], "vgf: task=nothing is unknown"),
    ],
)
def test_a_mistake_is_one_line(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, text = run_main(arguments)
    assert status == 2
    assert text.startswith(said)
    assert len(text.splitlines()) == 1


def complete(line: str, folder: Path) -> list[str]:
    """What bash offers for a command line with the cursor at its end."""
    (folder / "c.bash").write_text(script("bash"))
    asked = 'source c.bash; COMP_LINE="$1"; COMP_POINT=${#1}; _vgf_complete 2>/dev/null; echo "${COMPREPLY[@]}"'
    command = ["bash", "--norc", "-c", asked, "bash", line]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("vgf expl", ["explain"]),
        ("vgf task=toy budget.s", ["budget.steps=", "budget.size="]),
        ("vgf method=qpilots", ["qpilots_g", "qpilots_m", "qpilots_u"]),
        ("vgf preset=a_vgf/cube-s", ["a_vgf/cube-single"]),
        ("vgf mode=", ["train", "eval"]),
        ("vgf data.path=c.ba", ["c.bash"]),
    ],
)
def test_bash_completes_commands_keys_values_and_files(line, offered, tmp_path):
    assert complete(line, tmp_path) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_given_the_same_words(shell, tmp_path):
    text = script(shell)
    assert all(word in text for word in (*COMMANDS, "train.steps=", "method=qgf", "mode=eval"))
    assert all(line.count("'") % 2 == 0 for line in text.splitlines())
    if shutil.which(shell) is not None:
        (tmp_path / "script").write_text(text)
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)
