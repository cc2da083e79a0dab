"""Which item a text asks and what an answer is worth, however both are written.

Items are known by the official wordings of the PHQ-9's translations, by their beginning, or by the
stems of their symptom (`phq9/wordings`). One text alone is not enough to say that a table holds a
PHQ-9: a set of names counts only if nearly all items are among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from leadline.phq9.items import ITEM_COLUMNS
from leadline.phq9.wordings import answer_value, fold, wordings
from leadline.sources.names import item_number, words

MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", ".", "[not completed]", "-", "--",
                     "no answer", "prefer not to answer", "prefer not to say", "not answered",
                     "keine angabe", "refused", "missing"))  # fmt: skip

ENOUGH = 8  # items that have to be among some names, so that the names are a PHQ's

SHORT = 12  # letters of which the beginning of an official wording has to have

FURTHER = {
    5: ("about self", "about yourself", "feeling bad", "failure", "selfworth", "self worth"),
    7: ("psychomotor", "moving", "speaking"),
    8: ("suicid", "self harm", "selfharm", "better off dead", "hurting self"),
    0: ("anhedonia", "little interest"),
}  # fmt: skip
"""Names that programs give to items (linkIds, columns), beside the stems of the questionnaire."""

NUMBERING = re.compile(r"^\W*(?:phq[ -]?[89]?\b[\W_]*)?(?:(?:item|q|question)?\W*\d{1,2}\b[\W_]*)?")

LIST_ENTRY = re.compile(r"^(.*(?:answers|items|responses|phq|scores)[^.]*)\.(\d+)$", re.IGNORECASE)

SERIES_ENTRY = re.compile(
    r"^(?=.*\d$)(.*phq[-_ ]?[89]?(?:[^0-9]*?))[-_. ]?0?(\d{1,2})$", re.IGNORECASE
)

LETTER_ENTRY = re.compile(r"^(.*phq[-_ ]?[89]?(?:[-_. ]?1)?)[-_. ]?([a-j])$", re.IGNORECASE)

LIMESURVEY_ENTRY = re.compile(r"^(.*phq[^\[]*)\[SQ0*(\d{1,2})\]$", re.IGNORECASE)

NHANES_ENTRY = re.compile(r"^(dpq)0([1-9])0$", re.IGNORECASE)

ENTRIES = (LIST_ENTRY, SERIES_ENTRY, LIMESURVEY_ENTRY, NHANES_ENTRY)

OUT_OF = re.compile(r"^\s*(\d{1,2}(?:[.,]\d+)?)\s*(?:/\s*(?:27|24|6)\s*)?$")  # 14 / 27, or 14,5

ZEROTH = re.compile(r"(?<!\d)0+$")

SERIES_NAME = re.compile(r"^phq[ _.-]?([289])$", re.IGNORECASE)

NUMBERED_WORDS = re.compile(r"^\s*([1-4])\s*[-=:.)\u2013\u2014]\s*(\D+)$")  # 1 - Not at all

TOTAL_WORDS = ("total", "score", "sum")


def number(value: Any, missing: Sequence[str] = ()) -> Any:
    """A number from text; None where it is missing; anything else unchanged, to be refused.

    Args:
        value: a cell.
        missing: numbers that mean no answer, such as ``-9``.
    """
    if isinstance(value, str):
        if value.strip().lower() in MISSING:
            return None
        match = OUT_OF.match(value)
        try:
            value = float(match[1].replace(",", ".") if match else value)
        except ValueError:
            return value
    if missing and isinstance(value, int | float) and value in {float(text) for text in missing}:
        return None
    return value


def answer(value: Any, missing: Sequence[str] = ()) -> Any:
    """The number of an answer, given as digits or in words of any language of the questionnaire."""
    value = number(value, missing)
    if isinstance(value, str):
        worth = answer_value(value)
        if worth is None:
            worth = _words_behind_number(value)
        return value if worth is None else worth
    return value


def _words_behind_number(value: str) -> int | None:
    """What an answer is worth by its words, where the number before them counts from 1."""
    match = NUMBERED_WORDS.match(value)
    worth = answer_value(match[2]) if match else None
    return worth if match and worth is not None and int(match[1]) == worth + 1 else None


@cache
def _official() -> dict[str, int]:
    return {
        _bare(text): place
        for wording in wordings().values()
        for place, variants in enumerate(wording.items)
        for text in variants
    }


def _bare(text: str) -> str:
    return " ".join(re.sub(r"[^\w]+", " ", fold(text)).split())


@cache
def _stems() -> list[tuple[str, int]]:
    stems = [
        (stem, place)
        for wording in wordings().values()
        for place, variants in enumerate(wording.symptoms)
        for stem in variants
        if len(stem) > 3 or not stem.isascii()
    ]
    return stems + [(stem, place) for place, texts in FURTHER.items() for stem in texts]


def official_item(text: str) -> int | None:
    """The place 0-8 of the item that a text asks in its official words, or in their beginning."""
    bare = _bare(NUMBERING.sub("", fold(text)))
    if not bare:
        return None
    for candidate in (bare, bare.split(" in the last ")[0]):
        if candidate in _official():
            return _official()[candidate]
    hits = {
        place
        for words_of_item, place in _official().items()
        if (len(bare) >= SHORT and words_of_item.startswith(bare))
        or (len(words_of_item) >= SHORT and words_of_item in bare)
    }
    return hits.pop() if len(hits) == 1 else None


def likely_item(text: str) -> int | None:
    """The place 0-8 of the item whose symptom a name says, and no other's."""
    spaced = " ".join(words(text))
    folded = f" {_bare(text)} {spaced} {spaced.replace(' ', '')}"
    hits = {place for stem, place in _stems() if _has_stem(folded, stem)}
    return hits.pop() if len(hits) == 1 else None


