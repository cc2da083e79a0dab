"""In which languages people write, and what is said of it."""

from __future__ import annotations

import polars as pl
import pytest

from leadline.cohort.languages import (
    NAMES,
    STRANGE,
    UNKNOWN,
    language_facts,
    language_of,
    language_warnings,
    languages_of,
)
from leadline.phq9.wordings import wordings

SENTENCES = {
    "en": "I could not sleep again and my head was full of it.",
    "de": "Ich konnte wieder nicht schlafen und mir war das alles zu viel.",
    "fr": "Je ne dors pas et c'est trop dur pour moi en ce moment.",
    "es": "No puedo dormir y me siento muy mal, pero no lo digo.",
    "it": "Non riesco a dormire e mi sento sempre più sola, ma non lo dico.",
    "pt": "Eu não consigo dormir e estou muito cansada, mas não digo.",
    "nl": "Ik kan niet slapen en het is zo zwaar, maar ik zeg dat niet.",
    "pl": "Nie mogę spać i jest mi bardzo źle, ale nie mówię, że tak jest.",
    "tr": "Uyuyamıyorum ve çok yorgunum ama bana bir şey yok gibi, bu kadar.",  # noqa: RUF001
    "ru": "Я не могу спать, и мне очень плохо, но у меня нет сил.",  # noqa: RUF001
    "ar": "لا أستطيع النوم و أنا متعب من كل هذا في كل يوم",
    "hi": "मुझे नींद नहीं आती और मन बहुत उदास रहता है",
    "zh": "我最近总是睡不着，心里很难受。",  # noqa: RUF001
    "ja": "最近は眠れなくて、とてもつらいです。",
    "ko": "요즘 잠을 잘 수 없고 너무 힘들어요.",
    "th": "ช่วงนี้นอนไม่หลับและรู้สึกเหนื่อยมาก",
    "sv": "Jag kan inte sova och det är så tungt, men jag säger att det är bra.",
    "uk": "Я не можу спати, і мені дуже погано, але це не все.",  # noqa: RUF001
}


@pytest.mark.parametrize("code", SENTENCES)
def test_sentences(code: str) -> None:
    assert language_of(SENTENCES[code]) == code
    assert code in NAMES


@pytest.mark.parametrize("language", sorted(wordings()))
def test_the_questionnaire_is_in_its_language(language: str) -> None:
    text = " ".join(variants[0] for variants in wordings()[language].items)
    assert language_of(text) == language.split("-")[0]


@pytest.mark.parametrize("text", ["", "ok", "hm :)", "123 456 789 000", "xqzt blorp fnord wibble"])
def test_what_says_nothing_is_not_known(text: str) -> None:
    assert language_of(text) == "und"


def turns(*languages: str) -> pl.DataFrame:
    rows = [(f"p{place}", role, SENTENCES[code] if role == "user" else SENTENCES["en"])
            for place, code in enumerate(languages) for role in ("user", "assistant")]  # fmt: skip
    return pl.DataFrame(rows, schema=["person_id", "role", "text"], orient="row")


def test_people_are_counted_by_what_they_write_themselves() -> None:
    assert languages_of(turns("en", "de", "de", "th")) == {"de": 2, "en": 1, "th": 1}
    assert languages_of(turns().cast({"text": pl.String, "role": pl.String})) == {}


def test_an_english_reader_and_missing_wordings_are_warned_about() -> None:
    facts = language_facts(turns("en", "de", "th"), "minilm")
    assert facts["people"] == {"en": 1, "de": 1, "th": 1}
    reader, blind = facts["warnings"]
    assert "minilm was made for English" in reader
    assert "German (1" in reader
    assert "Thai (1" in reader
    assert "Thai" in blind
    assert "German" not in blind
    assert language_warnings({"en": 99, "de": 1}, "minilm") == []
    assert language_warnings({"de": 5}, "some/multilingual-reader") == []
    assert len(language_warnings({"de": 5})) == 1


STRANGERS = (
    "Siku hizi silali vizuri na sina hamu ya kufanya chochote, hata kazini siwezi kufikiri vizuri.",
    "Nitong mga araw hindi ako makatulog at wala akong ganang gumawa ng kahit ano sa trabaho.",
    "\u0a05\u0a71\u0a1c \u0a15\u0a71\u0a32\u0a4d\u0a39 \u0a2e\u0a48\u0a28\u0a42\u0a70 "
    "\u0a28\u0a40\u0a02\u0a26 \u0a28\u0a39\u0a40\u0a02 \u0a06\u0a09\u0a02\u0a26\u0a40 " * 3,
)


@pytest.mark.parametrize("text", STRANGERS)
def test_a_language_that_is_not_recognised_is_warned_about(text: str) -> None:
    assert language_of(text) == STRANGE
    warnings = language_warnings({STRANGE: 10}, "minilm")
    assert "made for English" in warnings[0]
    assert "no wordings of the questionnaire" in warnings[1]
    assert language_warnings({"en": 100, STRANGE: 1}, "minilm") == []


@pytest.mark.parametrize("text", ["ok fine yes", "", "lol", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15"])
def test_too_little_says_nothing(text: str) -> None:
    assert language_of(text) == UNKNOWN
    assert language_warnings({UNKNOWN: 10}, "minilm") == []
