"""Wide survey tables: one row a person (or a check-in), several text columns that become turns.

A TOML mapping file says which column is asked by which question, where the PHQ-9 is, and
what to ignore. A column that the file does not mention stops the import, so that nothing
enters or is lost unseen.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from leadline.errors import LeadlineError
from leadline.phq9.items import INSTRUMENTS
from leadline.questionnaires.answers import answer as worth
from leadline.questionnaires.answers import number
from leadline.sources.batch import RawTurnBatch, as_identifier
from leadline.sources.config import ImportConfig, check_people_columns
from leadline.sources.files import read_text, table_batches, table_header
from leadline.sources.label import Label
from leadline.sources.names import instrument_of
from leadline.sources.people import PeopleColumns
from leadline.sources.quoting import listed, toml_place
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import roles_of
from leadline.sources.source import Source

KEYS = ("person", "conversation", "time", "turns", "phq9", "people", "ignore")

TURN_KEYS = ("ask", "answer")

PHQ9_KEYS = ("total", "items", "time", "instrument")

EVERYTHING = "*"

EMPTY_ROWS = "rows without a person or an answer, passed over"

UNANSWERED = "questions without an answer, left out with the question"


@dataclass(frozen=True)
class SurveyMap:
    """A mapping file, checked.

    Attributes:
        person: column of the person's identifier.
        turns: (question or "", column of the answer), in the order of speech.
        conversation: column that tells several rows of one person apart, or "".
        time: column of the time of answering, or "".
        total: column of the PHQ-9 total, or "".
        items: columns of the items in their order, or empty.
        label_time: column of the time of the PHQ-9, or "" (then `time`).
        instrument: of the labels, or "" (then the setting).
        people: name in the cohort -> column.
        ignore: columns that are not read; ``*`` stands for all others.
    """

    person: str
    turns: tuple[tuple[str, str], ...]
    conversation: str = ""
    time: str = ""
    total: str = ""
    items: tuple[str, ...] = ()
    label_time: str = ""
    instrument: str = ""
    people: tuple[tuple[str, str], ...] = ()
    ignore: tuple[str, ...] = ()

    def columns(self) -> list[str]:
        """Every column that is read."""
        single = (self.person, self.conversation, self.time, self.total, self.label_time)
        answers = (answer for _, answer in self.turns)
        described = (column for _, column in self.people)
        every = (*single, *answers, *self.items, *described)
        return list(dict.fromkeys(name for name in every if name))


def read_mapping(path: Path) -> SurveyMap:
    """Read and check a mapping file.

    Raises:
        LeadlineError: not TOML, an unknown or missing key, or a value of the wrong kind.
    """
    try:
        raw = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise LeadlineError(
            f"This is not valid TOML{toml_place(error)}.",
            remedy="Correct the mapping file.",
            file=path,
        ) from error
    _check_keys(raw, KEYS, "", path)
    phq9 = _table(raw, "phq9", path)
    _check_keys(phq9, PHQ9_KEYS, "[phq9] ", path)
    people = _table(raw, "people", path)
    check_people_columns(tuple(people))
    instrument = _text(phq9, "instrument", path)
    if instrument and instrument not in INSTRUMENTS:
        raise _wrong("instrument", f"one of {', '.join(INSTRUMENTS)}", path)
    if not _text(raw, "person", path):
        raise _wrong("person", "the name of the column that identifies the person", path)
    return SurveyMap(
        person=_text(raw, "person", path),
        turns=_turns(raw.get("turns"), path),
        conversation=_text(raw, "conversation", path),
        time=_text(raw, "time", path),
        total=_text(phq9, "total", path),
        items=_items(phq9, path),
        label_time=_text(phq9, "time", path),
        instrument=instrument,
        people=tuple((name, _text(people, name, path)) for name in people),
        ignore=_texts(raw, "ignore", path),
    )


def _wrong(key: str, kind: str, path: Path) -> LeadlineError:
    return LeadlineError(
        f"The key {key!r} of the mapping file is missing or not {kind}.",
        remedy=f"Write {key} = ... as {kind}; docs/importing.md shows an example.",
        file=path,
    )


def _check_keys(
    mapping: Mapping[str, Any], allowed_keys: tuple[str, ...], where: str, path: Path
) -> None:
    strange = sorted(set(mapping) - set(allowed_keys))
    if strange:
        raise LeadlineError(
            f"The mapping file has an unknown key {where}{', '.join(strange)}.",
            remedy=f"Known keys: {', '.join(allowed_keys)}. Keys of the top level come before the "
            "first [table].",
            file=path,
        )


def _table(raw: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = raw.get(key, {})
    if not isinstance(value, dict):
        raise _wrong(key, "a table", path)
    return value


def _text(raw: Mapping[str, Any], key: str, path: Path) -> str:
    value = raw.get(key, "")
    if not isinstance(value, str):
        raise _wrong(key, "a text", path)
    return value


def _texts(raw: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
    value = raw.get(key, [])
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise _wrong(key, "a list of column names", path)
    return tuple(value)


def _items(phq9: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    items = _texts(phq9, "items", path)
    if items and len(items) not in (2, 8, 9):
        raise _wrong("items", "a list of 9 column names (8 for PHQ-8, 2 for PHQ-2)", path)
    return items


def _turns(value: Any, path: Path) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list) or not value:
        raise _wrong("turns", "[[turns]] with an answer column each", path)
    turns = []
    for entry in value:
        if not isinstance(entry, dict):
            raise _wrong("turns", "[[turns]] with an answer column each", path)
        _check_keys(entry, TURN_KEYS, "[[turns]] ", path)
        if not _text(entry, "answer", path):
            raise _wrong("answer", "the column of the person's words", path)
        turns.append((_text(entry, "ask", path), _text(entry, "answer", path)))
    return tuple(turns)


def read_survey(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open a survey by its mapping file (`settings.mapping`)."""
    if settings.mapping is None:
        raise LeadlineError(
            "A survey needs a mapping file.",
            remedy="Add --mapping FILE.toml; docs/importing.md shows one.",
            file=source,
        )
    mapping = read_mapping(settings.mapping)
    _check_columns(mapping, table_header(source, ledger), source)
    people = PeopleColumns(tuple(name for name, _ in mapping.people))
    _say_uses(source, mapping, ledger)
    parts = Source(iter(()), roles_of(settings), people, inputs=[source, settings.mapping])
    parts.batches = _batches(source, mapping, settings, parts, ledger)
    return parts


