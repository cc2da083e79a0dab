"""In which languages the people of a cohort write: by script, then by the commonest words.

Nothing is asked but this: are the words those for which a reader and the questionnaire's wordings
were made? So a person's turns are judged together, scripts of one language decide at once, and
languages that share a script are told apart by the share of their commonest words (articles,
pronouns, prepositions). Libraries that judge a single sentence among 75 languages weigh 160 MB
(lingua), or give other answers from run to run (langdetect); neither is needed here.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import polars as pl

from leadline.phq9.wordings import wordings

UNKNOWN = "und"
"""Too little text, or words that two languages share."""

STRANGE = "mis"
"""Enough text, and none of the languages that are known here: ISO 639's code for others."""

ENOUGH_WORDS = 12  # words that a language would show itself in

ENGLISH_READERS = ("minilm", "mpnet", "smollm2")
"""Readers that come with Leadline; both were trained on English text."""

SAMPLE = 3_000  # characters of a person that are looked at

LETTERS = 12  # fewest letters of a person that say anything

SHARE = 0.08  # of the words that have to be a language's commonest

FEW = 3  # commonest words that have to be met

LEAD = 1.2  # how many times those of the next language

TOLD = 0.02  # share of the people above which another language is warned about

NAMES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian",
    "pt": "Portuguese", "nl": "Dutch", "pl": "Polish", "tr": "Turkish", "sv": "Swedish",
    "da": "Danish", "no": "Norwegian", "fi": "Finnish", "cs": "Czech", "ro": "Romanian",
    "hu": "Hungarian", "vi": "Vietnamese", "id": "Indonesian", "ru": "Russian",
    "uk": "Ukrainian", "bg": "Bulgarian", "ar": "Arabic", "fa": "Persian", "ur": "Urdu",
    "hi": "Hindi", "bn": "Bengali", "ta": "Tamil", "te": "Telugu", "zh": "Chinese",
    "ja": "Japanese", "ko": "Korean", "th": "Thai", "he": "Hebrew", "el": "Greek",
    "ka": "Georgian", "hy": "Armenian", "km": "Khmer", "my": "Burmese", "am": "Amharic",
    UNKNOWN: "a language that is not known", STRANGE: "a language that is not recognised",
}  # fmt: skip

SCRIPTS = {
    "ja": "\u3040-\u30ff\u31f0-\u31ff", "ko": "\u1100-\u11ff\uac00-\ud7af",
    "zh": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f",
    "th": "\u0e00-\u0e7f", "he": "\u0590-\u05ff", "el": "\u0370-\u03ff\u1f00-\u1fff",
    "hi": "\u0900-\u097f", "bn": "\u0980-\u09ff", "ta": "\u0b80-\u0bff", "te": "\u0c00-\u0c7f",
    "ka": "\u10a0-\u10ff", "hy": "\u0530-\u058f", "km": "\u1780-\u17ff", "my": "\u1000-\u109f",
    "am": "\u1200-\u137f", "arabic": "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff",
    "cyrillic": "\u0400-\u052f", "latin": "A-Za-z\u00c0-\u024f\u1e00-\u1eff",
}  # fmt: skip

IN_SCRIPT = {name: re.compile(f"[{letters}]") for name, letters in SCRIPTS.items()}

WORDS_FILE = "common_words.json"

WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")


OTHER_LETTER = re.compile(r"[^\W\d_]")


@cache
def common_words() -> dict[str, dict[str, frozenset[str]]]:
    """Script -> language -> its commonest words; scripts of one language have none."""
    text = files(__package__).joinpath(WORDS_FILE).read_text(encoding="utf-8")
    return {script: {code: frozenset(line.split()) for code, line in group.items()}
            for script, group in json.loads(text).items()}  # fmt: skip


def language_of(text: str) -> str:
    """The language of what a person wrote, as a code of two letters.

    ``und`` if it is not clear, ``mis`` if there is enough text and it is none that is known here.

    >>> language_of("I could not sleep and my head was so full of it.")
    'en'
    """
    text = unicodedata.normalize("NFKC", text[:SAMPLE]).lower()
    counts = {name: len(pattern.findall(text)) for name, pattern in IN_SCRIPT.items()}
    if sum(counts.values()) < LETTERS and not any(counts[name] >= FEW for name in ("zh", "ja")):
        return STRANGE if len(OTHER_LETTER.findall(text)) > 2 * LETTERS else UNKNOWN
    script = max(counts, key=lambda name: counts[name])
    if script == "zh" and counts["ja"] * 10 > counts["zh"]:
        script = "ja"
    return script if script not in common_words() else _by_words(text, script)


def _by_words(text: str, script: str) -> str:
    words = [word.replace("\u2019", "'") for word in WORD.findall(text)]
    hits = Counter(
        {code: sum(word in common for word in words)
         for code, common in common_words()[script].items()}
    )  # fmt: skip
    (best, count), (_, second) = hits.most_common(2)
    enough = count >= min(FEW, max(1, len(words) // 4)) and count >= SHARE * len(words)
    if not enough and len(words) >= ENOUGH_WORDS:
        return STRANGE
    return best if enough and count >= LEAD * second else UNKNOWN


def languages_of(turns: pl.DataFrame) -> dict[str, int]:
    """Language -> people who write in it, the most frequent first.

    Args:
        turns: a cohort's table of turns; those of users are looked at.
    """
    texts = (
        turns.lazy()
        .filter(pl.col("role") == "user")
        .group_by("person_id")
        .agg(pl.col("text").head(50).str.join(" "))
        .select(pl.col("text").str.slice(0, SAMPLE))
        .collect()["text"]
    )
    counts = Counter(map(language_of, texts))
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def language_names(counts: Mapping[str, int]) -> str:
    """Languages and people in words: ``English (590 people), German (10)``."""
    pairs = [f"{NAMES.get(code, code)} ({count:,}{'' if place else ' people'})"
             for place, (code, count) in enumerate(counts.items())]  # fmt: skip
    return ", ".join(pairs) or "none"


def language_warnings(counts: Mapping[str, int], readers: str = "") -> list[str]:
    """What to know of the languages of a cohort.

    Args:
        counts: as `languages_of` gives them.
        readers: those of a run, joined by ``+``; "" if none is chosen yet.
    """
    people = sum(counts.values())
    with_wordings = {code.split("-")[0] for code in wordings()}
    others = {code: n for code, n in counts.items()
              if code not in ("en", UNKNOWN) and n > TOLD * people}  # fmt: skip
    warnings = []
    english = [name for name in readers.split("+") if name in ENGLISH_READERS]
    if others and (english or not readers):
        which = " and ".join(english or ENGLISH_READERS)
        warnings.append(
            f"{which} {'was' if len(english) == 1 else 'were'} made for English; here is "
            f"{language_names(others)}. docs/readers.md names readers of many languages."
        )
    blind = {code: n for code, n in counts.items() if code not in (*with_wordings, UNKNOWN)
             and (code != STRANGE or n > TOLD * people)}  # fmt: skip
    if blind:
        warnings.append(
            f"There are no wordings of the questionnaire for {language_names(blind)}: a PHQ-9 that "
            "was given in the chat is not found there."
        )
    return warnings


def language_facts(turns: pl.DataFrame, readers: str = "") -> dict[str, Any]:
    """Languages of a cohort and what to know of them, as plain data."""
    counts = languages_of(turns)
    return {"people": counts, "warnings": language_warnings(counts, readers)}
