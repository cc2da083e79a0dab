"""Columns of label tables: used where a name is clear, asked about where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from leadline.errors import LeadlineError
from leadline.phq9.wordings import wordings
from leadline.questionnaires.columns import LabelColumns, label_columns

FILE = Path("l.csv")


def found(
    header: list[str],
    instrument: str = "auto",
    texts: dict[str, str] | None = None,
    **explicit: str,
) -> LabelColumns:
    return label_columns(header, explicit, texts or {}, instrument, FILE)


def test_columns_are_found_by_usual_names() -> None:
    columns = found(["PHQ1", "Date", "Patient_ID", "PHQ9_Total", "notes"])
    assert (columns.person, columns.time, columns.total) == ("Patient_ID", "Date", "PHQ9_Total")
    assert columns.items[0] == "PHQ1"


@pytest.mark.parametrize(
    "name",
    ["phq9_date", "assessment_date", "assessmentDate", "date_created", "createdAt", "completedOn",
     "fecha", "Datum", "effectiveInstant", "issued", "日期", "дата", "phq9_timestamp"],
)  # fmt: skip
def test_what_looks_like_the_date_is_the_time(name: str) -> None:
    assert found(["person_id", name, "total"]).time == name


def test_the_date_of_the_phq_goes_before_others_and_a_date_of_birth_is_none() -> None:
    assert found(["person_id", "date", "phq9_date", "total"]).time == "phq9_date"
    assert found(["person_id", "date_of_birth", "updatedAt", "total"]).time == ""
    with pytest.raises(LeadlineError, match="visit_date, entry_date") as caught:
        found(["person_id", "visit_date", "entry_date", "total"])
    assert "--phq9-column time=NAME" in caught.value.remedy


@pytest.mark.parametrize(
    ("header", "instrument"),
    [
        (["PHQ8_Score"], "phq8"),
        (["phq8_total"], "phq8"),
        (["phq9_total"], "phq9"),
        (["PHQ-9 Total"], "phq9"),
        (["total"], "phq9"),
        (["PHQ_Binary", "PHQ_Score"], "phq8"),  # E-DAIC
        ([f"q{n}" for n in range(1, 9)], "phq8"),
        ([f"q{n}" for n in range(1, 10)], "phq9"),
        (["phq_1", "phq_2"], "phq2"),
        ([f"phq{n}" for n in range(1, 10)], "phq9"),
        (["PHQ8_NoInterest", "PHQ8_Depressed", "PHQ8_Sleep", "PHQ8_Tired", "PHQ8_Appetite",
          "PHQ8_Failure", "PHQ8_Concentrating", "PHQ8_Moving"], "phq8"),
    ],
)  # fmt: skip
def test_the_instrument_goes_by_the_columns(header: list[str], instrument: str) -> None:
    assert found(["Participant_ID", *header]).instrument == instrument


@pytest.mark.parametrize("name", ["PHQ_Score", "phq_total", "PHQ total"])
def test_a_phq_without_a_number_is_asked_about(name: str) -> None:
    with pytest.raises(LeadlineError, match="does not say which PHQ") as caught:
        found(["person_id", name])
    assert "--instrument phq8" in caught.value.remedy
    assert found(["person_id", name], "phq8").instrument == "phq8"


def test_of_several_totals_the_phq9_counts() -> None:
    assert found(["person_id", "phq2_total", "phq9_total", "gad7_total"]).total == "phq9_total"
    with pytest.raises(LeadlineError, match="phq9_total, phq9_sum"):
        found(["person_id", "phq9_total", "phq9_sum"])


@pytest.mark.parametrize("language", sorted(wordings()))
def test_items_are_found_by_their_words_in_every_language(language: str) -> None:
    items = [variants[0] for variants in wordings()[language].items]
    columns = found(["ID", *(f"{n}. {text}" for n, text in enumerate(items, 1))])
    assert [name is not None for name in columns.items] == [True] * 9
    assert columns.items[8] == f"9. {items[8]}"


def test_items_are_found_by_what_a_second_header_row_asks() -> None:
    items = [variants[0] for variants in wordings()["en"].items]
    header = [f"Q12_{n}" for n in range(1, 10)]
    columns = found(["ResponseId", "pid", *header], texts=dict(zip(header, items, strict=True)))
    assert columns.items == tuple(header)


def test_a_long_numbered_questionnaire_is_asked_about() -> None:
    with pytest.raises(LeadlineError, match="numbered up to 20"):
        found(["person_id", *(f"q{n}" for n in range(1, 21))])


@pytest.mark.parametrize(
    ("header", "words"),
    [(["phq9_baseline", "phq9_week4"], "several columns of a PHQ"),
     (["item", "value"], "one answer"), (["age"], "no column for the total")],
)  # fmt: skip
def test_tables_without_a_total_are_told_apart(header: list[str], words: str) -> None:
    with pytest.raises(LeadlineError, match=words):
        found(["person_id", *header])


def test_answers_of_json_lie_deeper() -> None:
    assert found(["person", *(f"answers.q{n}" for n in range(1, 10))]).items[8] == "answers.q9"
    assert found(["person", *(f"answers.{n}" for n in range(1, 10))]).items[8] == "answers.9"
    assert found(["person", "total", *(f"tags.{n}" for n in range(1, 10))]).items == (None,) * 9


def test_one_symptom_is_no_questionnaire() -> None:
    columns = found(["person_id", "sleep", "appetite", "total"])
    assert columns.items == (None,) * 9


@pytest.mark.parametrize("name", ["PHQ-9A total", "phq9_teen_score", "PHQ-9 Modified Total"])
def test_the_questionnaire_for_teens_is_its_own(name: str) -> None:
    with pytest.raises(LeadlineError, match="for teens"):
        found(["person_id", "date", name])
    assert found(["person_id", "date", name], instrument="phq9").total == name


def test_the_phq15_is_another_questionnaire() -> None:
    with pytest.raises(LeadlineError, match="scores of other questionnaires"):
        found(["person_id", "date", "phq15_total"])


@pytest.mark.parametrize("name", ["phq4_total", "PHQ-4 score", "phq_15_sum", "phqads_total"])
def test_scores_of_the_same_family_are_no_phq9(name: str) -> None:
    with pytest.raises(LeadlineError, match="other questionnaires"):
        found(["person_id", "date", name])
    with pytest.raises(LeadlineError, match="for teens"):
        found(["person_id", "date", "phqa_total"])


@pytest.mark.parametrize(
    "pattern", ["PHQ9_Q{}", "item_{}", "phq9_{}", "answers.{}", "response.Q{}"]
)
def test_items_that_are_numbered_from_0(pattern: str) -> None:
    names = [pattern.format(number) for number in range(10)]
    assert found(["person_id", *names[:9]]).items == tuple(names[:9])
    eight = found(["person_id", *names[:8]])
    assert eight.items == (*names[:8], None)
    assert eight.instrument == ("phq9" if "phq9" in pattern.lower() else "phq8")


@pytest.mark.parametrize("pattern", ["PHQ9_Q{}", "item_{}"])
def test_ten_items_from_0_are_asked_about(pattern: str) -> None:
    names = [pattern.format(number) for number in range(10)]  # one of them is another question
    with pytest.raises(LeadlineError, match="numbered from 0"):
        found(["person_id", *names])


@pytest.mark.parametrize("name", ["编号", "ID", "номер", "번호"])
def test_a_bare_identifier_is_the_persons_in_any_language(name: str) -> None:
    assert found([name, "date", "phq9_total"]).person == name
