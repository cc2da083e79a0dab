"""JSON as a table: which objects are its rows, and what of them are columns.

Rows may lie in a wrapper (``{"labels": [...]}``), by person (``{"p1": {"total": 14}}``, also by
visit below each person), or as a list inside what each person has (``"assessments": [...]``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from leadline.sources.names import item_number, looks_like, words

PERSON = "person_id"

VISIT = "visit"

QUESTION = frozenset(("question", "item", "field", "linkid", "questionid", "itemid", "code"))

ANSWER = frozenset(("value", "answer", "response", "rating"))

DYNAMO = ("S", "N", "BOOL", "NULL", "M", "L", "B", "SS", "NS")
"""Names of types that DynamoDB writes around each value."""

NOT_WHOLE = re.compile(r"[^0-9-]")

DEPTH = 2  # levels below a row that are columns of it


def table_rows(value: Any) -> list[Any]:
    """The rows of a value.

    >>> table_rows({"labels": [{"id": "p1", "total": 3}]})
    [{'id': 'p1', 'total': 3}]
    >>> table_rows({"p1": 3, "p2": 4})
    [{'person_id': 'p1', 'total': 3}, {'person_id': 'p2', 'total': 4}]
    """
    value = opened_record(value)
    if not isinstance(value, Mapping):
        return [value]
    if any(looks_like(key) == "person" for key in value) or "id" in value:
        return list(_unfolded(value))
    lists = [inner for inner in value.values() if _is_table(inner)]
    if len(lists) == 1:
        return [row for entry in lists[0] for row in table_rows(entry)]
    if _is_by_person(value):
        return [row for name, inner in value.items() for row in _of_person(name, inner)]
    return [value]


def opened_record(value: Any) -> Any:
    """A record without what a database wraps around it: Elasticsearch's ``_source``, DynamoDB's
    ``Item`` and types.

    >>> opened_record({"Item": {"role": {"S": "user"}, "at": {"N": "17"}}})
    {'role': 'user', 'at': 17}
    """
    if not isinstance(value, Mapping):
        return value
    inner = value.get("_source")
    if isinstance(inner, Mapping):
        return {"_id": value.get("_id"), **inner}
    if set(value) == {"Item"} and isinstance(value["Item"], Mapping):
        value = value["Item"]
    return _untyped({"M": value}) if value and all(map(_is_typed, value.values())) else value


def _is_typed(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in DYNAMO


def _untyped(value: Any) -> Any:
    if not _is_typed(value):
        return value
    kind, inner = next(iter(value.items()))
    if kind == "M" and isinstance(inner, Mapping):
        return {key: _untyped(entry) for key, entry in inner.items()}
    if kind == "L" and isinstance(inner, list):
        return [_untyped(entry) for entry in inner]
    if kind == "N" and isinstance(inner, str):
        return float(inner) if NOT_WHOLE.search(inner) else int(inner)
    return None if kind == "NULL" else inner


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _unfolded(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A record, or a row of each entry of the one list of objects that it holds."""
    lists = [key for key, inner in record.items() if _is_table(inner)]
    if len(lists) != 1 or not all(isinstance(entry, Mapping) for entry in record[lists[0]]):
        yield record
        return
    if not any(_says_something(entry) for entry in record[lists[0]]):
        yield record
        return
    outer = {key: inner for key, inner in record.items() if key != lists[0]}
    for entry in record[lists[0]]:
        yield {**outer, **entry}


def _says_something(entry: Mapping[str, Any]) -> bool:
    """Whether an object has a score, or a question and its answer."""
    if any(looks_like(key) in ("score", "item") for key in entry) or any(
        isinstance(inner, Mapping | list) for inner in entry.values()
    ):
        return True
    parts = {word for key in entry for word in words(key)}
    return bool(parts & QUESTION) and bool(parts & ANSWER)


def _is_by_person(value: Mapping[str, Any]) -> bool:
    """Whether the keys of an object are identifiers of people, since they name nothing known."""
    if not value or any(looks_like(key) or item_number(key) for key in value):
        return False
    return all(type(inner) in (int, float) or isinstance(inner, Mapping) or _is_table(inner)
               for inner in value.values())  # fmt: skip


def _of_person(name: str, value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        for entry in value:
            yield {PERSON: name, **entry} if isinstance(entry, Mapping) else entry
        return
    if not isinstance(value, Mapping):
        yield {PERSON: name, "total": value}
        return
    visits = [inner for inner in value.values() if isinstance(inner, Mapping)]
    if len(visits) == len(value) and not any(looks_like(key) for key in value):
        for visit, inner in value.items():
            yield {PERSON: name, VISIT: visit, **inner}
        return
    yield {PERSON: name, **value}


def flat_row(value: Mapping[str, Any], before: str = "", depth: int = 0) -> dict[str, Any]:
    """The columns of a row: its scalars, and those of what lies deeper (``phq9.items.1``)."""
    row: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{before}{key}"
        if isinstance(inner, list):
            inner = {str(place): entry for place, entry in enumerate(inner, 1)}
        if isinstance(inner, Mapping) and inner and depth < DEPTH:
            row |= flat_row(inner, f"{name}.", depth + 1)
        else:
            row[name] = inner if isinstance(inner, str | int | float) else None
    return row


def json_column(name: str, values: list[Any]) -> pl.Series:
    """A column of JSON values: numbers, text, or both as text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int} or kinds <= {str} or kinds <= {float, int}:
        return pl.Series(name, values, strict=False)
    texts = [None if value is None else str(value) for value in values]
    return pl.Series(name, texts, dtype=pl.String)
