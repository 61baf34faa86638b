"""The documentation without running it: commands compose, keys and modules exist, links resolve, Python compiles."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from doc_blocks import PAGES, ROOT, Block, anchors, blocks, commands, links
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from vgf.check import check_config
from vgf.commands import COMMANDS
from vgf.compose import with_own_preset
from vgf.config import Config
from vgf.language.rules import TEXT_RULES
from vgf.launch import _OPEN_KEYS
from vgf.methods import method_names
from vgf.unread import require_read

sys.path.insert(0, str(ROOT / "docs"))
import method_facts

BASH = [block for page in PAGES for block in blocks(page, "bash")]
PYTHON = [block for page in PAGES for block in blocks(page, "python")]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@functools.cache
def composed(*arguments: str) -> DictConfig:
    """What a run would be started with; of a sweep, its first run. Nothing is started."""
    sweep = "-m" in arguments
    given = [word for word in arguments if word != "-m" and not word.startswith("hydra")]  # launchers are extras
    given = [re.sub(r"^([^\[]*?=[^,\[]*),.*", r"\1", word) if sweep else word for word in given]
    given = [f"++{word}" if word.startswith(_OPEN_KEYS) else word for word in with_own_preset(given)]
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_module("vgf.configs", version_base="1.3"):
        return compose("config", given)


def launched(words: list[str]) -> tuple[str, list[str]] | None:
    """The module that a command starts, with its arguments; None for other programs."""
    if words[0] == "vgf":
        return "vgf.run", words[1:]
    if words[0] in ("python", "accelerate", "torchrun") and "-m" in words:
        at = words.index("-m")
        return words[at + 1], words[at + 2 :]
    return None


OF_EXTRAS = ("mkdocs",)  # modules that the same line installs


@pytest.mark.parametrize("block", BASH, ids=lambda block: block.name)
def test_bash_can_be_parsed_and_started(block: Block):
    checked = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    for words in commands(block) if block.mark != "checked" else ():
        module, arguments = launched(words) or (None, [])
        if module is None:
            continue
        assert module in OF_EXTRAS or importlib.util.find_spec(module) is not None, module
        if module == "vgf.run" and arguments and "=" not in arguments[0] and arguments[0] != "-m":
            assert arguments[0] in (*COMMANDS, "help", "--help"), f"vgf has no command {arguments[0]}"
        elif module == "vgf.run":
            config = composed(*arguments)
            if config.mode == "train" and config.init is None:
                whole = OmegaConf.to_object(config)
                assert isinstance(whole, Config)
                check_config(whole)
                require_read(whole, [word.partition("=")[0] for word in arguments if "=" in word])
        elif module.startswith("vgf."):
            source = importlib.util.find_spec(module + ".__main__" if _is_package(module) else module)
            assert source is not None
            for option in (word for word in arguments if word.startswith("--")):
                assert f'"{option}"' in Path(str(source.origin)).read_text(), f"{module} has no option {option}"


def _is_package(module: str) -> bool:
    found = importlib.util.find_spec(module)
    return found is not None and found.submodule_search_locations is not None


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.name)
def test_python_compiles_and_its_imports_exist(block: Block):
    for node in ast.walk(ast.parse(block.text if block.mark != "checked" else "")):
        if isinstance(node, ast.Import):
            assert block.mark or all(importlib.util.find_spec(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names)


@every_page
def test_links_and_anchors_resolve(page: Path):
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.name)
def test_links_hold_on_the_site_too(page: Path):
    for link in links(page):
        assert (page.parent / link.partition("#")[0]).resolve().is_relative_to(ROOT / "docs"), link


def test_every_page_is_in_the_navigation():
    def files(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        parts = entry if isinstance(entry, list) else list(entry.values()) if isinstance(entry, dict) else []
        return [name for part in parts for name in files(part)]

    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    assert sorted(files(navigation)) == [page.name for page in PAGES[1:]]


def test_every_mark_names_a_reason_and_stands_before_a_block():
    for page in PAGES:
        marks = re.findall(r"^<!-- not (?:run|checked): .+? -->$", page.read_text(), re.MULTILINE)
        marked = [block for block in blocks(page, "bash", "python") if block.mark]
        assert len(marks) == len(marked), page.name


def test_facts_of_methods_are_those_of_the_tables():
    page = method_facts.PAGE.read_text()
    assert page == method_facts.filled(page), "run: python docs/method_facts.py"


def test_every_method_has_a_section():
    described = re.findall(r"<!-- facts: (\w+) -->", method_facts.PAGE.read_text())
    assert sorted(described) == sorted(method_names() + method_names(TEXT_RULES))


def _messages() -> list[str]:
    """Constant parts of every text in the source, with … for what is filled in."""
    found = []
    for folder in ("vgf", "tasks", "trainers"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = [str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values]
                    found.append("".join(parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return found


def test_quoted_errors_are_in_the_source():
    messages = _messages()
    quoted = [b.text.strip() for b in blocks(ROOT / "docs" / "faq.md", "text")]
    assert len(quoted) > 20
    for line in quoted:
        parts = [part.strip("'") for part in line.removeprefix("vgf: ").split("…")]
        assert any(_in_order(parts, message) for message in messages), line


def _in_order(parts: list[str], message: str) -> bool:
    at = 0
    for part in parts:
        at = message.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True
