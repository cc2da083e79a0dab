"""A dialogue inside one cell: "User: ... Bot: ...", split by its speakers.

A label is a known word for a speaker before a colon, at the start of the text or of a line, after
the end of a sentence, or anywhere if it has a capital. ChatML (``<|im_start|>user``) is read too.
A cell is a dialogue if it begins with a label, and both the person and someone else speak in it. In
one real study the bot's words stood in the person's turn and nobody noticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from leadline.errors import LeadlineError
from leadline.sources.batch import RawTurnBatch, as_identifier
from leadline.sources.config import TABLE_COLUMNS, ImportConfig, pairs
from leadline.sources.files import table_batches, table_header
from leadline.sources.names import looks_like
from leadline.sources.people import PeopleColumns
from leadline.sources.quoting import listed
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import KNOWN, roles_of
from leadline.sources.source import Source

SPLIT = "cells that hold a dialogue, split by speaker"

LABELS = tuple(sorted(
    {*KNOWN, "me", "you", "agent", "gpt-4", "gpt-3.5", "ellie", "support", "counsellor"}
    - {"function", "developer", "tool"}, key=len, reverse=True,
))  # fmt: skip

TEMPLATES = (
    ("<|im_start|>", re.compile(r"<\|im_start\|>\s*(?P<name>\w+)[ \t]*\n?")),
    ("<|start_header_id|>",
     re.compile(r"<\|start_header_id\|>\s*(?P<name>\w+)\s*<\|end_header_id\|>\s*")),
    ("<start_of_turn>", re.compile(r"<start_of_turn>\s*(?P<name>\w+)[ \t]*\n?")),
    ("<|user|>", re.compile(r"<\|(?P<name>user|assistant|system)\|>\s*")),
)  # fmt: skip
"""Marks that templates set before a message (ChatML, Llama 3, Gemma, Phi), with its speaker."""

ENDS = re.compile(
    r"<\|(?:im_end|endoftext|eot_id|begin_of_text|end_of_text|end)\|>|<end_of_turn>|<bos>|<eos>"
    r"|</?s>"
)
"""Marks of templates that are nobody's words."""

INST = "[INST]"  # Llama 2 and Mistral

MARKS = (":", "\uff1a", INST, *(mark for mark, _ in TEMPLATES))

SAMPLE = 200  # cells by which a column is judged

ENOUGH = 0.5  # share of the cells of a column that have to be dialogues


def label_pattern(extra: Sequence[str] = ()) -> re.Pattern[str]:
    """The pattern of a label, with further speakers that were named.

    Every run before a name is bounded: a label may start at each place of a run of spaces.
    """
    names = "|".join(re.escape(name) for name in (*extra, *LABELS))
    return re.compile(
        rf"(?:^|(?<=[\n\r\u3002\uff01\uff1f])|(?<=[.!?\u3002\uff01\uff1f\"'\u201d|)\]] )|(?<=  )"
        rf"|(?<= )(?-i:(?=[A-Z])))"
        rf"(?:[\[(]?\d{{1,2}}:\d{{2}}(?::\d{{2}}(?:[.,]\d{{1,9}})?)?[\])]?"
        rf"[ \t]{{0,9}}+-?[ \t]{{0,9}}+)?"
        rf"[ \t>*#-]{{0,20}}+[\[<(*]{{0,2}}"
        rf"(?P<name>{names})(?:[ _]?\d{{1,2}})?[\]>)*]{{0,2}}[ ]?[:\uff1a][*]{{0,2}}[ \t]*",
        re.IGNORECASE,
    )


PATTERN = label_pattern()


def with_colons(text: str, roles: Sequence[str] = ()) -> str:
    """A transcript whose speakers stand alone in a line with the time, as Otter and Zoom write."""
    names = "|".join(re.escape(name) for name in (*roles, *LABELS))
    return re.sub(
        rf"(?im)^[ \t]{{0,9}}[\[(]?(?P<name>{names})[\])]?[ \t]{{1,9}}"
        rf"[\[(]?(?:\d{{1,2}}:)?\d{{1,2}}:\d{{2}}(?:[.,]\d{{1,9}})?[\])]?[ \t]{{0,9}}$\n?",
        r"\g<name>: ",
        text,
    )


