"""Items, totals and instruments of resources, matched by meaning."""

from __future__ import annotations

from typing import Any

import pytest

from leadline.phq9.items import LOINC_ITEMS
from leadline.phq9.wordings import wordings
from leadline.questionnaires.fhir_answers import UNREADABLE, answers_of, value_of

DE = [variants[0] for variants in wordings()["de"].items]


def response(items: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"resourceType": "QuestionnaireResponse", "item": items, **more}


def item(link: str, value: int | None, **more: Any) -> dict[str, Any]:
    answer = [] if value is None else [{"valueInteger": value}]
    return {"linkId": link, "answer": answer, **more}


@pytest.mark.parametrize(
    "items",
    [
        [item(f"/{code}", 1) for code in LOINC_ITEMS],
        [item(f"http://loinc.org/{code}", 1) for code in LOINC_ITEMS],
        [item(f"PHQ.{n}", 1) for n in range(1, 11)],
        [item(f"phq9-{n}", 1) for n in range(1, 11)],
        [item(f"PHQ-{n}", 1) for n in range(1, 10)],
        [item(f"phq9.q{n}", 1) for n in range(1, 10)],
        [item(str(n), 1, text=text) for n, text in enumerate(DE, 1)],
        [item("group", None, item=[item(code, 1) for code in LOINC_ITEMS])],
        [item(f"a{n}", 1, definition=f"http://x.org#{code}") for n, code in enumerate(LOINC_ITEMS)],
    ],
)
def test_items_by_code_number_or_words(items: list[dict[str, Any]]) -> None:
    answers = answers_of(response(items), "entry 1")
    assert answers.items == {place: [1] for place in range(9)}


def test_another_questionnaire_is_none_even_if_it_asks_for_sleep() -> None:
    answers = answers_of(response([item(f"gad7-{n}", 1) for n in range(1, 8)]), "entry 1")
    assert answers.empty
    worried = response([item("1", 1, text="Trouble relaxing"), item("2", 2, text="Sleep")])
    assert answers_of(worried, "entry 1").empty


def test_numbers_alone_say_nothing_unless_something_says_phq() -> None:
    items = [item(str(n), 1) for n in range(1, 10)]
    assert answers_of(response(items), "entry 1").empty
    named = response(items, questionnaire="http://x.org/Questionnaire/PHQ-9|1.0")
    assert len(answers_of(named, "entry 1").items) == 9


def test_totals_and_instruments_by_name() -> None:
    items = [item("phq2-total-score", 3), item("phq9-total-score", 11)]
    answers = answers_of(response(items), "entry 1")
    assert answers.totals == {"phq2": [3], "phq9": [11]}
    eight = response([item("1", 1)], questionnaire="http://x.org/Questionnaire/phq-8")
    assert answers_of(eight, "entry 1").instrument == "phq8"


@pytest.mark.parametrize("name", ["PHQ-A total", "PHQ-9 modified for teens", "phq9a score"])
def test_teens_by_name(name: str) -> None:
    observation = {"resourceType": "Observation", "code": {"text": name}, "valueInteger": 3}
    assert answers_of(observation, "entry 1").other_instruments
    questionnaire = f"http://x.org/Questionnaire/{name.replace(' ', '-')}"
    assert answers_of(response([], questionnaire=questionnaire), "entry 1").other_instruments


def test_a_local_code_whose_name_says_total() -> None:
    code = {"coding": [{"system": "urn:local", "code": "77", "display": "PHQ-8 total score"}]}
    observation = {"resourceType": "Observation", "code": code, "valueQuantity": {"value": 7}}
    assert answers_of(observation, "entry 1").totals == {"phq8": [7]}


def test_what_is_asked_and_not_answered_is_remembered() -> None:
    items = [item(code, None if place > 1 else 1) for place, code in enumerate(LOINC_ITEMS)]
    answers = answers_of(response(items), "entry 1")
    assert answers.asked_places == set(range(9))
    assert set(answers.items) == {0, 1}


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ({"valueInteger": 2}, 2),
        ({"valueQuantity": {"value": 2}}, 2),
        ({"valueCoding": {"code": "LA6570-1"}}, 2),
        ({"valueCoding": {"system": "urn:x", "code": "2"}}, 2),
        ({"valueCoding": {"code": "x", "display": "More than half the days"}}, 2),
        ({"valueCodeableConcept": {"text": "An mehr als der Hälfte der Tage"}}, 2),
        ({"valueString": "Several days (1)"}, 1), ({"valueString": " 14"}, 14),
        ({"valueCoding": {"code": "x", "extension": [
            {"url": "http://hl7.org/fhir/StructureDefinition/itemWeight", "valueDecimal": 2.0}]}},
         2.0),
        ({"valueString": "often"}, UNREADABLE),
        ({"dataAbsentReason": {}}, None),
    ],
)  # fmt: skip
def test_what_an_answer_is_worth(part: dict[str, Any], value: Any) -> None:
    assert value_of(part) == value


def test_contradictions() -> None:
    twice = response([item(LOINC_ITEMS[0], 1), item(LOINC_ITEMS[0], 2)])
    assert answers_of(twice, "entry 1").contradicts()
    same = response([item(LOINC_ITEMS[0], 1), item(LOINC_ITEMS[0], 1)])
    assert not answers_of(same, "entry 1").contradicts()


def test_a_display_that_says_phq8_decides_over_the_code_of_the_phq9() -> None:
    coding = {"system": "http://loinc.org", "code": "44261-6",
              "display": "Patient Health Questionnaire 9 item (PHQ-8) total score"}  # fmt: skip
    observation = {"resourceType": "Observation", "code": {"coding": [coding]}, "valueInteger": 7}
    assert answers_of(observation, "entry 1").totals == {"phq8": [7]}
    coding["display"] = "Patient Health Questionnaire 9 item (PHQ-9) total score [Reported]"
    assert answers_of(observation, "entry 1").totals == {"phq9": [7]}