def _say_uses(source: Path, mapping: SurveyMap, ledger: RejectedRows) -> None:
    uses = ledger.uses
    uses.meet(source, [name for name in table_header(source, ledger) if name])
    single = {"person": mapping.person, "conversation": mapping.conversation,
              "time": mapping.time, "total": mapping.total,
              "time of the PHQ-9": mapping.label_time}  # fmt: skip
    for kind, name in single.items():
        if name:
            uses.take(source, name, kind)
    for place, name in enumerate(mapping.items, 1):
        uses.take(source, name, f"item_{place}")
    for _, name in mapping.turns:
        uses.take(source, name, "text")
    for _, name in mapping.people:
        uses.take(source, name, "about the person")


def _check_columns(mapping: SurveyMap, header: list[str], source: Path) -> None:
    absent = [name for name in mapping.columns() if name not in header]
    if absent:
        raise LeadlineError(
            f"The table has no column {', '.join(absent)}.",
            remedy=f"Correct the mapping file. The table has: {listed(header)}.",
            file=source,
            row=1,
        )
    mentioned_columns = {*mapping.columns(), *mapping.ignore}
    unused = [name for name in header if name and name not in mentioned_columns]
    if unused and EVERYTHING not in mapping.ignore:
        raise LeadlineError(
            f"The mapping file does not mention the column {listed(unused, header)}.",
            remedy='Map it, or list it under ignore (ignore = ["*"] ignores all others).',
            file=source,
            row=1,
        )


def _batches(
    source: Path, mapping: SurveyMap, settings: ImportConfig, parts: Source, ledger: RejectedRows
) -> Iterator[RawTurnBatch]:
    met: Counter[str] = Counter()
    conversations: set[tuple[str, str]] = set()
    for frame in table_batches(source, ledger, mapping.columns()):
        named = frame.with_columns(as_identifier(frame[mapping.person], "person", source))
        turns: list[tuple[Any, ...]] = []
        for row in named.iter_rows(named=True):
            answers = sum(bool(_words(row, answer, source)) for _, answer in mapping.turns)
            ledger.account.arrived += answers
            conversation = _conversation(row, mapping, met, source, ledger, answers)
            if conversation is None:
                continue
            key = (row[mapping.person], conversation)
            if key in conversations:
                ledger.reject(
                    source,
                    row["__row"],
                    "The person has this conversation twice.",
                    "Give each check-in of a person its own identifier.",
                    answers,
                )
                continue
            conversations.add(key)
            turns += _turn_rows(row, mapping, conversation, source, ledger)
            _describe(row, mapping, settings, parts, source, ledger)
        yield RawTurnBatch(source, _turn_frame(turns, frame, mapping))


