"""Resources of a FHIR file: Bundles in Bundles, contained resources, lists, one a line.

A reference leads to the person: `Patient/p1`, an absolute address, `urn:uuid:` of an entry of the
same Bundle, or `#p1` of a contained resource.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadline.sources.files import json_values
from leadline.sources.records import identifier
from leadline.sources.rejects import RejectedRows

DEPTH = 10  # Bundles within Bundles; deeper is a mistake


@dataclass(frozen=True)
class Resource:
    """A resource with what its references need.

    Attributes:
        where: locator.
        content: the resource.
        full_urls: address of an entry of its Bundle -> id of the resource there.
        contained: resources that the one around it holds, by id.
    """

    where: str
    content: Mapping[str, Any]
    full_urls: Mapping[str, str]
    contained: Mapping[str, Mapping[str, Any]]

    @property
    def kind(self) -> str:
        """Its resourceType."""
        return str(self.content.get("resourceType"))


def resources(path: Path, ledger: RejectedRows) -> Iterator[Resource]:
    """Every resource of a file, those of Bundles and contained ones too."""
    for where, value in json_values(path, ledger, FHIR_KEYS):
        if not isinstance(value, Mapping) or not isinstance(value.get("resourceType"), str):
            ledger.reject(
                path, where, "This is no FHIR resource: it has no resourceType.", "Remove it."
            )
            continue
        yield from _opened(value, where, {}, 0)


def _opened(
    value: Mapping[str, Any], where: str, full_urls: dict[str, str], depth: int
) -> Iterator[Resource]:
    if value.get("resourceType") not in ("Bundle", "Parameters"):
        inner = [entry for entry in entries(value, "contained") if isinstance(entry, Mapping)]
        contained = {str(entry.get("id")): entry for entry in inner}
        yield Resource(where, value, full_urls, contained)
        for number, entry in enumerate(inner):
            subject = value.get("subject")
            borrowed = {"subject": subject, **entry} if subject else entry
            yield Resource(f"{where}, contained[{number}]", borrowed, full_urls, contained)
        return
    key = "entry" if value["resourceType"] == "Bundle" else "parameter"
    pairs = []
    addresses = dict(full_urls)
    for number, entry in enumerate(entries(value, key)):
        resource = entry.get("resource") if isinstance(entry, Mapping) else None
        if not isinstance(resource, Mapping):
            continue
        name, address = identifier(resource.get("id")), entry.get("fullUrl")
        if name and isinstance(address, str):
            addresses[address] = name
        pairs.append((f"{where}, {key}[{number}]", resource))
    if depth < DEPTH:
        for place, resource in pairs:
            yield from _opened(resource, place, addresses, depth + 1)


def person_of(resource: Resource) -> str | None:
    """Identifier of the subject of a resource; None if it names none."""
    for key in ("subject", "source", "patient"):
        named = resource.content.get(key)
        if not isinstance(named, Mapping):
            continue
        reference = named.get("reference")
        if isinstance(reference, str) and reference.strip():
            return _referred(reference.strip(), resource)
        inner = named.get("identifier")
        if isinstance(inner, Mapping):
            return identifier(inner.get("value"))
    return None


def _referred(reference: str, resource: Resource) -> str | None:
    if reference in resource.full_urls:
        return resource.full_urls[reference]
    if reference.startswith("#"):
        person = resource.contained.get(reference[1:], {})
        names = [entry for entry in entries(person, "identifier") if isinstance(entry, Mapping)]
        values = [name for entry in names if (name := identifier(entry.get("value")))]
        return values[0] if values else identifier(reference[1:])
    if reference.startswith("urn:"):
        return identifier(reference.rsplit(":", 1)[-1])
    return identifier(reference.split("/_history/")[0].rstrip("/").rsplit("/", 1)[-1])


def entries(value: Mapping[str, Any], key: str) -> list[Any]:
    """A list of a resource; empty where it is absent or something else."""
    inner = value.get(key)
    return inner if isinstance(inner, list) else []


FHIR_KEYS = frozenset((
    "resourceType", "status", "subject", "reference", "code", "coding", "system", "display", "text",
    "item", "answer", "linkId", "entry", "resource", "fullUrl", "component", "valueInteger",
    "valueDecimal", "valueQuantity", "valueCoding", "valueCodeableConcept", "valueString", "value",
    "authored", "effectiveDateTime", "effectiveInstant", "effectivePeriod", "issued", "extension",
    "url", "questionnaire", "contained", "identifier", "id", "source", "end", "start", "parameter",
    "definition", "patient",
))  # fmt: skip
"""Keys that are read here, found in another case too."""
