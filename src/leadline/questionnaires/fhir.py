"""PHQ-9 labels from FHIR R4: QuestionnaireResponse and Observation, by LOINC code.

A file holds one resource, a Bundle, a list, or one resource a line. The person is the last
part of `subject.reference`. Only finished answers count: what is in progress, stopped,
cancelled or entered in error is left out and noted, as FHIR asks of readers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leadline.phq9.items import (
    LOINC_ANSWERS,
    LOINC_ITEMS,
    LOINC_PANEL,
    LOINC_PHQ2_TOTAL,
    LOINC_TOTAL,
)
from leadline.sources.files import json_values
from leadline.sources.label import Label
from leadline.sources.records import identifier
from leadline.sources.rejects import RejectedRows

FINISHED = {
    "QuestionnaireResponse": ("completed", "amended"),
    "Observation": ("final", "amended", "corrected"),
}

KNOWN = {*LOINC_ITEMS, LOINC_TOTAL, LOINC_PANEL, LOINC_PHQ2_TOTAL}

UNREADABLE = "?"  # an answer that is there but cannot be read, so that scoring refuses it


@dataclass
class Answers:
    """What one person answered at one time, from one or several resources."""

    row: str
    items: dict[int, Any] = field(default_factory=dict)
    total: Any = None
    phq2: Any = None


def fhir_labels(path: Path, ledger: RejectedRows) -> Iterator[Label]:
    """Labels of a FHIR file; resources of one person at one time are taken together."""
    administrations: dict[tuple[str, Any], Answers] = {}
    for where, resource in _resources(path, ledger):
        kind = resource.get("resourceType")
        if kind not in FINISHED:
            ledger.note("FHIR resources of other types, left out")
            continue
        coded = dict(_coded(resource))
        if not coded:
            ledger.note("FHIR resources without PHQ-9 codes, left out")
            continue
        if resource.get("status") not in FINISHED[kind]:
            ledger.note("FHIR resources that are not finished, left out")
            continue
        person = _person(resource)
        if person is None:
            ledger.reject(path, where, "The resource names no subject.", "Fill in the subject.")
            continue
        _merge(administrations, (person, _time(resource)), coded, where, path, ledger)
    for (person, time), answers in administrations.items():
        yield _label(path, person, time, answers)


def _label(path: Path, person: str, time: Any, answers: Answers) -> Label:
    items = tuple(answers.items.get(place) for place in range(9))
    only_phq2 = answers.total is None and not set(answers.items) - {0, 1}
    if only_phq2:
        return Label(path, answers.row, person, time, answers.phq2, items[:2], "phq2")
    return Label(path, answers.row, person, time, answers.total, items, "phq9")


def _merge(
    administrations: dict[tuple[str, Any], Answers],
    key: tuple[str, Any],
    coded: Mapping[str, Any],
    where: str,
    path: Path,
    ledger: RejectedRows,
) -> None:
    """Add a resource to the answers of its person and time; contradictions are bad."""
    answers = administrations.setdefault(key, Answers(where))
    for code, value in coded.items():
        if code in LOINC_ITEMS:
            old = answers.items.setdefault(LOINC_ITEMS.index(code), value)
        elif code == LOINC_TOTAL:
            old = answers.total = value if answers.total is None else answers.total
        else:
            old = answers.phq2 = value if answers.phq2 is None else answers.phq2
        if old != value:
            ledger.reject(
                path,
                where,
                "Two resources of a person at the same time contradict each other.",
                "Keep the one that holds.",
            )


def _resources(path: Path, ledger: RejectedRows) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for where, value in json_values(path, ledger):
        if not isinstance(value, Mapping) or not isinstance(value.get("resourceType"), str):
            ledger.reject(
                path, where, "This is no FHIR resource: it has no resourceType.", "Remove it."
            )
            continue
        if value["resourceType"] != "Bundle":
            yield where, value
            continue
        entries = value.get("entry", [])
        for number, entry in enumerate(entries if isinstance(entries, list) else []):
            resource = entry.get("resource") if isinstance(entry, Mapping) else None
            if isinstance(resource, Mapping):
                yield f"{where}, entry[{number}]", resource


def _coded(resource: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """LOINC code and value of everything in a resource that belongs to a PHQ."""
    if resource.get("resourceType") == "Observation":
        for part in [resource, *_list(resource, "component")]:
            for code in _loinc(part.get("code")) if isinstance(part, Mapping) else []:
                if code in KNOWN and code != LOINC_PANEL:
                    yield code, _value(part)
        return
    yield from _coded_items(_list(resource, "item"))


def _coded_items(items: list[Any]) -> Iterator[tuple[str, Any]]:
    for item in items:
        if not isinstance(item, Mapping):
            continue
        link = str(item.get("linkId", "")).rsplit("/", 1)[-1]
        answers = [answer for answer in _list(item, "answer") if isinstance(answer, Mapping)]
        if link in KNOWN and link != LOINC_PANEL and answers:
            yield link, _value(answers[0]) if len(answers) == 1 else UNREADABLE
        yield from _coded_items(_list(item, "item"))


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    entries = value.get(key)
    return entries if isinstance(entries, list) else []


def _loinc(concept: Any) -> list[str]:
    if not isinstance(concept, Mapping):
        return []
    codings = [coding for coding in _list(concept, "coding") if isinstance(coding, Mapping)]
    return [str(coding.get("code")) for coding in codings if _is_loinc(coding)]


def _is_loinc(coding: Mapping[str, Any]) -> bool:
    return bool(coding.get("system", "http://loinc.org") == "http://loinc.org")


def _value(part: Mapping[str, Any]) -> Any:
    """The number of an answer or observation; `UNREADABLE` if there is something else."""
    for key in ("valueInteger", "valueDecimal"):
        if key in part:
            return part[key]
    quantity = part.get("valueQuantity")
    if isinstance(quantity, Mapping):
        return quantity.get("value", UNREADABLE)
    coding = part.get("valueCoding")
    concept = part.get("valueCodeableConcept")
    codings = [coding] if isinstance(coding, Mapping) else []
    if isinstance(concept, Mapping):
        codings += [entry for entry in _list(concept, "coding") if isinstance(entry, Mapping)]
    for entry in codings:
        if entry.get("code") in LOINC_ANSWERS:
            return LOINC_ANSWERS[entry["code"]]
    if not codings and any(key.startswith("dataAbsent") for key in part):
        return None
    return UNREADABLE


def _person(resource: Mapping[str, Any]) -> str | None:
    subject = resource.get("subject")
    if not isinstance(subject, Mapping):
        return None
    reference = subject.get("reference")
    if isinstance(reference, str) and reference.strip():
        return identifier(reference.split("/_history/")[0].rstrip("/").rsplit("/", 1)[-1])
    named = subject.get("identifier")
    return identifier(named.get("value")) if isinstance(named, Mapping) else None


def _time(resource: Mapping[str, Any]) -> Any:
    time = resource.get("authored") or resource.get("effectiveDateTime")
    period = resource.get("effectivePeriod")
    if time is None and isinstance(period, Mapping):
        time = period.get("end") or period.get("start")
    return time if time is None or isinstance(time, str) else str(time)