def split_dialogue(text: str, pattern: re.Pattern[str] = PATTERN) -> list[tuple[str, str]] | None:
    """Speakers and words of a dialogue in one text; None if it is none.

    >>> split_dialogue("User: low today. Bot: What happened?")
    [('User', 'low today.'), ('Bot', 'What happened?')]
    """
    if INST in text:
        text = _as_chatml(text)
    for mark, template in TEMPLATES:
        if mark in text:
            pattern, text = template, ENDS.sub("", text)
            break
    matches = list(pattern.finditer(text))
    if len(matches) < 2 or text[: matches[0].start()].strip():
        return None
    if len({match["name"].lower() for match in matches}) < 2:
        return None
    ends = [match.start() for match in matches[1:]] + [len(text)]
    return [
        (match["name"], text[match.end() : end].strip())
        for match, end in zip(matches, ends, strict=True)
    ]


def _as_chatml(text: str) -> str:
    """``<s>[INST] <<SYS>> ... <</SYS>> low [/INST] why? </s>`` with the marks of ChatML."""
    start = TEMPLATES[0][0]
    text = text.replace("<</SYS>>", f"{start}user\n").replace("<<SYS>>", f"{start}system\n")
    return text.replace("[/INST]", f"{start}assistant\n").replace(INST, f"{start}user\n")


def is_dialogue(text: Any, roles: Mapping[str, str], pattern: re.Pattern[str] = PATTERN) -> bool:
    """Whether a text holds what the person and someone else said."""
    if not isinstance(text, str) or not any(mark in text for mark in MARKS):
        return False
    parts = split_dialogue(text, pattern)
    if parts is None:
        return False
    met = {_role(name, roles) for name, _ in parts}
    return "user" in met and len(met - {"user", "system"}) > 0


def _role(name: str, roles: Mapping[str, str]) -> str:
    return roles.get(name) or roles.get(name.lower()) or KNOWN.get(name.lower(), "unknown")


def dialogue_column(frame: pl.DataFrame, roles: Mapping[str, str]) -> str | None:
    """The one column of a table whose cells hold dialogues; None if there is none.

    Raises:
        LeadlineError: there are several.
    """
    pattern = label_pattern(list(roles))
    columns = []
    header = [name for name in frame.columns if name != "__row"]
    for name in header:
        if frame[name].dtype != pl.String:
            continue
        cells = frame[name].drop_nulls().head(SAMPLE).to_list()
        hits = sum(is_dialogue(cell, roles, pattern) for cell in cells)
        if cells and hits >= ENOUGH * len(cells):
            columns.append(name)
    if len(columns) > 1:
        raise LeadlineError(
            f"More than one column holds whole dialogues: {listed(columns, header)}.",
            remedy="Say which with --format cells --column text=NAME.",
        )
    return columns[0] if columns else None


