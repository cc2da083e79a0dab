"""What a FHIR resource says of a PHQ: items, totals and instrument, matched by meaning.

Codes first (LOINC items, totals and panels, SNOMED CT 720433000), then the words of items and
linkIds in the languages of the questionnaire, then numbered linkIds of a resource that says it is a
PHQ. An answer is worth what its LOINC code, its ordinalValue, its number or its words say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from leadline.phq9.items import (
    LOINC_ANSWERS,
    LOINC_ITEMS,
    LOINC_PANEL,
    LOINC_PHQ2_TOTAL,
    LOINC_TOTAL,
)
from leadline.phq9.wordings import answer_value
from leadline.questionnaires.answers import (
    ENOUGH,
    from_zeroth,
    is_total,
    is_zeroth,
    likely_item,
    official_item,
)
from leadline.questionnaires.fhir_resources import entries
from leadline.sources.names import instrument_of, item_number

UNREADABLE = "?"  # an answer that is there but cannot be read, so that scoring refuses it

LOINC = "http://loinc.org"

SNOMED = "http://snomed.info/sct"

TOTALS = {LOINC_TOTAL: "phq9", LOINC_PANEL: "phq9", LOINC_PHQ2_TOTAL: "phq2"}

SNOMED_TOTALS = {"720433000": "phq9"}

TEEN_CODES = ("89204-2", "89206-7")

OTHER_CODES = {
    **dict.fromkeys(TEEN_CODES, "the PHQ-9 modified for teens"),
    "70272-0": "the PHQ-4",
    "69724-3": "the PHQ-4",
}  # fmt: skip

TEEN = re.compile(r"phq[ _-]?9?[ _-]?(?:a|m|t|teens?|adolescents?|modified)(?![a-z])|modified for"
                  r" (?:teens|adolescents)", re.IGNORECASE)  # fmt: skip

CODE = re.compile(r"(?<![0-9])(\d{4,5}-\d)(?![0-9])")

NUMBER_AT_END = re.compile(r"(?<!\d)0?(\d{1,2})$")

ORDINALS = ("ordinalValue", "itemWeight", "questionnaire-ordinalValue", "iso21090-CO-value")

OTHER_ANSWERS = ("LA6572-7", "LA6573-5", "LA6574-3", "LA6575-0")  # of the question of difficulty


def _add_others(values: list[Any], further: list[Any]) -> None:
    """Add values that differ, up to two in all: more say no more, and may be a whole file."""
    for value in further:
        if len(values) < 2 and str(value) not in map(str, values):
            values.append(value)


@dataclass
class Answers:
    """What one resource, or several of one person and time, say.

    Attributes:
        row: locator of the first.
        items: place 0-8 -> answer; every value that was met, the first of which counts.
        totals: instrument -> reported total; every value that was met.
        asked_places: places that are there, answered or not.
        other_instruments: names of instruments that are not read here.
        codes: codes and linkIds that were met, for errors.
        used_codes: those of them that were taken for a PHQ.
        instrument: that the resource names, or "".
    """

    row: str
    items: dict[int, list[Any]] = field(default_factory=dict)
    totals: dict[str, list[Any]] = field(default_factory=dict)
    asked_places: set[int] = field(default_factory=set)
    other_instruments: set[str] = field(default_factory=set)
    codes: dict[str, None] = field(default_factory=dict)
    used_codes: set[str] = field(default_factory=set)
    instrument: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is neither an item nor a total."""
        return not self.items and not self.totals

    def merge(self, answers: Answers) -> None:
        """Take what another resource of the same person and time says."""
        for place, values in answers.items.items():
            _add_others(self.items.setdefault(place, []), values)
        for instrument, values in answers.totals.items():
            _add_others(self.totals.setdefault(instrument, []), values)
        self.asked_places |= answers.asked_places
        self.instrument = self.instrument or answers.instrument

    def contradicts(self) -> bool:
        """Whether one item or one total has two different values."""
        every = [*self.items.values(), *self.totals.values()]
        return any(len({str(value) for value in values}) > 1 for values in every)


def answers_of(resource: Mapping[str, Any], where: str) -> Answers:
    """What a QuestionnaireResponse or Observation says of a PHQ; empty if nothing."""
    found_answers = Answers(where)
    if resource.get("resourceType") == "Observation":
        _observation(resource, found_answers)
    else:
        _response(resource, found_answers)
    return found_answers


