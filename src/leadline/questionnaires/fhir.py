"""PHQ-9 labels from FHIR R4: QuestionnaireResponse and Observation.

The person is the subject. Only finished answers count: what is in progress, stopped, cancelled or
entered in error is left out and noted, as FHIR asks of readers. Resources of one person at one time
are taken together. A file that gives no label at all is refused, with what was seen in it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from leadline.errors import LeadlineError
from leadline.questionnaires.fhir_answers import Answers, answers_of
from leadline.questionnaires.fhir_resources import person_of, resources
from leadline.sources.label import Label
from leadline.sources.records import encodable
from leadline.sources.rejects import RejectedRows

FINISHED = {
    "QuestionnaireResponse": ("completed", "amended"),
    "Observation": ("final", "amended", "corrected"),
}

TIME_KEYS = ("authored", "effectiveDateTime", "effectiveInstant", "effectivePeriod", "issued")

CODE_LEVEL = "code "  # of the names in the table that ends an import

SHOWN = 12  # codes and linkIds that an error lists

TYPES = frozenset((
    "Bundle", "Parameters", "Patient", "Person", "RelatedPerson", "Practitioner", "Organization",
    "Location", "Encounter", "EpisodeOfCare", "Condition", "Observation", "Questionnaire",
    "QuestionnaireResponse", "DiagnosticReport", "DocumentReference", "Composition", "CarePlan",
    "MedicationRequest", "MedicationStatement", "Procedure", "ServiceRequest", "Consent",
    "Communication", "Appointment", "Device", "Provenance", "OperationOutcome",
))  # fmt: skip
"""Types of resources that an error names; what else stands there may be anything."""

LOINC = re.compile(r"^(\d{3,5})-(\d)$")


def is_loinc(code: str) -> bool:
    """Whether a code is one of LOINC by its form and its check digit (mod 10, Luhn).

    >>> is_loinc("44261-6"), is_loinc("44261-7"), is_loinc("PHQ.1")
    (True, False, False)
    """
    match = LOINC.match(code)
    if match is None:
        return False
    digits = [int(digit) for digit in reversed(match[1])]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[::2]]
    return (sum(doubled) + sum(digits[1::2]) + int(match[2])) % 10 == 0


def fhir_labels(path: Path, ledger: RejectedRows) -> Iterator[Label]:
    """Labels of a FHIR file; resources of one person at one time are taken together.

    Raises:
        LeadlineError: the file holds no label.
    """
    administrations: dict[tuple[str, Any], Answers] = {}
    kinds: Counter[str] = Counter()
    codes: dict[str, None] = {}
    unfinished = others = 0
    for resource in resources(path, ledger):
        kinds[resource.kind] += 1
        if resource.kind not in FINISHED:
            ledger.note("FHIR resources of other types, left out")
            continue
        answers = answers_of(resource.content, resource.where)
        codes |= answers.codes
        ledger.uses.meet(path, [code for code in answers.codes if code], CODE_LEVEL)
        if resource.content.get("status") not in FINISHED[resource.kind]:
            unfinished += 1
            ledger.note("FHIR resources that are not finished, left out")
            continue
        if answers.other_instruments:
            others += 1
            name = " and ".join(sorted(answers.other_instruments))
            ledger.reject(path, resource.where, f"This is {name}, an instrument of its own.", OWN)
            continue
        if answers.empty:
            ledger.note("FHIR resources without a PHQ-9, left out")
            continue
        person = person_of(resource)
        if person is None:
            ledger.reject(
                path, resource.where, "The resource names no subject.", "Fill in the subject."
            )
            continue
        for code in answers.used_codes:
            ledger.uses.take(path, code, "PHQ", CODE_LEVEL)
        _merge(administrations, (person, _time(resource.content, ledger)), answers, path, ledger)
    if not administrations:
        raise _nothing(path, kinds, codes, unfinished, others)
    for (person, time), answers in administrations.items():
        yield _label(path, person, time, answers)


OWN = "Leadline estimates the PHQ-9 for adults; take such resources out of the file."


def _nothing(
    path: Path, kinds: Counter[str], codes: Mapping[str, None], unfinished: int, others: int
) -> LeadlineError:
    type_counts = Counter(kind if kind in TYPES else "of other types" for kind in kinds.elements())
    types = ", ".join(f"{count} {kind}" for kind, count in type_counts.most_common(SHOWN))
    names = [code for code in codes if is_loinc(code)][:SHOWN]
    seen_codes = f"; LOINC codes: {', '.join(names)}" if names else ""
    strange = sum(bool(code) and not is_loinc(code) for code in codes)
    seen_codes += f"; {strange} other codes and linkIds" if strange else ""
    aside = f"; {unfinished} not finished or entered in error" if unfinished else ""
    aside += f"; {others} of other instruments" if others else ""
    return LeadlineError(
        f"The file holds no PHQ-9 that can be used. It has {types or 'no resource'}"
        f"{seen_codes}{aside}.",
        remedy="A PHQ-9 is known by LOINC 44261-6 or 44249-1, by the LOINC codes or the wording of "
        "its items, or by linkIds such as PHQ.1. Otherwise give a table: person_id,time,item_1 ... "
        "item_9 or total.",
        file=path,
    )


def _merge(
    administrations: dict[tuple[str, Any], Answers],
    key: tuple[str, Any],
    answers: Answers,
    path: Path,
    ledger: RejectedRows,
) -> None:
    """Add a resource to the answers of its person and time; contradictions are bad."""
    administration = administrations.get(key)
    if answers.contradicts():
        ledger.reject(path, answers.row, "One item has two different answers in this resource.",
                      "Keep the one that holds.")  # fmt: skip
        return
    if administration is None:
        administrations[key] = answers
        return
    administration.merge(answers)
    if administration.contradicts():
        ledger.reject(
            path,
            answers.row,
            "Two resources of a person at the same time contradict each other.",
            "Keep the one that holds.",
        )


def _label(path: Path, person: str, time: Any, answers: Answers) -> Label:
    items = tuple(answers.items.get(place, [None])[0] for place in range(9))
    totals = {name: values[0] for name, values in answers.totals.items()}
    instrument = answers.instrument or _instrument(answers, totals)
    total = totals.get(instrument)
    count = {"phq9": 9, "phq8": 8, "phq2": 2}[instrument]
    return Label(path, answers.row, person, time, total, items[:count], instrument)


def _instrument(answers: Answers, totals: Mapping[str, Any]) -> str:
    """By the items that were asked, answered or not, and else by the totals."""
    if "phq9" in totals or answers.asked_places - {0, 1}:
        return "phq8" if "phq8" in totals and "phq9" not in totals else "phq9"
    if "phq8" in totals:
        return "phq8"
    return "phq2" if answers.asked_places or "phq2" in totals else "phq9"


def _time(resource: Mapping[str, Any], ledger: RejectedRows) -> Any:
    """When it was answered, in UTC where it names its zone, so that equal times are equal."""
    for key in TIME_KEYS:
        time = resource.get(key)
        if isinstance(time, Mapping):
            time = time.get("end") or time.get("start")
        if time is None or time == "":
            continue
        if key == "issued":
            ledger.note("PHQ-9s dated by when they were issued, for lack of another date")
        return _in_utc(time)
    return None


def _in_utc(time: Any) -> Any:
    if not isinstance(time, str):
        return str(time)
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return time if encodable(time) else "half a character"  # which is no time either
    if moment.tzinfo is None:
        return time
    return moment.astimezone(UTC).isoformat()