def read_cells(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open a table with one conversation a row, whose words lie in one cell."""
    explicit = pairs(settings.column, "column", TABLE_COLUMNS)
    header = table_header(source, ledger)
    first = next(iter(table_batches(source, ledger)), pl.DataFrame())
    text = explicit.get("text") or dialogue_column(first, settings.roles())
    if text is None or text not in header:
        raise LeadlineError(
            "No column of the table holds dialogues such as 'User: ... Bot: ...'.",
            remedy="Name it with --column text=NAME.",
            file=source,
            row=1,
        )
    columns = {"text": text}
    for kind in ("person", "conversation", "time"):
        column = explicit.get(kind) or only_column(header, kind, list(columns.values()), source)
        if column is not None:
            columns[kind] = column
    named = "person" in columns or settings.person or settings.one_person_per_conversation
    if not named:
        raise LeadlineError(
            "The table has no column for the person.",
            remedy="Say which one it is with --column person=NAME, or give "
            "--one-person-per-conversation if each row is another person.",
            file=source,
            row=1,
        )
    ledger.uses.meet(source, header)
    for kind, column in columns.items():
        ledger.uses.take(source, column, kind)
    people = PeopleColumns(settings.people_column)
    batches = _batches(source, columns, settings, people, ledger)
    return Source(batches, roles_of(settings), people, inputs=[source])


def only_column(header: Sequence[str], kind: str, used: Sequence[str], source: Path) -> str | None:
    """The one unused column that looks like a kind; None where none does.

    Raises:
        LeadlineError: several do.
    """
    likely = [name for name in header if looks_like(name) == kind and name not in used]
    if len(likely) > 1 and kind != "conversation":
        raise LeadlineError(
            f"More than one column could be the {kind}: {listed(likely, header)}.",
            remedy=f"Say which with --column {kind}=NAME.",
            file=source,
            row=1,
        )
    return likely[0] if len(likely) == 1 else None


def _batches(
    source: Path,
    columns: Mapping[str, str],
    settings: ImportConfig,
    people: PeopleColumns,
    ledger: RejectedRows,
) -> Iterator[RawTurnBatch]:
    pattern = label_pattern(list(settings.roles()))
    count = 0
    for frame in table_batches(source, ledger):
        person = None
        if "person" in columns:
            person = as_identifier(frame[columns["person"]], "person", source)
        rows: list[tuple[Any, ...]] = []
        for place, row in enumerate(frame.iter_rows(named=True)):
            count += 1
            ledger.account.arrived += 1
            text = row[columns["text"]]
            parts = split_dialogue(text, pattern) if isinstance(text, str) else None
            if parts is None:
                ledger.reject(source, row["__row"], *NO_DIALOGUE, 1)
                continue
            conversation = str(row[columns["conversation"]] if "conversation" in columns else count)
            name = conversation if person is None else person[place]
            if people.columns:
                values = [row.get(column) for column in people.columns]
                people.add(name, values, source, row["__row"], ledger)
            time = row[columns["time"]] if "time" in columns else None
            spoken_parts = [(speaker, words) for speaker, words in parts if words]
            ledger.note(SPLIT)
            ledger.account.added += len(spoken_parts) - 1
            rows += [(row["__row"], settings.person or name, conversation, speaker, words, time)
                     for speaker, words in spoken_parts]  # fmt: skip
        kind = frame.schema[columns["time"]] if "time" in columns else pl.Null()
        yield RawTurnBatch(source, _frame(rows, kind))


def _frame(rows: list[tuple[Any, ...]], kind: pl.DataType) -> pl.DataFrame:
    schema = {"row": pl.Int64(), "person": pl.String(), "conversation": pl.String(),
              "speaker": pl.String(), "text": pl.String(), "time": kind}  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


NO_DIALOGUE = (
    "The cell holds no dialogue that can be split by its speakers.",
    "Write 'User:' and 'Bot:' before what each says, or name speakers with --role NAME=ROLE.",
)


def split_rows(
    rows: pl.DataFrame, users: pl.Series, settings: ImportConfig, ledger: RejectedRows, file: Path
) -> pl.DataFrame:
    """Turns of the person that hold a whole dialogue: asked about, split or kept as is said.

    Args:
        rows: raw turns, with `text` and `speaker`.
        users: whether each row is a turn of the person.
        settings: what is done about such turns.
        ledger: counts.
        file: for errors.
    """
    suspects = rows.with_row_index("place").filter(
        users & pl.col("text").str.contains_any(list(MARKS))
    )
    roles = settings.roles()
    pattern = label_pattern(list(roles)) if roles else PATTERN
    places = [place for place, text in suspects.select("place", "text").iter_rows()
              if is_dialogue(text, roles, pattern)]  # fmt: skip
    if not places:
        return rows
    if settings.dialogues == "keep":
        ledger.note("turns of the person that hold a whole dialogue, kept", len(places))
        return rows
    if settings.dialogues == "ask":
        if len(places) * 100 < int(users.sum()):
            ledger.note("turns of the person that look like a whole dialogue, kept", len(places))
            return rows
        raise LeadlineError(
            f"{len(places)} turns of the person hold a whole dialogue ('User: ... Bot: ...'), so "
            "that the words of others count as theirs.",
            remedy="Give --dialogues split to make turns of it, or --dialogues keep.",
            file=file,
            row=rows["row"][places[0]],
        )
    return _split(rows, set(places), pattern, ledger)


def _split(
    rows: pl.DataFrame, places: set[int], pattern: re.Pattern[str], ledger: RejectedRows
) -> pl.DataFrame:
    new: list[dict[str, Any]] = []
    for place, row in enumerate(rows.iter_rows(named=True)):
        parts = split_dialogue(row["text"], pattern) if place in places else None
        if parts is None:
            new.append(row)
            continue
        spoken_parts = [(speaker, words) for speaker, words in parts if words]
        ledger.note(SPLIT)
        ledger.account.added += len(spoken_parts) - 1
        new += [{**row, "speaker": speaker, "text": words} for speaker, words in spoken_parts]
    return pl.DataFrame(new, schema=rows.schema)
