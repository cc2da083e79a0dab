"""The questionnaire's own words in the languages of its translations: items, answers, cues.

The PHQ-9 and its translations may be reproduced, translated, displayed and distributed without
permission (phqscreeners.com). One file a language lies in `wordings/`. Beside the wordings a file
holds what people ask with in their own words (stems of the symptoms, "how often", "the last two
weeks", words of the scale); those are Leadline's.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

HIGHEST_ANSWER = 3

STRIPPED = ((0x0300, 0x036F), (0x064B, 0x065F), (0x0640, 0x0640))
"""Marks that `fold` takes off: of Latin, Greek and Cyrillic letters, and of Arabic ones."""

LETTERS = str.maketrans(
    {"\u0131": "i", "ł": "l", "ø": "o", "đ": "d", "\u0649": "\u064a", "\u2019": "'"}
)
"""Letters that have no decomposition, or that are often typed for each other."""


@dataclass(frozen=True)
class Wording:
    """The PHQ-9 in one language.

    Attributes:
        language: BCP 47 code, such as ``de`` or ``zh-Hans``.
        name: of the language, in English.
        source: of the wordings.
        question: what is asked of all items, one or more wordings.
        items: nine tuples, each with the official wording first and variants behind it.
        answers: four tuples for the answers 0 to 3, the official words first.
        numbers: the words for 0 to 3.
        often: words that ask for a frequency.
        period: words for the last two weeks.
        scale: words that announce the scale from 0 to 3.
        symptoms: nine tuples of stems that name the symptom of an item.
    """

    language: str
    name: str
    source: str
    question: tuple[str, ...]
    items: tuple[tuple[str, ...], ...]
    answers: tuple[tuple[str, ...], ...]
    numbers: tuple[str, ...]
    often: tuple[str, ...]
    period: tuple[str, ...]
    scale: tuple[str, ...]
    symptoms: tuple[tuple[str, ...], ...]


@cache
def wordings() -> dict[str, Wording]:
    """Every language, by its code, in the order of the codes.

    >>> from leadline.phq9.wordings import wordings
    >>> wordings()["de"].answers[1][0]
    'An einzelnen Tagen'
    """
    folder = files("leadline.phq9").joinpath("wordings")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".json"))
    loaded = [json.loads(folder.joinpath(name).read_text(encoding="utf-8")) for name in names]
    return {entry["language"]: _wording(entry) for entry in loaded}


def _wording(entry: dict[str, Any]) -> Wording:
    return Wording(**{field.name: _tuples(entry[field.name]) for field in fields(Wording)})


def _tuples(entry: Any) -> Any:
    return tuple(_tuples(part) for part in entry) if isinstance(entry, list) else entry


def fold(text: str) -> str:
    """Text as it is compared: compatibility forms, no case, no accents, one kind of apostrophe.

    >>> from leadline.phq9.wordings import fold
    >>> fold("Más de la mitad de los DÍAS")
    'mas de la mitad de los dias'
    """
    if text.isascii():
        return text.casefold()
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    letters = "".join(character for character in decomposed if not _is_stripped(character))
    return unicodedata.normalize("NFC", letters).translate(LETTERS)


def _is_stripped(character: str) -> bool:
    code = ord(character)
    return code >= STRIPPED[0][0] and any(low <= code <= high for low, high in STRIPPED)


@cache
def answer_words() -> dict[str, int]:
    """The folded words of every answer in every language -> its value, 0 to 3."""
    return {
        fold(words): value
        for wording in wordings().values()
        for value, variants in enumerate(wording.answers)
        for words in variants
    }


@cache
def number_words() -> dict[str, int]:
    """The folded words for 0 to 3 in every language -> the number."""
    return {
        fold(word): value
        for wording in wordings().values()
        for value, word in enumerate(wording.numbers)
    }


def answer_value(text: str) -> int | None:
    """The value 0 to 3 of an answer in its own words or as a digit; None if it is neither.

    Words of any language count, with or without the digit beside them, such as ``Several days``,
    ``Beinahe jeden Tag``, ``2``, ``2 = More than half the days`` or ``Several days (1)``. A digit
    that contradicts the words gives None.

    >>> from leadline.phq9.wordings import answer_value
    >>> [answer_value(text) for text in ("Several days", "Casi todos los días", "0", "often")]
    [1, 3, 0, None]
    """
    folded = fold(text).strip()
    digits = [character for character in folded if character.isdigit()]
    words = " ".join(folded.strip("0123456789 .,;:=-()[]\u2013\u2014!").split())
    by_word = answer_words().get(words)
    if not digits:
        return by_word
    if len(digits) > 1 or int(digits[0]) > HIGHEST_ANSWER:
        return None
    by_digit = int(digits[0])
    if not words:
        return by_digit if folded.strip(" .()[]") == digits[0] else None
    return by_digit if by_word == by_digit else None
