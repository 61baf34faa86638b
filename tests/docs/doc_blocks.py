"""The documentation's pages taken apart: fenced blocks, headings, links, shell commands.

A block that cannot run here as it stands has ``<!-- not run: REASON -->`` on the line before its fence; one that makes
no sense without an edit of the package has ``<!-- not checked: REASON -->``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "anchors", "blocks", "commands", "links", "prose"]

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_MARK = re.compile(r"<!-- not (run|checked): .+? -->\s*\Z")
_SEPARATORS = {"&&", "||", ";", "|"}
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: of its fence.
        language: what stands behind the fence; "" where nothing does.
        mark: ``run`` or ``checked``, which is what cannot be done with it; "" where both can.
    """

    page: Path
    line: int
    language: str
    text: str
    mark: str

    @property
    def name(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path, *languages: str) -> list[Block]:
    """The page's blocks in the given languages, from top to bottom."""
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        mark = _MARK.search(text[: match.start()])
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match[1], match[2], mark[1] if mark else ""))
    return [block for block in found if block.language in languages]


def prose(page: Path) -> str:
    """The page without its blocks and without code in its lines."""
    return re.sub(r"`[^`\n]+`", "", _FENCE.sub("", page.read_text()))


def links(page: Path) -> list[str]:
    """Targets of the page's links and pictures, those of other sites left out."""
    return [target for target in _LINK.findall(prose(page)) if "://" not in target]


def anchors(page: Path) -> set[str]:
    """What links to the page's headings may be called, on GitHub and on the site: both make them alike."""
    titles = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", title.lower()) for title in titles]
    return {slug for text in plain if (slug := re.sub(r"\s", "-", text)) == re.sub(r"[-\s]+", "-", text)}


def commands(block: Block) -> Iterator[list[str]]:
    """Words of the simple commands of a bash block; comments, assignments before them and redirections are left out."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, ";"]:
            if word in _SEPARATORS:
                yield from [_plain(command)] if _plain(command) else []
                command = []
            else:
                command.append(word)


def _plain(words: list[str]) -> list[str]:
    while words and re.match(r"[A-Za-z_]\w*=", words[0]):
        words = words[1:]
    return words[: words.index(">")] if ">" in words else words