def _observation(resource: Mapping[str, Any], answers: Answers) -> None:
    for part in [resource, *entries(resource, "component")]:
        if not isinstance(part, Mapping):
            continue
        value = value_of(part)
        for system, code, display in _codings(part.get("code")):
            answers.codes[code or display] = None
            if code in OTHER_CODES and system in (LOINC, ""):
                answers.other_instruments.add(OTHER_CODES[code])
            elif code in TOTALS and instrument_of(display) == "phq8" and _has_value(part):
                answers.totals.setdefault("phq8", []).append(value)  # the display decides
                answers.used_codes.add(code)
                break
            elif _take_code(system, code, value, _has_value(part), answers):
                answers.used_codes.add(code)
                break
        else:
            _take_name(part, value, answers)


def _take_code(system: str, code: str, value: Any, has_value: bool, answers: Answers) -> bool:
    """Take a coded value; True if the code is a PHQ's."""
    if system in (LOINC, ""):
        if code in LOINC_ITEMS:
            place = LOINC_ITEMS.index(code)
            answers.asked_places.add(place)
            if value is not None:
                answers.items.setdefault(place, []).append(value)
            return True
        if code in TOTALS:
            if has_value:
                answers.totals.setdefault(TOTALS[code], []).append(value)
            return True
    if system in (SNOMED, "") and code in SNOMED_TOTALS:
        if has_value:
            answers.totals.setdefault(SNOMED_TOTALS[code], []).append(value)
        return True
    return False


def _take_name(part: Mapping[str, Any], value: Any, answers: Answers) -> None:
    """Take a total whose code is local and whose name says what it is."""
    concept = part.get("code")
    names = [display for _, _, display in _codings(concept) if display]
    if isinstance(concept, Mapping) and isinstance(concept.get("text"), str):
        names.append(concept["text"])
    for name in names:
        if TEEN.search(name):
            answers.other_instruments.add("the PHQ-9 modified for teens")
            return
    for name in names:
        instrument = instrument_of(name)
        if instrument in ("phq9", "phq8", "phq2") and is_total(name) and _has_value(part):
            answers.totals.setdefault(instrument, []).append(value)
            return


def _codings(concept: Any) -> Iterator[tuple[str, str, str]]:
    """System, code and display of the codings of a concept."""
    if isinstance(concept, Mapping):
        for coding in entries(concept, "coding"):
            if isinstance(coding, Mapping):
                system = coding.get("system")
                display = coding.get("display")
                yield (
                    LOINC if system is None else str(system),
                    str(coding.get("code") or ""),
                    display if isinstance(display, str) else "",
                )


def _response(resource: Mapping[str, Any], answers: Answers) -> None:
    nodes = list(_nodes(entries(resource, "item")))
    title = " ".join([str(resource.get("questionnaire") or ""), *(
        str(node.get("linkId") or "") for node in nodes)])  # fmt: skip
    for node in nodes:
        answers.codes[str(node.get("linkId") or "")] = None
    questionnaire = str(resource.get("questionnaire") or "")
    if any(code in title for code in TEEN_CODES) or TEEN.search(questionnaire):
        answers.other_instruments.add("the PHQ-9 modified for teens")
        return
    named = instrument_of(questionnaire.rstrip("/").rsplit("/", 1)[-1].split("|")[0]) or ""
    answers.instrument = named if named in ("phq8", "phq2") else ""
    rest = [node for node in nodes if not _take_node(node, answers)]
    if answers.asked_places:
        rest = [node for node in rest if is_total(_link(node))]
    _take_rest(rest, bool(re.search("phq", title, re.IGNORECASE)), answers)


def _nodes(items: list[Any]) -> Iterator[Mapping[str, Any]]:
    """Items at every depth, below items and below answers."""
    for item in items:
        if not isinstance(item, Mapping):
            continue
        yield item
        yield from _nodes(entries(item, "item"))
        for answer in entries(item, "answer"):
            if isinstance(answer, Mapping):
                yield from _nodes(entries(answer, "item"))


def _link(node: Mapping[str, Any]) -> str:
    return str(node.get("linkId") or "")


def _value(node: Mapping[str, Any]) -> Any:
    answers = [answer for answer in entries(node, "answer") if isinstance(answer, Mapping)]
    answers = [answer for answer in answers if _has_value(answer)]
    if not answers:
        return None
    return value_of(answers[0]) if len(answers) == 1 else UNREADABLE


