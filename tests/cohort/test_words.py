"""Words are counted in every script, and by one function."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.cohorts import cohort_of, label_row, turn_rows

from leadline.cohort.inspect import inspect_cohort
from leadline.cohort.timeline import timelines
from leadline.cohort.words import word_count, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b  c", 3),
        ("", 0),
        ("几乎每天", 1 + 2),
        ("นอนไม่หลับ", 1 + 5),
        ("नींद नहीं", 2),
        ("كل يوم", 2),
    ],
)
def test_words(text: str, words: int) -> None:
    assert word_count(text) == words


@given(st.text(st.sampled_from("ab \n.é我最ねカทไل"), max_size=30))
def test_columns_are_counted_as_texts_are(text: str) -> None:
    table = pl.DataFrame({"text": [text]})
    assert table.select(n=words_of("text"))["n"].to_list() == [word_count(text)]


def test_length_and_inspect_count_alike() -> None:
    text = "我最近总是睡不着 心里很难受"
    cohort = cohort_of(turn_rows("p", [("user", 0)]), [label_row("p", 2, 9)])
    cohort = replace(cohort, turns=cohort.turns.with_columns(text=pl.lit(text)))
    counted = [int(person.user_words().sum()) for person in timelines(cohort)]
    spread = inspect_cohort(cohort)["per_person"]["user_words"]
    assert counted == [word_count(text)] == [spread["median"]]
    assert word_count(text) == 2 + 13 // 2
