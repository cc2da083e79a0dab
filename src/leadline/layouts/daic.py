"""DAIC-WOZ and E-DAIC: transcripts of interviews and PHQ-8 labels of the split tables.

A transcript is `NNN_TRANSCRIPT.csv`, tab-separated despite its name: start_time, stop_time,
speaker, value. Times are seconds into the recording, so turns have no date. Blank lines and
rows without words are layout. Ellie, the virtual interviewer, is the assistant. A transcript of
E-DAIC is separated by commas and has no speaker (Start_Time, End_Time, Text, Confidence): it holds
the participant's words alone.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from leadline.errors import LeadlineError
from leadline.questionnaires.answers import number
from leadline.sources.batch import ONLY, RawTurnBatch
from leadline.sources.config import ImportConfig
from leadline.sources.files import check_encoding, check_file, csv_rows, reading, table_header
from leadline.sources.label import Label
from leadline.sources.people import PeopleColumns
from leadline.sources.records import RawTurns
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import roles_of
from leadline.sources.source import Source

TRANSCRIPT = re.compile(r"^(\d+)_TRANSCRIPT\.csv$", re.IGNORECASE)

WORDS = {"ellie": "assistant"}

FIELDS = ("speaker", "value")

EXTENDED_TEXT = "text"  # of E-DAIC, where only the participant is transcribed

ALONE = "transcripts without a speaker, taken as the participant's words (E-DAIC)"

ANNOTATION = re.compile(r"<[^<>]*>|\[[^\[\]]*\]")

SCRIPTED = re.compile(r"^\S+ \((.+)\)$")  # name of the scripted utterance (what was said)

PERSON = "participant_id"

TOTAL_COLUMNS = ("phq8_score", "phq_score", "phq_8total", "phq8_total")

PHQ8_COLUMNS = ("nointerest", "depressed", "sleep", "tired", "appetite", "failure",
                "concentrating", "moving")  # fmt: skip

NOT_ASKED = "-1"


def transcripts(source: Path) -> list[tuple[str, Path]]:
    """Participant and transcript of each session in a folder or one level below it."""
    matches = [(TRANSCRIPT.match(path.name), path) for path in source.glob("*.csv")]
    matches += [(TRANSCRIPT.match(path.name), path) for path in source.glob("*/*.csv")]
    return sorted((match[1], path) for match, path in matches if match)


def read_daic(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open a folder of transcripts, or one transcript.

    Label tables that lie in the folder are read unless --phq9 names others.
    """
    if source.is_file():
        match = TRANSCRIPT.match(source.name)
        sessions = [(match[1], source)] if match else []
    else:
        sessions = transcripts(source)
    if not sessions:
        raise LeadlineError(
            "There is no transcript named like 300_TRANSCRIPT.csv here.",
            remedy="Give the folder that holds the transcripts.",
            file=source,
        )
    twice = sorted({name for name, _ in sessions if [n for n, _ in sessions].count(name) > 1})
    if twice:
        raise LeadlineError(
            f"There are two transcripts of {len(twice)} of the participants.",
            remedy="Keep one transcript of each participant: file names begin with their number.",
            file=source,
        )
    people = PeopleColumns(settings.people_column)
    parts = Source(
        _batches(sessions, settings, ledger),
        roles_of(settings, WORDS),
        people,
        inputs=[path for _, path in sessions],
    )
    if settings.phq9 is None and source.is_dir():
        here = {name for name, _ in sessions}
        for path in label_tables(source, ledger):
            parts.labels += daic_labels(path, ledger, people, here)
            parts.inputs.append(path)
    return parts


def _batches(
    sessions: Sequence[tuple[str, Path]], settings: ImportConfig, ledger: RejectedRows
) -> Iterator[RawTurnBatch]:
    for participant, path in sessions:
        rows = RawTurns(path, ledger)
        for line, speaker, value in _lines(path, ledger):
            text = _stripped(value, ledger) if settings.strip_annotations else value
            if text.strip():
                rows.add(f"row {line}", settings.person or participant, ONLY, speaker, text, None)
            else:
                ledger.note("transcript rows without words, left out")
        yield rows.batch()


