"""Words and characters of turns as counts, in any language: what the lexical head sees.

A turn becomes counts of its words, pairs of words, and stretches of 2 to 5 characters in a word,
hashed into a fixed number of columns (Weinberger et al. 2009), so that nothing of the training
people's vocabulary is needed to read. Counts of turns add up to those of a reading, and a new
message costs its own words. In scripts that put no space between words (Chinese, Japanese, Thai,
Khmer, ...) each character counts as a word.

Counts hold no text, but whoever guesses a word can tell whether it was said.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import HashingVectorizer

from leadline.arrays import Ints

METHOD = 1  # raised when the same text would be counted otherwise than before

COLUMNS = 2**19
"""Columns of words, and as many of characters: English check-ins of 3,000 people fill a fifth."""

SPACELESS = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003134f"  # kana and Han
)

# Marks between words; what is neither here nor a space is part of a word, so that combining
# vowels (Hindi, Thai) and emoji are.
MARKS = (
    "!-&(-/:-@\\[-`{-~\u00a1\u00a7\u00ab\u00b7\u00bb\u00bf\u055a-\u055f\u060c\u061b\u061f\u066a-\u066d"
    "\u06d4\u0964\u0965\u0e2f\u0e5a\u0e5b\u104a\u104b\u17d4-\u17d6\u2010-\u2018\u201a-\u205e\u3001-\u3003"
    "\u3008-\u3011\u3014-\u301f\u30fb"
)

RUN = re.compile(f"[{SPACELESS}]+|[^\\s{MARKS}{SPACELESS}]+")

IS_SPACELESS = re.compile(f"[{SPACELESS}]")

SHORTEST, LONGEST = 2, 5  # characters of a stretch


def runs(text: str) -> list[str]:
    """Words of a text, and stretches without spaces of scripts that have none."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    return RUN.findall(text)


def words_and_pairs(text: str) -> list[str]:
    """Words of a text and pairs of neighbours; a character of a script without spaces is a word."""
    words: list[str] = []
    for run in runs(text):
        words += list(run) if IS_SPACELESS.match(run) else [run]
    return words + [f"{first} {second}" for first, second in pairwise(words)]


def stretches(text: str) -> list[str]:
    """Stretches of 2 to 5 characters inside the words of a text, ends marked by a space."""
    out: list[str] = []
    for run in runs(text):
        word = f" {run} "
        for width in range(SHORTEST, min(LONGEST, len(word)) + 1):
            out += [word[at : at + width] for at in range(len(word) - width + 1)]
    return out


def count_terms(texts: Sequence[str]) -> csr_matrix:
    """Counts of the words, then of the characters of each text, (texts, 2 * COLUMNS), float32."""
    if not len(texts):
        return csr_matrix((0, 2 * COLUMNS), dtype=np.float32)
    options: dict[str, Any] = {
        "n_features": COLUMNS, "alternate_sign": False, "norm": None, "dtype": np.float32
    }  # fmt: skip
    blocks = [
        HashingVectorizer(analyzer=analyse, **options).transform(texts)
        for analyse in (words_and_pairs, stretches)
    ]
    counts = csr_matrix(hstack(blocks, format="csr"))
    counts.sort_indices()
    return counts


@dataclass(frozen=True)
class Terms:
    """Readings as stretches of turns whose counts add up.

    Attributes:
        people: counts of the user turns of each person, (U, 2 * COLUMNS).
        spans: row of `people`, first and last turn of each reading, both included, (R, 3).
    """

    people: tuple[csr_matrix, ...]
    spans: Ints

    def __len__(self) -> int:
        return len(self.spans)

    def take(self, rows: Ints) -> Terms:
        """The readings at `rows`."""
        return Terms(self.people, self.spans[rows])

    def join(self, addition: Terms) -> Terms:
        """These readings and then those of `addition`."""
        moved = addition.spans + np.array([len(self.people), 0, 0])
        return Terms(self.people + addition.people, np.concatenate([self.spans, moved]))

    def counts(self) -> csr_matrix:
        """Counts of each reading, (R, 2 * COLUMNS)."""
        shape = (len(self), 2 * COLUMNS)
        slices = [
            (self.people[person], self.people[person].indptr[[first, last + 1]])
            for person, first, last in self.spans
        ]
        if not slices:
            return csr_matrix(shape, dtype=np.float32)
        # The turns of a reading lie side by side; what is in several of them is added up.
        size = np.concatenate([turns.data[a:b] for turns, (a, b) in slices])
        column = np.concatenate([turns.indices[a:b] for turns, (a, b) in slices])
        ends = np.cumsum([b - a for _, (a, b) in slices])
        out = csr_matrix((size, column, np.concatenate([[0], ends])), shape=shape)
        out.sum_duplicates()
        return out
