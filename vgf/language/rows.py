"""Reads text data sets (local files and folders, or the hub) into rows with the columns that are needed.

Everything goes through ``datasets``. What is new here: columns are renamed and checked before any row is read, two
published layouts without a prompt column are rewritten, unusable rows are counted, a data set can be dealt into parts
that share no prompt, and a silent hub takes seconds. ``trl-lib/tldr``, ``trl-lib/tldr-preference``,
``openai/summarize_from_feedback:comparisons`` and ``Anthropic/hh-rlhf`` are read as they are.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from vgf.errors import UserError, did_you_mean
from vgf.language.hub import UNREADABLE, extra, first_line, hub_offline, hub_refusal

__all__ = ["SCHEMAS", "read_texts", "split_dialogue"]

SCHEMAS: dict[str, tuple[str, ...]] = {
    "prompts": ("prompt",),
    "completions": ("prompt", "completion"),
    "pairs": ("prompt", "chosen", "rejected"),
    "labelled": ("text", "label"),
}
_READERS = {".json": "json", ".jsonl": "json", ".parquet": "parquet", ".csv": "csv", ".txt": "text"}
_LABELS = {"positive": 1, "pos": 1, "true": 1, "1": 1, "negative": 0, "neg": 0, "false": 0, "0": 0}
_TURN = "\n\nAssistant:"
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?(:[\w.-]+)?")
_PART = re.compile(r"(?P<source>.+)@(?P<part>\d+)/(?P<parts>\d+)")


_Convert = Callable[[Mapping[str, Any]], dict[str, Any]]


class _Unusable(Exception):
    """This row is left out: something in it is empty, or it has no label, or both answers are the same."""


def read_texts(
    source: str, wanted: Sequence[str], *, columns: Mapping[str, str] | None = None, split: str = "train"
) -> list[dict[str, Any]]:
    """Read the wanted columns of a data set.

    Args:
        source: a ``.json``, ``.jsonl``, ``.parquet``, ``.csv`` or ``.txt`` file (of the last, each line is a ``text``),
            a folder, or a hub name, with its configuration after a colon where it has several (``owner/name:config``).
            ``@1/2`` at the end takes the first of two parts of about the same size, in an order that has nothing to do
            with the source's; no prompt is in two parts. ``@1/1`` is everything in that order.
        wanted: the columns needed, for instance ``SCHEMAS["pairs"]``.
        columns: name in the data set for each wanted column that is called otherwise there. Layouts of pairs without
            a prompt column count as ``prompt``, ``chosen``, ``rejected`` and ``completion``, the chosen one again: the
            answers as they stand in the text, so that prompt and answer put together read as they were written.
        split: which split of the data set; ``train[:1000]`` takes the first rows. Of a file everything.

    Returns:
        One dictionary a row. ``label`` is an int, all else is text. Rows with an empty value, without a label or with
        twice the same answer are left out, and a line on stderr says how many.

    Raises:
        UserError: the data set cannot be had or read, lacks a column, has values that are not text, or no usable row;
            or there is no such part.
    """
    source, part, parts = _part_of(source)
    renamed = {name: (columns or {}).get(name, name) for name in wanted}
    table = _load(source, split)
    needed, convert = _layout(source, renamed, table.column_names)
    rows = []
    for number, row in enumerate(table.select_columns(needed)):
        try:
            rows.append(convert(row))
        except _Unusable:
            continue
        except UserError as error:
            raise UserError(f"{source}, row {number}: {error}") from error
    if not rows:
        raise UserError(f"{source} has no usable row: {len(table)} rows, none with all of {', '.join(needed)} filled")
    if left_out := len(table) - len(rows):
        print(f"{source}: {left_out} of {len(table)} rows are empty or undecided and are left out", file=sys.stderr)
    return _dealt(source, rows, part, parts) if parts else rows


def _part_of(source: str) -> tuple[str, int, int]:
    """The source, the number of the part that is asked for, and how many there are; 0 and 0 where all rows are."""
    if (asked := _PART.fullmatch(source)) is None:
        return source, 0, 0
    part, parts = int(asked["part"]), int(asked["parts"])
    if not 1 <= part <= parts:
        raise UserError(f"{source} asks for part {part} of {parts}; parts count from 1, as in {asked['source']}@1/2")
    return asked["source"], part, parts


def _dealt(source: str, rows: list[dict[str, Any]], part: int, parts: int) -> list[dict[str, Any]]:
    """The rows of one part, ordered by a hash of the prompt (or of the first column), which also deals them out."""

    def digest(row: Mapping[str, Any]) -> int:
        text = str(row.get("prompt", next(iter(row.values()))))
        return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8])

    own = [row for row in rows if digest(row) % parts == part - 1]
    if not own:
        raise UserError(f"part {part} of {parts} of {source} is empty: there are {len(rows)} rows; ask for fewer parts")
    return sorted(own, key=digest)


def split_dialogue(chosen: str, rejected: str) -> tuple[str, str, str]:
    r"""Split two dialogues that differ in their last answer, as in ``Anthropic/hh-rlhf``.

    Returns:
        The common prompt, which ends in ``"\n\nAssistant:"``, and the two answers, with the space before and without
        the white space after them: completions that are generated begin with that space as well.

    Raises:
        UserError: they have no ``"\n\nAssistant:"`` in common.
    """
    same = next((place for place, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
    common = chosen[: min(len(chosen), len(rejected)) if same is None else same]
    end = common.rfind(_TURN) + len(_TURN)
    if _TURN not in common:
        raise UserError(f"chosen and rejected are dialogues that share no prompt ending in {_TURN!r}")
    return chosen[:end], chosen[end:].rstrip(), rejected[end:].rstrip()


def _from_dialogues(row: Mapping[str, Any]) -> dict[str, Any]:
    """``chosen`` and ``rejected`` with the prompt inside: strings as of hh-rlhf, or lists of two messages."""
    chosen, rejected = row["chosen"], row["rejected"]
    if isinstance(chosen, str) and isinstance(rejected, str):
        prompt, chosen, rejected = split_dialogue(chosen, rejected)
    else:
        prompt = _text((chosen or [])[:-1])
        if prompt != _text((rejected or [])[:-1]):
            raise UserError("chosen and rejected are conversations with different prompts")
    answers = {"completion": _text(chosen), "chosen": _text(chosen), "rejected": _text(rejected)}
    return _different({"prompt": prompt} | answers)


def _from_comparison(row: Mapping[str, Any]) -> dict[str, Any]:
    """A post, two summaries and which of them was chosen, as in openai/summarize_from_feedback."""
    info, texts, choice = row["info"], [_text(summary["text"]) for summary in row["summaries"]], int(row["choice"])
    prompt = f"SUBREDDIT: r/{info['subreddit']}\n\nTITLE: {info['title']}\n\nPOST: {info['post']}\n\nTL;DR:"
    answers = {"chosen": texts[choice], "rejected": texts[1 - choice]}
    return _different({"prompt": prompt, "completion": texts[choice]} | answers)


class _Layout(NamedTuple):
    needed: tuple[str, ...]
    convert: _Convert


_GIVEN = frozenset({"prompt", "completion", "chosen", "rejected"})
_PAIR_LAYOUTS = (  # they all give the columns _GIVEN
    _Layout(("chosen", "rejected"), _from_dialogues),
    _Layout(("info", "summaries", "choice"), _from_comparison),
)


def _layout(source: str, renamed: Mapping[str, str], there: Sequence[str]) -> tuple[list[str], _Convert]:
    """Return the columns to read and the function that makes a wanted row of them."""
    missing = [column for column in renamed.values() if column not in there]
    if not missing:
        return list(renamed.values()), partial(_plain, renamed)
    for layout in _PAIR_LAYOUTS:
        if "prompt" not in there and set(layout.needed) <= set(there):
            missing = [column for column in renamed.values() if column not in _GIVEN]
            if not missing:
                return list(layout.needed), partial(_only, layout.convert, renamed)
    hint = did_you_mean(missing[0], there)
    raise UserError(f"{source} has no column {missing[0]!r}; its columns are {', '.join(there)}.{hint}")


def _plain(renamed: Mapping[str, str], row: Mapping[str, Any]) -> dict[str, Any]:
    reads = {"label": _label, "prompt": _question}
    return _different({name: reads.get(name, _text)(row[column]) for name, column in renamed.items()})


def _only(convert: _Convert, renamed: Mapping[str, str], row: Mapping[str, Any]) -> dict[str, Any]:
    given = convert(row)
    return {name: given[column] for name, column in renamed.items()}


def _different(row: dict[str, Any]) -> dict[str, Any]:
    if "chosen" in row and row["chosen"].strip() == row.get("rejected", "").strip():
        raise _Unusable
    return row


def _text(value: Any) -> str:
    """A string, or the content of the last of at most two chat messages."""
    if isinstance(value, list) and 0 < len(value) <= 2 and isinstance(value[-1], dict):
        value = value[-1].get("content")
    if isinstance(value, str | None):
        if not (value or "").strip():
            raise _Unusable
        return str(value)
    what = f"a conversation of {len(value)} messages" if isinstance(value, list) else f"of type {type(value).__name__}"
    raise UserError(f"a value is {what}, not text; use single texts, or one question and one answer")


def _question(value: Any) -> str:
    """A string, or the content of a single chat message: of several none may be lost."""
    if isinstance(value, list) and len(value) > 1:
        raise UserError(
            f"a prompt is a conversation of {len(value)} messages; use single texts, or one message (system messages "
            "are not read)"
        )
    return _text(value)


def _label(value: Any) -> int:
    """0 or 1, or the number of a class; -1 stands for no label in published test sets."""
    if value is None or value == -1:
        raise _Unusable
    if isinstance(value, int | float) and value == int(value) and value >= 0:
        return int(value)
    if (label := _LABELS.get(str(value).strip().lower())) is None:
        raise UserError(f"the label {value!r} is not a whole number, nor one of {', '.join(_LABELS)}")
    return label


def _load(source: str, split: str) -> Any:
    """Load the ``datasets.Dataset``; anything that goes wrong is one line."""
    datasets = extra("datasets")
    path = Path(source).expanduser()
    reader = _READERS.get(path.suffix.lower())
    if path.is_file() and reader is None:
        raise UserError(f"{path} is not of a kind that can be read; use one of {', '.join(_READERS)}")
    refusal = None
    try:
        if path.is_file():
            name = re.split(r"\W", split)[0]  # a file has no splits of its own: it is the one asked for
            return datasets.load_dataset(reader, data_files={name: str(path)}, split=split)
        if (path / "state.json").is_file():
            return datasets.load_from_disk(str(path))
        if path.is_dir():
            return datasets.load_dataset(str(path), split=split)
        if reader or not _HUB_NAME.fullmatch(source):
            raise UserError(f"there is no file or folder {path}")
        name, _, configuration = source.partition(":")
        if (refusal := hub_refusal("dataset", name)) is None:
            return datasets.load_dataset(name, configuration or None, split=split)
        with hub_offline():
            return datasets.load_dataset(name, configuration or None, split=split)
    except UserError:
        raise
    except (*UNREADABLE, datasets.exceptions.DatasetsError) as error:
        reason = f"{refusal}, and it is not in the local cache" if refusal else first_line(error.__cause__ or error)
        raise UserError(f"the data set {source} cannot be read: {reason}") from error