def _lines(path: Path, ledger: RejectedRows) -> Iterator[tuple[int, str, str]]:
    """Line number, speaker and words of each row. Quotes in words are plain characters."""
    check_encoding(check_file(path))
    with reading(path), path.open(encoding="utf-8-sig", newline="") as stream:
        first = stream.readline(10_000)
    if "\t" not in first and EXTENDED_TEXT in _lower(first.split(",")):
        yield from _extended_lines(path, ledger)
        return
    with reading(path), path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        header: list[str] | None = None
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            if header is None:
                header = _lower(fields)
                _check_header(header, path)
                ledger.uses.meet(path, header)
                for name, kind in zip(FIELDS, ("role", "text"), strict=True):
                    ledger.uses.take(path, name, kind)
                places = [header.index(name) for name in FIELDS]
                continue
            if len(fields) != len(header):
                if len(fields) < len(header) and len(fields) <= places[1]:
                    fields = [*fields, *[""] * (len(header) - len(fields))]
                else:
                    ledger.account.arrived += 1
                    ledger.reject(path, reader.line_num, *WRONG_WIDTH, 1)
                    continue
            yield reader.line_num, fields[places[0]], fields[places[1]]


def _lower(fields: Sequence[str]) -> list[str]:
    return [field.strip().lower() for field in fields]


def _extended_lines(path: Path, ledger: RejectedRows) -> Iterator[tuple[int, str, str]]:
    header, records = csv_rows(path, ledger)
    ledger.uses.meet(path, header)
    lower = _lower(header)
    text = lower.index(EXTENDED_TEXT)
    speaker = next(
        (lower.index(name) for name in ("speaker", "participant") if name in lower), None
    )
    ledger.uses.take(path, header[text], "text")
    if speaker is None:
        ledger.note(ALONE)
    for line, fields in records:
        yield line, "Participant" if speaker is None else fields[speaker], fields[text].strip()


WRONG_WIDTH = (
    "The row has more fields than the header.",
    "Separate start_time, stop_time, speaker and value by one tab each.",
)


def _check_header(header: list[str], path: Path) -> None:
    if not set(FIELDS) <= set(header):
        raise LeadlineError(
            "The transcript has no tab-separated header with speaker and value.",
            remedy="Use the original file: start_time, stop_time, speaker, value.",
            file=path,
            row=1,
        )


def _stripped(value: str, ledger: RejectedRows) -> str:
    """Words without transcriber's marks and without names of scripted utterances."""
    scripted = SCRIPTED.match(value.strip())
    text = scripted[1] if scripted else value
    text = ANNOTATION.sub(" ", text)
    if text != value:
        ledger.note("turns from which annotations were removed")
        text = " ".join(text.split())
    return text


def label_tables(folder: Path, ledger: RejectedRows) -> list[Path]:
    """CSV tables of a folder that name participants and are no transcripts."""
    tables = [path for path in sorted(folder.glob("*.csv")) if not TRANSCRIPT.match(path.name)]
    return [
        path for path in tables if PERSON in [name.lower() for name in table_header(path, ledger)]
    ]


def daic_labels(
    path: Path,
    ledger: RejectedRows,
    people: PeopleColumns | None = None,
    here: set[str] | None = None,
) -> list[Label]:
    """PHQ-8 totals and items of a split table; rows of participants not `here` are noted.

    Raises:
        LeadlineError: the table has no participant column.
    """
    header, records = csv_rows(path, ledger)
    lower = [name.lower() for name in header]
    if PERSON not in lower:
        raise LeadlineError(
            "The table has no Participant_ID column.",
            remedy="Give a split table of the corpus, or say --phq9-column person=NAME.",
            file=path,
            row=1,
        )
    total = next((lower.index(name) for name in TOTAL_COLUMNS if name in lower), None)
    items = [_item_place(lower, word) for word in PHQ8_COLUMNS]
    if total is None and None in items:
        ledger.note("tables without PHQ-8 scores, from which no label is read")
    labels = []
    for line, fields in records:
        person = fields[lower.index(PERSON)].strip()
        if here is not None and person not in here:
            ledger.note("labels of participants without a transcript, left out")
            continue
        if people is not None and people.columns:
            values = [
                fields[header.index(name)] or None if name in header else None
                for name in people.columns
            ]
            people.add(person, values, path, line, ledger)
        score = None if total is None else _value(fields[total])
        answers = tuple(None if place is None else _value(fields[place]) for place in items)
        if score is None and all(answer is None for answer in answers):
            ledger.note("participants without a PHQ-8")
            continue
        labels.append(Label(path, line, person, None, score, answers, "phq8"))
    return labels


def _value(text: str) -> object:
    return None if text.strip() == NOT_ASKED else number(text)


def _item_place(header: Sequence[str], word: str) -> int | None:
    """Where PHQ8_NoInterest, PHQ_8NoInterest and the like stand in a header."""
    pattern = re.compile(rf"^phq_?8_?{word}$")
    return next((place for place, name in enumerate(header) if pattern.match(name)), None)
