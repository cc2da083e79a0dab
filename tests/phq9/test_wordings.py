"""The wordings of the PHQ-9: complete, unambiguous, and read back by their answers."""

from __future__ import annotations

import pytest

from leadline.phq9.wordings import (
    Wording,
    answer_value,
    answer_words,
    fold,
    number_words,
    wordings,
)

LANGUAGES = sorted(wordings())


def test_the_languages_that_the_documents_name() -> None:
    assert LANGUAGES == [
        "ar", "de", "en", "es", "fr", "hi", "it", "ja", "nl", "pl", "pt", "ru", "tr",
        "zh-Hans", "zh-Hant",
    ]  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_nine_items_and_four_answers(language: str) -> None:
    wording: Wording = wordings()[language]
    assert (len(wording.items), len(wording.symptoms)) == (9, 9)
    assert (len(wording.answers), len(wording.numbers)) == (4, 4)
    assert all((*wording.items, *wording.answers, *wording.symptoms))
    assert wording.question
    assert wording.often
    assert wording.period


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_item_is_worded_as_another(language: str) -> None:
    texts = [fold(text) for variants in wordings()[language].items for text in variants]
    assert len(set(texts)) == len(texts)


def test_no_answer_and_no_number_has_two_values() -> None:
    for table in (
        [
            (fold(w), v)
            for x in wordings().values()
            for v, many in enumerate(x.answers)
            for w in many
        ],
        [(fold(w), v) for x in wordings().values() for v, w in enumerate(x.numbers)],
    ):
        assert len({word for word, _ in table}) == len(set(table))
    assert set(answer_words().values()) == set(number_words().values()) == {0, 1, 2, 3}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_answers_of_each_language_are_read(language: str) -> None:
    for value, variants in enumerate(wordings()[language].answers):
        for words in variants:
            assert answer_value(words) == value
            assert answer_value(f"  {words.upper()}. ") == value
            assert answer_value(f"{value} = {words}") == value
            assert answer_value(f"{words} ({value})") == value
            assert answer_value(f"{words} ({(value + 1) % 4})") is None


@pytest.mark.parametrize("text", ["", "often", "4", "12", "1,2", "-1", "1.5", "not", "2 weeks"])
def test_what_is_no_answer(text: str) -> None:
    assert answer_value(text) is None


def test_folding() -> None:
    assert fold("Überhaupt\u2019s NICHT") == "uberhaupt's nicht"
    assert fold("\u0130\u015ftahs\u0131zl\u0131k") == "istahsizlik"
    assert fold("几天") == "几天"
    assert fold("\uff17") == "7"
    assert fold("テレビ") == "テレビ"
    assert fold("हैं") == "हैं"