def _conversation(
    row: Mapping[str, Any],
    mapping: SurveyMap,
    met: Counter[str],
    source: Path,
    ledger: RejectedRows,
    answers: int,
) -> str | None:
    """The conversation's name; None where the row is bad or empty."""
    person = row[mapping.person]
    if person is None or not person.strip():
        if not answers and all(row[name] is None for name in mapping.columns()):
            ledger.note(EMPTY_ROWS)
            return None
        problem = "The person identifier is missing."
        ledger.reject(source, row["__row"], problem, "Fill it in.", answers)
        return None
    if mapping.conversation:
        value = row[mapping.conversation]
        if value is None or not str(value).strip():
            ledger.reject(
                source,
                row["__row"],
                "The conversation identifier is missing.",
                "Fill it in.",
                answers,
            )
            return None
        return str(value)
    met[person] += 1
    if met[person] > 1 and not mapping.time:
        ledger.reject(
            source,
            row["__row"],
            "The person has two rows, and nothing tells them apart.",
            "Remove one, or name a conversation or time column in the mapping file.",
            answers,
        )
        return None
    return str(met[person])


def _turn_rows(
    row: Mapping[str, Any],
    mapping: SurveyMap,
    conversation: str,
    source: Path,
    ledger: RejectedRows,
) -> list[tuple[Any, ...]]:
    time = row[mapping.time] if mapping.time else None
    turns: list[tuple[Any, ...]] = []
    for ask, answer in mapping.turns:
        text = _words(row, answer, source)
        if not text:
            ledger.note(UNANSWERED)
            continue
        head = (row["__row"], row[mapping.person], conversation)
        if ask:
            ledger.account.added += 1
            turns.append((*head, "assistant", ask, time))
        turns.append((*head, "user", text, time))
    return turns


def _words(row: Mapping[str, Any], answer: str, source: Path) -> str:
    """What a person wrote in a cell; "" where they wrote nothing.

    Raises:
        LeadlineError: the cell holds no text.
    """
    text = row[answer]
    if text is None or (isinstance(text, str) and not text.strip()):
        return ""
    if not isinstance(text, str):
        raise LeadlineError(
            f"The column {answer} holds no text.",
            remedy="Name a text column as the answer.",
            file=source,
            row=row["__row"],
        )
    return text


def _turn_frame(
    turns: list[tuple[Any, ...]], frame: pl.DataFrame, mapping: SurveyMap
) -> pl.DataFrame:
    kind = frame.schema[mapping.time] if mapping.time else pl.Null()
    schema = {"row": pl.Int64(), "person": pl.String(), "conversation": pl.String(),
              "speaker": pl.String(), "text": pl.String(), "time": kind}  # fmt: skip
    return pl.DataFrame(turns, schema=schema, orient="row")


def _describe(
    row: Mapping[str, Any],
    mapping: SurveyMap,
    settings: ImportConfig,
    parts: Source,
    source: Path,
    ledger: RejectedRows,
) -> None:
    """Note the person and their PHQ-9, if the row has one."""
    person = row[mapping.person]
    values = [row[column] for _, column in mapping.people]
    parts.people.add(person, values, source, row["__row"], ledger)
    total = number(row[mapping.total], settings.missing) if mapping.total else None
    items = tuple(worth(row[name], settings.missing) for name in mapping.items)
    if not mapping.total and not mapping.items:
        return
    if total is None and all(item is None for item in items):
        ledger.note("rows without a PHQ-9")
        return
    time = mapping.label_time or mapping.time
    parts.labels.append(
        Label(source, row["__row"], person, row[time] if time else None, total, items,
              _instrument(mapping, settings))
    )  # fmt: skip


def _instrument(mapping: SurveyMap, settings: ImportConfig) -> str:
    """Of the labels: as the file or the settings say, else by the items and the total."""
    if mapping.instrument or settings.instrument != "auto":
        return mapping.instrument or settings.instrument
    by_items = {8: "phq8", 2: "phq2"}.get(len(mapping.items))
    by_total = instrument_of(mapping.total) if mapping.total else None
    return by_items or (by_total if by_total in INSTRUMENTS else None) or "phq9"
