"""Survey platforms: rows that are no answers. Further header rows of Qualtrics and SurveyMonkey,
previews that a researcher made, and what REDCap writes for a form that was never filled in.

Sources: the CSV exports of Qualtrics (a row of question texts and a row of ImportIds under the
header), SurveyMonkey (a row that says the kind of answer, or the row of a matrix), REDCap and
Google Forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from leadline.sources.names import normal

IMPORT_ID = '{"ImportId"'

SURVEYMONKEY = ("respondent_id", "collector_id")

ANSWER_KINDS = ("", "response", "open ended response", "open-ended response")

QUALTRICS_ROWS = "header rows of Qualtrics, passed over"

SURVEYMONKEY_ROWS = "header rows of SurveyMonkey, passed over"

PREVIEWS = "test rows of Qualtrics (survey preview), passed over"

STATUS = ("status", "response_type", "distributionchannel", "distribution_channel")

PREVIEW = ("survey preview", "preview", "survey test", "test")


class TableHead(NamedTuple):
    """What stands above the answers of a table.

    Attributes:
        names: of the columns.
        texts: column -> what was asked, where a header row says so.
        rows: records after the first that are header rows.
        note: what they are, for the counts.
    """

    names: list[str]
    texts: dict[str, str]
    rows: int
    note: str


def head_of(header: Sequence[str], records: Sequence[Sequence[str]]) -> TableHead:
    """The head of a table from its first record and up to two records below it."""
    names = [name.strip() for name in header]
    for place, record in enumerate(records[:2]):
        if sum(cell.startswith(IMPORT_ID) for cell in record) * 2 > len(record):
            texts = dict(zip(names, records[0], strict=False)) if place else {}
            return TableHead(names, texts, place + 1, QUALTRICS_ROWS)
    if records and len(names) == len(records[0]) and _is_surveymonkey(names, records[0]):
        return TableHead(*_matrix(names, records[0]), 1, SURVEYMONKEY_ROWS)
    return TableHead(names, {}, 0, "")


def _is_surveymonkey(names: Sequence[str], record: Sequence[str]) -> bool:
    known_names = [normal(name) for name in names]
    if not set(SURVEYMONKEY) & set(known_names):
        return False
    places = [place for place, name in enumerate(known_names) if name in SURVEYMONKEY]
    return all(not record[place].strip() for place in places)


def _matrix(names: Sequence[str], record: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Names of columns: of a matrix, whose question stands above its first column, the rows."""
    combined = []
    texts = {}
    for place, (name, below) in enumerate(zip(names, record, strict=True)):
        in_matrix = not name or (place + 1 < len(names) and not names[place + 1])
        kind = below.strip().lower()
        chosen = below.strip() if in_matrix and kind not in ANSWER_KINDS else name
        combined.append(chosen or f"column {place + 1}")
        texts[combined[-1]] = below if kind not in ANSWER_KINDS else name
    return combined, texts


def preview_places(names: Sequence[str]) -> list[int]:
    """Columns that say whether a row is a preview."""
    return [place for place, name in enumerate(names) if normal(name) in STATUS]


def is_preview(record: Sequence[str], places: Sequence[int]) -> bool:
    """Whether a record was made in a preview of the survey."""
    return any(place < len(record) and record[place].strip().lower() in PREVIEW
               for place in places)  # fmt: skip