def _has_stem(text: str, stem: str) -> bool:
    return f" {stem}" in text if stem.isascii() else stem in text


def items_of(names: Iterable[str], texts: Mapping[str, str] | None = None) -> dict[int, str]:
    """Item place 0-8 -> name, for names that are numbered, or that ask the items in words.

    Args:
        names: columns or linkIds.
        texts: what is asked under a name, where the source says so.

    Returns:
        What is certain: numbered names as they are; worded ones only if nearly all items are there.
    """
    names = list(names)
    lists = _lists(names)
    if lists:
        return lists
    if any(map(is_zeroth, names)):
        return from_zeroth(names)
    numbered: dict[int, str] = {}
    twice: set[int] = set()
    for name in names:
        place = item_number(name) or item_number(name.rsplit(".", 1)[-1])
        if place is None or place > 9:
            continue
        if place - 1 in numbered:
            twice.add(place - 1)
        numbered.setdefault(place - 1, name)
    if set(numbered) >= {0, 2, 3, 4, 5, 6}:  # then phq2, phq8 and phq9 are items and no totals
        for name in names:
            match = SERIES_NAME.match(name.strip())
            if match and int(match[1]) - 1 not in numbered:
                numbered[int(match[1]) - 1] = name
    if numbered and not twice:
        return numbered
    worded = _worded(names, texts or {})
    return worded if len(worded) >= ENOUGH else ({} if twice else numbered)


def is_zeroth(name: str) -> bool:
    """Whether a name is the first of a series that is numbered from 0: ``item_0``, ``PHQ9_Q0``."""
    bare = name.rsplit(".", 1)[-1]
    return ZEROTH.search(bare) is not None and item_number(ZEROTH.sub("1", bare)) == 1


def from_zeroth(names: Sequence[str]) -> dict[int, str]:
    """Items that are numbered from 0, if they are eight or nine; a tenth may be any question."""
    numbered: dict[int, list[str]] = {}
    for name in names:
        place = 0 if is_zeroth(name) else item_number(name) or item_number(name.rsplit(".", 1)[-1])
        if place is not None:
            numbered.setdefault(place, []).append(name)
    is_series = set(numbered) in (set(range(8)), set(range(9)))
    if not is_series or any(len(group) > 1 for group in numbered.values()):
        return {}
    return {place: group[0] for place, group in sorted(numbered.items())}


def _lists(names: Sequence[str]) -> dict[int, str]:
    """The nine (or eight) entries of one list of answers: ``answers.1``, ``baseline_phq9_01``,
    ``phq9a``, ``DPQ010`` of NHANES ...

    A tenth, the question of difficulty, is no item.
    """
    groups: dict[str, dict[int, str]] = {}
    for name in names:
        match = next((match for pattern in ENTRIES if (match := pattern.match(name))), None)
        letter = None if match else LETTER_ENTRY.match(name)
        if match:
            groups.setdefault(match[1].lower(), {})[int(match[2]) - 1] = name
        elif letter:
            place = ord(letter[2].lower()) - ord("a")
            groups.setdefault(f"{letter[1].lower()} a", {})[place] = name
    groups = {
        name: {place + 1: entry for place, entry in group.items()}
        if set(group) in (set(range(-1, 7)), set(range(-1, 8)))  # numbered from 0
        else group
        for name, group in groups.items()
    }
    nine, ten = set(range(9)), set(range(10))
    full = [group for group in groups.values() if set(group) in (set(range(8)), nine, ten)]
    if len(full) != 1:
        return {}
    return {place: name for place, name in sorted(full[0].items()) if place < len(ITEM_COLUMNS)}


def _worded(names: Sequence[str], texts: Mapping[str, str]) -> dict[int, str]:
    by_item: dict[int, list[str]] = {}
    for finder in (official_item, likely_item):
        round_items: dict[int, list[str]] = {}
        for name in names:
            place = finder(texts.get(name, "")) if texts.get(name) else None
            place = finder(name) if place is None else place
            if place is not None and place not in by_item:
                round_items.setdefault(place, []).append(name)
        used_names = {name for group in by_item.values() for name in group}
        for place, group in round_items.items():
            free = [name for name in group if name not in used_names]
            if len(free) == 1:
                by_item[place] = free
    return {place: group[0] for place, group in by_item.items()}


def is_total(name: str) -> bool:
    """Whether a name says that it is a total."""
    return any(word.startswith(TOTAL_WORDS) for word in words(name))
