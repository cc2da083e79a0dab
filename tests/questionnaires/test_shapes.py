"""Label tables with several visits a row, one row an answer, or several questionnaires."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from leadline.errors import LeadlineError
from leadline.questionnaires.labels import table_labels
from leadline.questionnaires.shapes import visits_of
from leadline.sources.config import ImportConfig
from leadline.sources.label import Label
from leadline.sources.rejects import RejectedRows

ANSWERS = "".join(f"p1,2024-05-03,{number},1\n" for number in range(1, 10))


def labels_of(folder: Path, text: str, ledger: RejectedRows | None = None) -> list[Label]:
    path = folder / "l.csv"
    path.write_text(text, encoding="utf-8")
    return list(table_labels(path, ImportConfig(), ledger or RejectedRows()))


def brief(labels: list[Label]) -> list[tuple[str, Any, Any]]:
    return [(label.person, label.time, label.total) for label in labels]


@pytest.mark.parametrize(
    "header",
    [
        "id,date_baseline,phq9_total_baseline,date_week4,phq9_total_week4",
        "id,t0_date,t0_phq9,t1_date,t1_phq9",
        "id,datePre,phq9Pre,datePost,phq9Post",
        "id,Date_Week_0,PHQ9_Week_0,Date_Week_4,PHQ9_Week_4",
        "id,visit1_date,visit1_phq9_total,visit2_date,visit2_phq9_total",
        "id,date_1,phq9_total_1,date_2,phq9_total_2",
        "id,dateBaseline,phq9Baseline,dateFollowUp,phq9FollowUp",
    ],
)
def test_each_visit_of_a_row_is_an_administration(tmp_path: Path, header: str) -> None:
    ledger = RejectedRows()
    rows = "p1,2024-05-03,14,2024-06-01,10\np2,2024-05-04,3,,\n"
    labels = labels_of(tmp_path, f"{header}\n{rows}", ledger)
    assert sorted(brief(labels)) == [
        ("p1", "2024-05-03", 14), ("p1", "2024-06-01", 10), ("p2", "2024-05-04", 3),
    ]  # fmt: skip
    assert {row["taken_for"] for row in ledger.uses.table()} >= {"person"}
    assert all(row["taken_for"] for row in ledger.uses.table())


def test_items_of_each_visit(tmp_path: Path) -> None:
    items = [f"phq9_{item}_t{visit}" for visit in (0, 1) for item in range(1, 10)]
    header = ",".join(["id", *items, "date_t0", "date_t1"])
    row = ",".join(["p1", *"111111111", *"222222222", "2024-05-03", "2024-06-01"])
    labels = labels_of(tmp_path, f"{header}\n{row}\n")
    assert [label.items for label in labels] == [(1,) * 9, (2,) * 9]
    assert [label.time for label in labels] == ["2024-05-03", "2024-06-01"]


@pytest.mark.parametrize(
    "header", ["id,phq9_t0,phq9_t1", "id,date,phq9_pre,phq9_post", "id,d_x,PHQ9_day1,PHQ9_day2"]
)
def test_visits_without_dates_are_asked_about(tmp_path: Path, header: str) -> None:
    row = ",".join(["p1", "2024-05-03", "14", "10"][: len(header.split(","))])
    with pytest.raises(LeadlineError, match="date of") as refused:
        labels_of(tmp_path, f"{header}\n{row}\n")
    assert "--phq9-column total=" in str(refused.value)


@pytest.mark.parametrize(
    "header",
    ["id,date,phq9_total,gad7_total", "id,phq9_baseline,gad7_week4", "id,phq9_1,phq9_2,phq9_3"],
)
def test_one_visit_is_none(header: str) -> None:
    assert visits_of(header.split(",")) == {}


@pytest.mark.parametrize("answer", ["answer", "score", "value"])
def test_one_row_an_answer(tmp_path: Path, answer: str) -> None:
    later = ANSWERS.replace("05-03", "06-03").replace(",1\n", ",2\n")
    labels = labels_of(tmp_path, f"person,date,item,{answer}\n{ANSWERS}{later}")
    assert [(label.time, label.items) for label in labels] == [
        ("2024-05-03", (1,) * 9), ("2024-06-03", (2,) * 9),
    ]  # fmt: skip


def test_fields_of_redcap_beside_the_answers_are_columns(tmp_path: Path) -> None:
    fields = "".join(f"p1,first,phq9_{item},1\n" for item in range(1, 10))
    text = f"record,redcap_event_name,field_name,value\n{fields}p1,first,phq9_date,2024-05-03\n"
    assert labels_of(tmp_path, text)[0][2:6] == ("p1", "2024-05-03", None, (1,) * 9)


def test_answers_that_cannot_be_put_together_are_refused(tmp_path: Path) -> None:
    scattered = "".join(f"p1,2024-05-03T10:00:0{n}Z,{n},1\n" for n in range(1, 10))
    with pytest.raises(LeadlineError, match="cannot be told"):
        labels_of(tmp_path, f"person,time,item,answer\n{scattered}")
    with pytest.raises(LeadlineError, match="answered twice"):
        labels_of(tmp_path, f"person,date,item,answer\n{ANSWERS}p1,2024-05-03,1,2\n")


def test_rows_of_other_questionnaires_are_left_out(tmp_path: Path) -> None:
    ledger = RejectedRows()
    text = (
        "pid,date,measure,score\np1,2024-05-03,Patient Health Questionnaire (PHQ-9),14\n"
        "p1,2024-05-04,GAD-7,11\np2,2024-05-04,PHQ-8,12\n"
    )
    labels = labels_of(tmp_path, text, ledger)
    assert [(label.person, label.total, label.instrument) for label in labels] == [
        ("p1", 14, "phq9"), ("p2", 12, "phq8"),
    ]  # fmt: skip
    assert ledger.notes == {"rows of other questionnaires than the PHQ, left out": 1}
    with pytest.raises(LeadlineError, match="none of them is a PHQ"):
        labels_of(tmp_path, "pid,date,measure,score\np1,2024-05-03,BDI,14\np1,2024-05-04,GAD,1\n")


def test_results_that_are_named_in_another_column(tmp_path: Path) -> None:
    flowsheet = (
        "PAT_ID,FLO_MEAS_NAME,MEAS_VALUE,RECORDED_TIME\n"
        "p1,PHQ-9 TOTAL SCORE,14,2024-05-03\np1,PULSE,80,2024-05-03\n"
    )
    assert brief(labels_of(tmp_path, flowsheet)) == [("p1", "2024-05-03", 14)]
    variables = "subject,date,variable,value\np1,2024-05-03,phq9_total,14\np1,2024-05-03,age,33\n"
    assert brief(labels_of(tmp_path, variables)) == [("p1", "2024-05-03", 14)]
    measurements = (
        "person_id,measurement_date,value_as_number,measurement_source_value,value_source_value\n"
        "p1,2024-05-03,14,44261-6,14\np1,2024-05-03,120,8480-6,120\n"
    )
    assert brief(labels_of(tmp_path, measurements)) == [("p1", "2024-05-03", 14)]


def test_results_of_two_instruments_keep_their_names(tmp_path: Path) -> None:
    text = "pid,date,test,value\np1,2024-05-03,PHQ-9,14\np1,2024-06-03,PHQ-2,3\n"
    assert [(label.total, label.instrument) for label in labels_of(tmp_path, text)] == [
        (14, "phq9"), (3, "phq2")
    ]  # fmt: skip


def test_the_tabulation_of_clinical_trials(tmp_path: Path) -> None:
    rows = "".join(
        f"p1,PHQ01{number:02},PHQ-9,Several days,1,BASELINE,2024-05-03\n" for number in range(1, 11)
    )
    header = "USUBJID,QSTESTCD,QSCAT,QSORRES,QSSTRESN,VISIT,QSDTC\n"
    (label,) = labels_of(tmp_path, f"{header}{rows}p1,PHQ0111,PHQ-9,9,9,BASELINE,2024-05-03\n")
    assert (label.items, label.total, label.time) == ((1,) * 9, 9, "2024-05-03")


@pytest.mark.parametrize("first", [0, 1])
def test_answers_beside_their_questions_and_a_total(tmp_path: Path, first: int) -> None:
    rows = "".join(f"p1,2024-05-03,17,{first + place},{value}\n"
                   for place, value in enumerate([3, 2, 2, 2, 2, 2, 2, 1, 1]))  # fmt: skip
    (label,) = labels_of(tmp_path, f"pid,date,score,questionIndex,value\n{rows}")
    assert label.items == (3, 2, 2, 2, 2, 2, 2, 1, 1)
    assert label.total == 17


def test_remarks_that_mention_the_questionnaire_name_no_rows(tmp_path: Path) -> None:
    text = "pid,date,phq9_total,notes\np1,2024-05-03,14,PHQ-9 by phone\np2,2024-05-03,3,well\n"
    assert [label.total for label in labels_of(tmp_path, text)] == [14, 3]
