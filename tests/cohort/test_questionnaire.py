"""Questionnaires in what is about to be read: counted, and a reason to stop."""

from __future__ import annotations

import polars as pl
import pytest
from tests.support.cohorts import cohort_of, day, label_row

from leadline.cohort.config import WindowConfig
from leadline.cohort.questionnaire import (
    check_questionnaires,
    count_questionnaires,
    readings_of,
)
from leadline.cohort.store import Cohort
from leadline.errors import LeadlineError

ITEM = "Over the last two weeks, how often have you been bothered by poor appetite or overeating?"
WINDOW = WindowConfig()


def people(*, asked_on: float = 11.0) -> Cohort:
    """Two people with a PHQ-9 on day 12; the second was asked an item; a third has no PHQ-9."""
    turns = []
    for name in ("a", "b", "c"):
        turns += [(name, "c", 0, "user", "hello", day(10)), (name, "c", 1, "user", "fine", day(11))]
    asked = [
        ("b", "d", 0, "assistant", ITEM, day(asked_on)),
        ("b", "d", 1, "user", "2", day(asked_on)),
    ]
    turns = turns[:4] + asked + turns[4:]
    return cohort_of(turns, [label_row("a", 12, 5), label_row("b", 12, 9)])


def test_what_is_counted() -> None:
    cohort = people()
    counts = count_questionnaires(cohort, readings_of(cohort, WINDOW, "labelled"))
    assert (counts.people, counts.people_read, counts.turns, counts.turns_read) == (1, 2, 2, 6)
    assert counts.reasons == {"asked items": 1, "answered items": 1}
    assert counts.labels.rows() == [(1, 2)]
    assert counts.first_row == 5
    assert counts.words() == (
        "1 of 2 people (50%), 2 of 6 turns (33%; 1 asked items, 1 answered items)"
    )


def test_a_questionnaire_after_the_reading_is_not_read() -> None:
    cohort = people(asked_on=13.0)
    readings = readings_of(cohort, WINDOW, "labelled")
    assert count_questionnaires(cohort, readings).turns == 0
    check_questionnaires(cohort, WINDOW, readings)


def test_a_questionnaire_before_the_window_is_read_by_readers_of_context_alone() -> None:
    cohort = people()
    readings = readings_of(cohort, WindowConfig(days=0.5), "labelled")
    assert readings.height == 0, "the last turn is a day old"
    later = pl.DataFrame(
        {"person_id": ["b"], "label": [1], "first": [3], "last": [3]},
        schema={"person_id": pl.String, "label": pl.Int64, "first": pl.Int32, "last": pl.Int32},
    )
    cohort = cohort_of(
        [*cohort.turns.filter(person_id="b").rows(), ("b", "e", 0, "user", "later", day(12))],
        [label_row("b", 12, 9)],
    )
    assert count_questionnaires(cohort, later).turns == 2
    assert count_questionnaires(cohort, later, context=False).turns == 0


def test_stopping_and_the_two_ways_on() -> None:
    cohort = people()
    readings = readings_of(cohort, WINDOW)
    with pytest.raises(LeadlineError, match="1 of 3 people") as caught:
        check_questionnaires(cohort, WINDOW, readings)
    assert "--mask-questionnaire" in caught.value.remedy
    assert "--keep-questionnaire" in caught.value.remedy
    assert caught.value.row == 5
    assert "appetite" not in str(caught.value)
    arms = {}
    for way in ("mask_questionnaire", "keep_questionnaire"):
        window = WindowConfig(**{way: True})
        arms[way] = check_questionnaires(cohort, window, readings).facts(window)["arm"]
    assert arms == {"mask_questionnaire": "masked", "keep_questionnaire": "kept"}


@pytest.mark.parametrize(
    ("who", "names"), [("labelled", "ab"), ("unlabelled", "c"), ("all", "abc")]
)
def test_whose_readings_there_are(who: str, names: str) -> None:
    readings = readings_of(people(), WINDOW, who)
    assert "".join(readings["person_id"]) == names
    nulls = {"labelled": 0, "unlabelled": 1, "all": 1}
    assert readings["label"].null_count() == nulls[who]


def test_nobody_was_asked() -> None:
    cohort = people(asked_on=13.0)
    counts = check_questionnaires(cohort, WINDOW, readings_of(cohort, WINDOW, "labelled"))
    facts = counts.facts(WINDOW)
    assert (facts["arm"], facts["asked_labels"], facts["turns"]) == ("none found", [], 0)