def _take_node(node: Mapping[str, Any], answers: Answers) -> bool:
    """Take an item whose linkId or definition holds a code; True if it does."""
    value = _value(node)
    for text in (_link(node), str(node.get("definition") or "")):
        for code in CODE.findall(text):
            if code == LOINC_PANEL and value is None:
                return True
            if _take_code(LOINC, code, value, value is not None, answers):
                answers.used_codes.add(_link(node))
                return True
    return False


def _take_rest(nodes: list[Mapping[str, Any]], says_phq: bool, answers: Answers) -> None:
    """Items without codes: totals by name, items by number, then by words."""
    uncoded = []
    for node in nodes:
        name, text = _link(node), str(node.get("text") or "")
        instrument = instrument_of(name) or instrument_of(text)
        if instrument in ("phq9", "phq8", "phq2") and (is_total(name) or is_total(text)):
            value = _value(node)
            if value is not None:
                answers.used_codes.add(name)
                answers.totals.setdefault(instrument, []).append(value)
        elif entries(node, "answer") or not entries(node, "item"):
            uncoded.append(node)
    if answers.asked_places:
        return
    numbered: dict[int, list[Mapping[str, Any]]] = {}
    for node in uncoded:
        place = _place(_link(node))
        if place is not None:
            numbered.setdefault(place, []).append(node)
    links = [_link(node) for node in uncoded]
    if any(map(is_zeroth, links)):
        by_place = from_zeroth(links)
        numbered = {place: [uncoded[links.index(link)]] for place, link in by_place.items()}
    worded: dict[int, list[Mapping[str, Any]]] = {}
    for node in uncoded:
        text = str(node.get("text") or "")
        place = official_item(text) if text else None
        if place is None:
            place = likely_item(_link(node)) if not text else likely_item(text)
        if place is not None:
            worded.setdefault(place, []).append(node)
    for group in (worded, numbered if says_phq else {}):
        if len(group) >= ENOUGH or (len(group) == 2 and set(group) == {0, 1} and says_phq):
            for place, place_nodes in group.items():
                answers.asked_places.add(place)
                answers.used_codes |= {_link(node) for node in place_nodes}
                values = [value for node in place_nodes if (value := _value(node)) is not None]
                if values:
                    answers.items[place] = values
            return


def _place(link: str) -> int | None:
    """The place that the number of a linkId says: PHQ.1, phq9-3, q4, 5, /5."""
    number = item_number(link)
    if number is None:
        match = NUMBER_AT_END.search(link)
        number = int(match[1]) if match else None
    return number - 1 if number is not None and 1 <= number <= 9 else None


def _has_value(part: Mapping[str, Any]) -> bool:
    return any(key.startswith("value") and part[key] is not None for key in part)


def value_of(part: Mapping[str, Any]) -> Any:
    """The number of an answer or observation; `UNREADABLE` if there is something else."""
    for key in ("valueInteger", "valueDecimal"):
        if part.get(key) is not None:
            return part[key]
    quantity = part.get("valueQuantity")
    if isinstance(quantity, Mapping):
        return quantity.get("value", UNREADABLE)
    coding = part.get("valueCoding")
    concept = part.get("valueCodeableConcept")
    codings = [coding] if isinstance(coding, Mapping) else []
    texts = [part.get("valueString")]
    if isinstance(concept, Mapping):
        codings += [entry for entry in entries(concept, "coding") if isinstance(entry, Mapping)]
        texts.append(concept.get("text"))
    for entry in codings:
        code = entry.get("code")
        if isinstance(code, str) and code in LOINC_ANSWERS:
            return LOINC_ANSWERS[code]
    for entry in [*codings, part]:
        worth = _ordinal(entry)
        if worth is not None:
            return worth
    for entry in codings:
        texts += [entry.get("code"), entry.get("display")]
    for text in texts:
        if isinstance(text, str) and text.strip():
            worth = answer_value(text.replace("-", " ").replace("_", " "))
            if worth is not None:
                return worth
            if text.strip().isdecimal():
                return int(text)
    if not _has_value(part):
        return None
    return UNREADABLE


def _ordinal(entry: Mapping[str, Any]) -> Any:
    """The value of an extension that says what an answer is worth."""
    for extension in entries(entry, "extension"):
        if isinstance(extension, Mapping) and str(extension.get("url")).endswith(ORDINALS):
            return extension.get("valueDecimal", extension.get("valueInteger"))
    return None
