"""How many words a text has, in scripts with and without spaces; one count for all of Leadline.

White space ends a word; in scripts that put no space between words (Chinese, Japanese, Thai, Lao,
Burmese, Khmer, Tibetan) two letters count as one word. So texts in other scripts have the counts
that they always had. The word boundaries of Unicode (UAX #29) do not say more without a
dictionary: they make one word of each Chinese character and one of a whole Thai sentence; ICU has
the dictionaries, and needs a library in C++ that is built on the machine.
"""

from __future__ import annotations

import re

import polars as pl

SPACELESS = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003134f"  # kana and Han
)
"""Letters of scripts without spaces, as a class of a regular expression."""

LETTERS_A_WORD = 2

LETTER = re.compile(f"[{SPACELESS}]")


def word_count(text: str) -> int:
    """Words of a text.

    >>> word_count("I slept badly."), word_count("我最近总是睡不着")
    (3, 5)
    """
    words = len(text.split())
    return words if text.isascii() else words + len(LETTER.findall(text)) // LETTERS_A_WORD


def words_of(column: str) -> pl.Expr:
    """`word_count` of a column of texts."""
    letters = pl.col(column).str.count_matches(f"[{SPACELESS}]")
    return pl.col(column).str.count_matches(r"\S+") + letters // LETTERS_A_WORD
