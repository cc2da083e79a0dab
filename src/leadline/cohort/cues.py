"""Cues of an administered questionnaire in one message, in any language of `phq9.wordings`.

A message may name symptoms of the nine items, ask for a frequency, speak of the last two weeks,
offer the scale from 0 to 3, or use an item's own wording. What follows from the cues, and from the
messages before, is decided in `masking`.

Words are looked up by their beginning, in a table of all languages at once, so a message costs
time in proportion to its length. Symptoms, frequency and period count together only within one
language: a word of one language may begin like a word of another.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import polars as pl

from leadline.cohort.words import word_count
from leadline.phq9.wordings import (
    Wording,
    answer_value,
    answer_words,
    fold,
    number_words,
    wordings,
)

ITEM, ANSWER, OFTEN, PERIOD, SCALE, ZERO, THREE = range(7)

WORDED = 0.7
"""Share of the letter groups of an item's wording that a message must hold to be its wording."""

LEVELS = 3  # different answers that a message must list to offer the scale

SHORT_STEM = 3  # letters up to which a stem is a whole word

SHORT_QUESTION = 14  # words of a question that needs no question mark

LONGEST_BARE = 60  # letters of such a reply

SHORT_REPLY = 5  # words of a reply that is nothing but an answer

_WORD = r"\w\u0900-\u097f"  # the vowel signs of Devanagari belong to a word

_UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\u0600-\u06ff"
"""Scripts in which a word may begin anywhere: no spaces, or articles written together."""

_START = re.compile(rf"(?<![{_WORD}])[{_WORD}]|[{_UNSPACED}]|(?<=[{_UNSPACED}])[{_WORD}]")

_WORD_CHARACTER = re.compile(rf"[{_WORD}]")

_SPACELESS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")

NUMERIC_SCALE = (
    r"(?:^|[^\d.,:/])0(?:[^\d\n]{1,24}|[^\d]{1,60}1[^\d]{1,60}2[^\d]{1,60})3"
    r"(?:$|[^\d.,:/%]|[.,:/]\D)"
)
"""From 0 to 3, or 0, 1, 2 and 3 with their meanings."""

_NUMERIC_SCALE = re.compile(NUMERIC_SCALE)

_QUESTION = re.compile(r"[?\uff1f\u061f]|か[。\s]*$")

_DIGIT = re.compile(r"(?<![\d.,:/-])[0-3](?![\d:/%]|[.,]\d)")

_ITEMS_LISTED = re.compile(r"(?:^|[\n;])[^\S\n]*(?:[1-9][.):]|[-*\u2022])")


class Cues(NamedTuple):
    """What a message holds, in the language for which most of it speaks.

    Attributes:
        items: the items (0 to 8) whose symptom is named.
        worded: the items that are in their own wording.
        often: it asks for a frequency.
        period: it speaks of the last two weeks.
        scale: it offers the answers 0 to 3, or three of the four answers in words.
        question: it ends or holds a question, or is as short as one.
    """

    items: frozenset[int] = frozenset()
    worded: frozenset[int] = frozenset()
    often: bool = False
    period: bool = False
    scale: bool = False
    question: bool = False


class _Entry(NamedTuple):
    phrase: str
    language: str
    kind: int
    number: int
    closed: bool  # what follows must not go on with the word


@cache
def _table() -> dict[str, list[_Entry]]:
    """Every phrase of every language by its first two letters."""
    table: dict[str, list[_Entry]] = defaultdict(list)
    for wording in wordings().values():
        for phrase, kind, number in _phrases(wording):
            folded = fold(phrase).strip()
            closed = len(folded) <= SHORT_STEM and not re.search(f"[{_UNSPACED}]", folded)
            table[folded[:2]].append(_Entry(folded, wording.language, kind, number, closed))
    return table


def _phrases(wording: Wording) -> Iterator[tuple[str, int, int]]:
    for item, stems in enumerate(wording.symptoms):
        yield from ((stem, ITEM, item) for stem in stems)
    for level, variants in enumerate(wording.answers):
        yield from ((words, ANSWER, level) for words in variants)
    for kind, phrases in ((OFTEN, wording.often), (PERIOD, wording.period), (SCALE, wording.scale)):
        yield from ((phrase, kind, 0) for phrase in phrases)
    yield wording.numbers[0], ZERO, 0
    yield wording.numbers[3], THREE, 0


def cues_of(text: str) -> Cues:
    """The cues of a message."""
    folded = fold(text)
    sets = _matches(folded)
    numeric = _NUMERIC_SCALE.search(folded) is not None
    question = _QUESTION.search(folded) is not None or word_count(folded) <= SHORT_QUESTION
    if not sets:
        return Cues(scale=numeric, question=question)
    scale = numeric or any(_offers_scale(cues) for cues in sets.values())
    best = max(sets, key=lambda language: (_strength(sets[language]), language))
    kinds = {kind for kind, _ in sets[best]}
    worded = frozenset(
        item
        for language, cues in sets.items()
        for item in _worded(folded, wordings()[language], _numbers(cues, ITEM))
    )
    items = _numbers(sets[best], ITEM) | worded
    return Cues(items, worded, OFTEN in kinds, PERIOD in kinds, scale, question)


def _strength(cues: set[tuple[int, int]]) -> tuple[int, int]:
    """How much speaks for the language: kinds of cues, and symptoms named."""
    kinds = {kind for kind, _ in cues} & {ITEM, OFTEN, PERIOD}
    return len(kinds), len(_numbers(cues, ITEM))


