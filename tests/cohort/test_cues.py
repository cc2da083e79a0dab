"""Cues of a questionnaire in one message: symptoms, frequency, period, scale, own wording."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.cohort.cues import (
    NUMERIC_SCALE,
    answer_pattern,
    cues_of,
    is_bare_answer,
    may_hold_cues,
)
from leadline.phq9.wordings import wordings

LANGUAGES = sorted(wordings())


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_item_is_known_by_its_own_wording_and_its_symptom(language: str) -> None:
    for item, variants in enumerate(wordings()[language].items):
        for text in variants:
            for spelling in (text, text.upper(), f"Frage 3: {text} ..."):
                cues = cues_of(spelling)
                assert item in cues.items, spelling
                assert item in cues.worded, spelling


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_questionnaires_own_question_asks_how_often_in_two_weeks(language: str) -> None:
    for text in wordings()[language].question:
        cues = cues_of(text)
        assert cues.often
        assert cues.period
        assert not cues.worded


@pytest.mark.parametrize("language", LANGUAGES)
def test_three_answers_in_words_are_the_scale(language: str) -> None:
    answers = [variants[0] for variants in wordings()[language].answers]
    assert cues_of(", ".join(answers[1:])).scale
    assert not cues_of(answers[3]).scale


@pytest.mark.parametrize(
    ("text", "scale"),
    [
        ("on a scale from 0 to 3", True),
        ("0-3", True),
        ("0 = never, 1 = some days, 2 = most days, 3 = daily", True),
        ("answer zero, one, two or three", True),
        ("0 to 10", False),
        ("from 0 to 30", False),
        ("0 to 3.5", False),
        ("1 to 3", False),
        ("at 10 to 3", False),
        ("20, 3", False),
        ("one or two or three", False),
    ],
)
def test_a_scale_from_0_to_3_and_no_other(text: str, scale: bool) -> None:
    assert cues_of(text).scale is scale


def test_a_short_stem_is_a_whole_word_and_languages_do_not_add_up() -> None:
    assert cues_of("what fun").items == {0}
    assert not cues_of("functional fundamentals").items
    mixed = cues_of("how often sind die letzten zwei wochen appetit")
    assert not (mixed.often and mixed.period and mixed.items) or mixed.items == {4}
    assert not cues_of("").items


@pytest.mark.parametrize(
    ("text", "bare", "alone"),
    [
        ("2", True, True),
        (" 2. ", True, True),
        ("several days", True, True),
        ("Beinahe jeden Tag!", True, True),
        ("two", True, True),
        ("2 I think", True, False),
        ("maybe 1", True, False),
        ("nearly every day I guess", True, False),
        ("几乎每天吧", True, False),
        ("3 or 4 hours", False, False),
        ("4", False, False),
        ("12", False, False),
        ("2:30", False, False),
        ("I had 2 good nights and then it got bad again", False, False),
        ("hello", False, False),
        ("", False, False),
    ],
)
def test_bare_answers(text: str, bare: bool, alone: bool) -> None:
    assert is_bare_answer(text) is bare
    assert is_bare_answer(text, alone=True) is alone


@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_in_words_are_found_within_a_reply(language: str) -> None:
    for variants in wordings()[language].answers:
        match = answer_pattern().search(f"x {variants[0]} y")
        assert match is not None
        assert match.group(0).casefold() == variants[0].casefold()


PIECES = st.lists(
    st.sampled_from(
        [stem for wording in wordings().values() for stems in wording.symptoms for stem in stems]
        + [words for w in wordings().values() for variants in w.answers for words in variants]
        + [item[0] for wording in wordings().values() for item in wording.items]
        + ["0 to 3", "0-3", "2", "zero", "three", "hello", "ÉNERGIE", "Días", "\u0130\u015fTAH"]
    )
    | st.text(max_size=4),
    max_size=5,
).map(" ".join)


@given(PIECES)
def test_the_quick_search_misses_nothing(text: str) -> None:
    cues = cues_of(text)
    if cues.items or cues.scale or is_bare_answer(text):
        frame = pl.DataFrame({"text": [text]})
        assert frame.select(may_hold_cues(pl.col("text"))).item()


def test_the_scale_is_one_pattern_for_both_searches() -> None:
    texts = ["0 to 3", "0\n3", "0 a 1 b 2 c 3", "10 to 3", "0 to 3%"]
    found = pl.Series(texts).str.contains(NUMERIC_SCALE).to_list()
    assert found == [True, False, True, False, False]
    assert [cues_of(text).scale for text in texts] == found
