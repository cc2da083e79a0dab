"""What names look like, in any writing and several languages."""

from __future__ import annotations

import pytest

from leadline.sources.names import instrument_of, item_number, looks_like, normal, say, usual_place


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "time") for name in ("createdAt", "date_created", "CreatedDate", "phq9_date",
          "assessmentDate", "effectiveInstant", "issued", "recordedAt",
          "Timestamp", "fecha", "Datum", "日期")),
        *((name, "other time") for name in ("updatedAt", "date_of_birth", "DOB", "deleted_at",
          "start_time", "EndDate", "last_seen_at")),
        *((name, "person") for name in ("userId", "user_id", "Participant ID", "patientUUID",
          "hashed_ip", "mrn", "患者")),
        *((name, "score") for name in ("PHQ8_Score", "PHQ_Score", "phq_total", "Gesamtwert", "总分",
          "phq9")),
        *((name, "item") for name in ("q1", "phq9_1", "PHQ9Q1", "item_9", "PHQ.10", "phq1")),
        *((name, "role") for name in ("senderType", "speaker_label", "Rolle")),
        *((name, None) for name in ("site", "message_id", "title", "model", "SC0", "7")),
    ],
)  # fmt: skip
def test_what_names_look_like(name: str, kind: str | None) -> None:
    assert looks_like(name) == kind
    assert bool(say(name)) == (kind is not None)


def test_one_name_in_many_writings() -> None:
    names = ["createdAt", "created_at", "CREATED_AT", "Created At", "created-at", "CreatedAt"]
    assert {normal(name) for name in names} == {"created_at"}
    assert {usual_place(name, ("time", "created_at")) for name in names} == {1}
    assert usual_place("userid", ("user_id",)) == 0


@pytest.mark.parametrize(
    ("name", "instrument", "number"),
    [("PHQ-9 total", "phq9", None), ("PHQ8_Sleep", "phq8", None), ("phq_8total", "phq8", None),
     ("PHQ_Score", "phq", None), ("phq15_total", None, None), ("gad7_total", None, None),
     ("PHQ.9", "phq", 9), ("phq9_9", "phq9", 9), ("phq9_item_10", "phq9", 10),
     ("total", None, None)],
)  # fmt: skip
def test_instruments_and_items_by_name(
    name: str, instrument: str | None, number: int | None
) -> None:
    assert instrument_of(name) == instrument
    assert item_number(name) == number
