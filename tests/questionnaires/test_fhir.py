"""PHQ-9s in FHIR resources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.imports import TWO_TURNS, import_beside, import_cohort, write_source

from leadline.errors import LeadlineError
from leadline.phq9.items import LOINC_ANSWERS, LOINC_ITEMS
from leadline.questionnaires.fhir import fhir_labels
from leadline.questionnaires.labels import label_table
from leadline.sources.config import ImportConfig
from leadline.sources.label import Label
from leadline.sources.rejects import RejectedRows


def answer(code: str, value: Any) -> dict[str, Any]:
    return {"linkId": f"/{code}", "answer": [value]}


def test_fhir_bundle(tmp_path: Path) -> None:
    codes = ("44250-9", "44255-8", "44259-0", "44254-1", "44251-7", "44258-2", "44252-5",
             "44253-3", "44260-8")  # fmt: skip
    options = ("LA6568-5", "LA6569-3", "LA6570-1", "LA6571-9")
    items = [
        answer(code, {"valueCoding": {"code": options[n % 4]}}) for n, code in enumerate(codes)
    ]
    response = {
        "resourceType": "QuestionnaireResponse", "status": "completed",
        "subject": {"reference": "https://x/Patient/p1/_history/2"},
        "authored": "2024-05-01T10:00:00Z",
        "item": [{"linkId": "44249-1", "item": items},
                 answer("44261-6", {"valueInteger": 12})],
    }  # fmt: skip
    total = {
        "resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/p2"},
        "effectiveDateTime": "2024-05-01T10:00:00Z", "valueQuantity": {"value": 7},
        "code": {"coding": [{"system": "http://loinc.org", "code": "44261-6"}]},
    }  # fmt: skip
    wrong = {**total, "status": "entered-in-error", "valueQuantity": {"value": 27}}
    patient = {"resourceType": "Patient", "id": "p1"}
    resources = [{"resource": resource} for resource in (patient, response, wrong, total)]
    bundle = write_source(tmp_path, "b.json", {"resourceType": "Bundle", "entry": resources})
    source = write_source(tmp_path, "t.csv", TWO_TURNS)
    cohort = import_beside(source, phq9=bundle)
    assert cohort.phq9.select("person_id", "total", "item_2", "item_9").rows() == [
        ("p1", 12.0, 1, 0), ("p2", 7.0, None, None)
    ]  # fmt: skip
    lines = write_source(tmp_path, "b.ndjson", "\n".join(map(json.dumps, (response, total))))
    again = import_cohort(source, ImportConfig(phq9=lines), tmp_path / "second")
    assert again.phq9.equals(cohort.phq9)
    twice = write_source(tmp_path, "c.json", [total, {**total, "valueQuantity": {"value": 8}}])
    with pytest.raises(LeadlineError, match="contradict"):
        import_cohort(source, ImportConfig(phq9=twice), tmp_path / "third")


def test_fhir_item_observations_are_one_label(tmp_path: Path) -> None:
    codes = ("44250-9", "44255-8")
    observations = [
        {"resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/p1"},
         "effectiveDateTime": "2024-05-01T10:00:00Z", "code": {"coding": [{"code": code}]},
         "valueCodeableConcept": {"coding": [{"code": "LA6571-9"}]}}
        for code in codes
    ]  # fmt: skip
    labels = write_source(tmp_path, "o.json", observations)
    cohort = import_beside(write_source(tmp_path, "t.csv", TWO_TURNS), phq9=labels)
    assert cohort.phq9.select("total", "instrument").rows() == [(6.0, "phq2")]


def observation(code: str, **value: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation", "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": "Patient/p"}, "effectiveDateTime": "2024-05-01T00:00:00Z", **value,
    }  # fmt: skip


def read(tmp_path: Path, *resources: Any) -> tuple[list[Label], RejectedRows]:
    path = tmp_path / "l.json"
    path.write_text(json.dumps(resources))
    ledger = RejectedRows(skip_bad=True)
    return list(fhir_labels(path, ledger)), ledger


@pytest.mark.parametrize(
    "value",
    [
        {"valueInteger": 3},
        {"valueQuantity": {"value": 3, "unit": "{score}"}},
        {"valueCodeableConcept": {"coding": [{"code": "LA6571-9"}]}},
    ],
)
def test_kinds_of_observed_values(tmp_path: Path, value: dict[str, Any]) -> None:
    resources = [observation(code, **value) for code in LOINC_ITEMS]
    (found,), _ = read(tmp_path, *resources)
    assert found.items == (3,) * 9
    assert found.instrument == "phq9"


def test_a_panel_with_components(tmp_path: Path) -> None:
    parts = [{"code": {"coding": [{"code": code}]}, "valueInteger": 1} for code in LOINC_ITEMS] + [
        {"code": {"coding": [{"code": "44261-6"}]}, "valueInteger": 9}
    ]
    (found,), _ = read(tmp_path, observation("44249-1", component=parts))
    assert found.items == (1,) * 9
    assert found.total == 9


def test_items_are_placed_by_code_and_not_by_order(tmp_path: Path) -> None:
    answers = list(LOINC_ANSWERS)
    items = [
        {"linkId": code, "answer": [{"valueCoding": {"code": answers[place % 4]}}]}
        for place, code in enumerate(LOINC_ITEMS)
    ]
    response = {"resourceType": "QuestionnaireResponse", "status": "amended",
                "subject": {"identifier": {"value": "p"}}, "item": items[::-1]}  # fmt: skip
    (found,), _ = read(tmp_path, response)
    assert found.items == (0, 1, 2, 3, 0, 1, 2, 3, 0)
    assert (found.person, found.time) == ("p", None)


def test_two_items_alone_are_a_phq2(tmp_path: Path) -> None:
    (found,), _ = read(tmp_path, observation("55758-7", valueInteger=4))
    assert (found.instrument, found.total) == ("phq2", 4)


def test_what_is_not_a_finished_phq_is_noted_and_not_read(tmp_path: Path) -> None:
    found, ledger = read(
        tmp_path,
        observation("44261-6", valueInteger=4),
        observation("44261-6", valueInteger=3, status="preliminary"),
        observation("8867-4", valueInteger=60),
        {"resourceType": "Patient"},
        {"resourceType": "Bundle", "entry": [{"fullUrl": "x"}, 3]},
        {"resourceType": "Bundle", "entry": None},
    )
    assert [label.total for label in found] == [4]
    assert sum(ledger.notes.values()) == 3
    assert ledger.bad == []


def test_an_answer_that_cannot_be_read_is_refused_and_an_absent_one_missing(
    tmp_path: Path,
) -> None:
    odd = observation(LOINC_ITEMS[0], valueString="often")
    absent = observation(LOINC_ITEMS[1], dataAbsentReason={"text": "unknown"})
    (found,), ledger = read(tmp_path, odd, absent)
    assert found.items[1] is None
    assert label_table([found], ImportConfig(), ledger, {"p"}).height == 0
    assert "Item 1" in ledger.bad[0]["reason"]