def _offers_scale(cues: set[tuple[int, int]]) -> bool:
    kinds = {kind for kind, _ in cues}
    return SCALE in kinds or {ZERO, THREE} <= kinds or len(_numbers(cues, ANSWER)) >= LEVELS


def _numbers(cues: set[tuple[int, int]], kind: int) -> frozenset[int]:
    return frozenset(number for cue, number in cues if cue == kind)


def _matches(folded: str) -> dict[str, set[tuple[int, int]]]:
    """The cues of each language that has any: (kind, number)."""
    table = _table()
    sets: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for match in _START.finditer(folded):
        at = match.start()
        for key in {folded[at : at + 2], folded[at]}:
            for entry in table.get(key, ()):
                if folded.startswith(entry.phrase, at) and not (
                    entry.closed and _goes_on(folded, at + len(entry.phrase))
                ):
                    sets[entry.language].add((entry.kind, entry.number))
    return sets


def _goes_on(folded: str, at: int) -> bool:
    return at < len(folded) and _WORD_CHARACTER.match(folded[at]) is not None


@cache
def _grams(text: str) -> frozenset[str]:
    """Groups of four letters, or of two in a script without spaces, spaces and signs left out."""
    letters = "".join(_WORD_CHARACTER.findall(fold(text)))
    size = 2 if _SPACELESS.search(letters) else 4
    return frozenset(letters[at : at + size] for at in range(len(letters) - size + 1))


def _worded(folded: str, wording: Wording, items: frozenset[int]) -> Iterator[int]:
    if not items:
        return
    letters = "".join(_WORD_CHARACTER.findall(folded))
    for item in items:
        for variant in wording.items[item]:
            grams = _grams(variant)
            held_grams = sum(gram in letters for gram in grams)
            if held_grams >= WORDED * len(grams):
                yield item
                break


def is_bare_answer(text: str, *, alone: bool = False) -> bool:
    """Whether a reply is nothing but an answer: a number from 0 to 3 or words of the scale.

    Args:
        text: what the person said.
        alone: without another word beside it, such as ``2`` and not ``2 I think``.
    """
    if len(text) > LONGEST_BARE:
        return False
    folded = fold(text)
    tokens = re.findall(rf"[{_WORD}]+", folded)
    single = " ".join(tokens)
    if single in answer_words() or single in number_words():
        return True
    if alone or word_count(folded) > SHORT_REPLY + 3:
        return answer_value(text) is not None
    if any(words in folded for words in _long_answers()):
        return True
    if len(tokens) > SHORT_REPLY or word_count(folded) > SHORT_REPLY + 1:
        return False
    numbers = sum(any(map(str.isdigit, token)) for token in tokens)
    if numbers:
        return numbers == 1 and _DIGIT.search(folded) is not None
    return any(token in number_words() for token in tokens[:2])


@cache
def _long_answers() -> tuple[str, ...]:
    """Answers in words that can stand within a reply: of two words, or of three letters."""
    return tuple(words for words in answer_words() if " " in words or _long_unspaced(words))


def _long_unspaced(words: str) -> bool:
    return len(words) >= SHORT_STEM and _SPACELESS.search(words) is not None


@cache
def answer_pattern() -> re.Pattern[str]:
    """Answers of every language in words, as people write them, longest first."""
    spellings = {
        spelling
        for wording in wordings().values()
        for variants in wording.answers
        for words in variants
        for spelling in (words.casefold(), fold(words))
    }
    parts = sorted(spellings, key=lambda words: (-len(words), words))
    spaced = [_escaped(words) for words in parts if not re.search(f"[{_UNSPACED}]", words)]
    unspaced = [_escaped(words) for words in parts if re.search(f"[{_UNSPACED}]", words)]
    words = rf"(?<![{_WORD}])(?:{'|'.join(spaced)})(?![{_WORD}])"
    return re.compile(rf"{words}|{'|'.join(unspaced)}", re.IGNORECASE)


def _escaped(words: str) -> str:
    return r"\s+".join(re.escape(word) for word in words.split())


def may_hold_cues(text: pl.Expr) -> pl.Expr:
    """Whether `cues_of` could name a symptom or announce a scale, or the text be a bare answer.

    A quick search of whole columns: never False where one of them would be true.
    """
    folded = (
        text.str.normalize("NFKC")
        .str.to_lowercase()
        .str.normalize("NFKD")
        .str.replace_all(r"[\u0300-\u036f\u064b-\u065f\u0640]", "")
        .str.normalize("NFC")
        .str.replace_many(
            ["ß", "\u0131", "ł", "ø", "đ", "\u0649", "\u2019"],
            ["ss", "i", "l", "o", "d", "\u064a", "'"],
        )
    )
    bare = (text.str.len_chars() <= LONGEST_BARE) & (
        folded.str.contains(r"[0-3]") | folded.str.contains_any(sorted(number_words()))
    )
    # How often in which period announces a scale too, but only both at once: each is common talk.
    announced = folded.str.contains_any(_phrases_of(OFTEN)) & folded.str.contains_any(
        _phrases_of(PERIOD)
    )
    named = folded.str.contains_any(_phrases_of(ITEM, ANSWER, SCALE, ZERO))
    return named | announced | folded.str.contains(NUMERIC_SCALE) | bare


def _phrases_of(*kinds: int) -> list[str]:
    """The phrases of some kinds of cue, in every language."""
    return sorted({e.phrase for entries in _table().values() for e in entries if e.kind in kinds})
