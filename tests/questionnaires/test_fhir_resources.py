"""Resources wherever they lie, and whose they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from leadline.questionnaires.fhir_resources import Resource, person_of, resources
from leadline.sources.rejects import RejectedRows


def opened(tmp_path: Path, value: Any) -> list[Resource]:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(value))
    return list(resources(path, RejectedRows()))


def bundle(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "entry": list(entries)}


OBSERVATION = {"resourceType": "Observation", "subject": {"reference": "Patient/p1"}}


def test_bundles_in_bundles_and_parameters(tmp_path: Path) -> None:
    inner = {"resource": bundle({"resource": OBSERVATION})}
    parameters = {"resourceType": "Parameters", "parameter": [{"resource": OBSERVATION}]}
    found = opened(tmp_path, [bundle(inner, inner), parameters])
    assert [(entry.kind, person_of(entry)) for entry in found] == [("Observation", "p1")] * 3
    assert found[1].where == "entry 1, entry[1], entry[0]"


def test_contained_resources_are_read_and_have_the_subject_of_what_holds_them(
    tmp_path: Path,
) -> None:
    response = {"resourceType": "QuestionnaireResponse", "subject": {"reference": "Patient/p2"},
                "contained": [{"resourceType": "Observation", "id": "o"}]}  # fmt: skip
    found = opened(tmp_path, response)
    assert [(entry.kind, person_of(entry)) for entry in found] == [
        ("QuestionnaireResponse", "p2"), ("Observation", "p2")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("subject", "person"),
    [
        ({"reference": "https://x.org/fhir/Patient/p1/_history/3"}, "p1"),
        ({"reference": "urn:uuid:aa"}, "aa"),
        ({"reference": "urn:uuid:known"}, "p9"),
        ({"reference": "#in"}, "mrn-5"),
        ({"identifier": {"value": "i7"}}, "i7"),
        ({"reference": " "}, None),
        (None, None),
    ],
)
def test_references(tmp_path: Path, subject: Any, person: str | None) -> None:
    contained = {"resourceType": "Patient", "id": "in", "identifier": [{"value": "mrn-5"}]}
    entry = {"resource": {**OBSERVATION, "subject": subject, "contained": [contained]}}
    patient = {"fullUrl": "urn:uuid:known", "resource": {"resourceType": "Patient", "id": "p9"}}
    found = [one for one in opened(tmp_path, bundle(patient, entry)) if one.kind == "Observation"]
    assert [person_of(one) for one in found] == [person]
