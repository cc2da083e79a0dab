"""Which layout a source has. Says what it saw, or stops and says which --format to give.

A layout that is known and not read is named, with the lines that bring it into a long table.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from leadline.artefact import MANIFEST
from leadline.errors import LeadlineError
from leadline.importing.strangers import (
    read_of,
    stranger_file,
    stranger_record,
    stranger_text,
    three_lines,
)
from leadline.layouts.apps import APP_KEYS, is_slack
from leadline.layouts.cells import dialogue_column
from leadline.layouts.chat import (
    CHAT_KEYS,
    conversations,
    has_tree,
    is_message,
    turn_keys,
)
from leadline.layouts.convokit import UTTERANCES
from leadline.layouts.daic import TRANSCRIPT, transcripts
from leadline.layouts.exchanges import exchange_columns
from leadline.layouts.folder import dialogue_files, is_transcript
from leadline.layouts.long_table import columns_of
from leadline.layouts.rasa import RASA_KEYS, opened_event
from leadline.layouts.traces import TRACE_KEYS, is_call
from leadline.layouts.whatsapp import is_whatsapp
from leadline.sources.config import FORMATS, ImportConfig
from leadline.sources.files import (
    EXCEL,
    JSON,
    PARQUET,
    TEXT_TABLES,
    check_file,
    holds_messages,
    is_nested,
    table_batches,
    table_header,
)
from leadline.sources.quoting import listed, sayable
from leadline.sources.rejects import RejectedRows

TABLES = (*TEXT_TABLES, *PARQUET, *EXCEL)

EXCHANGES = ("exchanges", "a table with what the person wrote and what was answered")

ANY_KEYS = CHAT_KEYS | APP_KEYS | RASA_KEYS | TRACE_KEYS

LOOKED_AT = 20  # records of a JSON file by which its layout is judged


def detect_format(source: Path, settings: ImportConfig, ledger: RejectedRows) -> tuple[str, str]:
    """The format of a source and what was seen of it.

    Raises:
        LeadlineError: none fits, or more than one does.
    """
    if source.is_dir():
        return _folder(source, settings)
    check_file(source)
    if settings.mapping is not None:
        return "survey", "a mapping file was given"
    suffix = source.suffix.lower()
    if TRANSCRIPT.match(source.name):
        return "daic", "a file named like a DAIC-WOZ transcript"
    if suffix == ".txt" and is_whatsapp(source):
        return "whatsapp", "lines with a date, a clock and a name, as WhatsApp exports"
    if is_transcript(source, list(settings.roles())):
        return "folder", "a transcript with a speaker before what each says"
    if suffix in PARQUET and is_nested(source):
        return _json(source, settings)
    if suffix == ".txt":
        _refuse_speech(source, ledger)
    if suffix in TABLES:
        return _table(source, settings, ledger)
    if suffix in JSON:
        return _json(source, settings)
    raise stranger_file(source) or unclear(
        source, f"The ending {suffix or 'of the name'!r} is not known."
    )


def _refuse_speech(source: Path, ledger: RejectedRows) -> None:
    """Refuse a text that is no table, and in which nobody who is known speaks."""
    stranger = stranger_text(source)
    if stranger is not None:
        raise stranger
    if len(table_header(source, ledger)) == 1:
        raise LeadlineError(
            "This text names no speaker that Leadline knows before what each says.",
            remedy="If lines begin with who speaks, name the speakers: --person-role A "
            "--role Q=clinician for 'Q: ...' and 'A: ...'. Else write 'Patient:' and 'Therapist:' "
            "before what each says.",
            file=source,
        )


def unclear(source: Path, problem: str) -> LeadlineError:
    """The error that asks for --format."""
    return LeadlineError(
        problem, remedy=f"Give --format: one of {', '.join(FORMATS[1:])}.", file=source
    )


def _folder(source: Path, settings: ImportConfig) -> tuple[str, str]:
    if (source / MANIFEST).is_file() and (source / "turns.parquet").is_file():
        raise LeadlineError(
            "This folder is a cohort already.",
            remedy="Use it as it is, for example with leadline inspect.",
            file=source,
        )
    fits = []
    sessions = transcripts(source)
    if (source / UTTERANCES).is_file():
        fits.append(("convokit", f"a folder with {UTTERANCES}", "a ConvoKit corpus"))
    if sessions:
        sign = f"a folder with {len(sessions)} files named like 300_TRANSCRIPT.csv"
        fits.append(("daic", sign, "DAIC-WOZ transcripts"))
    if is_slack(source):
        fits.append(("slack", "a folder of days for each channel", "a Slack export"))
    if len(fits) > 1:
        raise unclear(source, f"The folder holds {' and '.join(name for *_, name in fits)}.")
    if fits:
        return fits[0][0], fits[0][1]
    files = dialogue_files(source)
    if files and _is_dialogue(files[0], settings):
        return "folder", f"a folder with {len(files)} files, one a dialogue"
    deeper = sorted(path.name for path in source.iterdir()
                    if path.is_dir() and dialogue_files(path))  # fmt: skip
    remedy = "Give the file with the conversations itself."
    if deeper and not files:
        remedy = (
            f"Its {len(deeper)} folders hold files: give one of them, with --person ID if all in "
            "it is of one person, or put all files into one folder."
        )
    raise LeadlineError(
        "This folder holds neither a ConvoKit corpus nor DAIC-WOZ transcripts, nor a Slack export, "
        "nor a file a dialogue.",
        remedy=remedy,
        file=source,
    )


def _is_dialogue(path: Path, settings: ImportConfig) -> bool:
    """Whether a file of a folder could be one dialogue."""
    suffix = path.suffix.lower()
    ledger = RejectedRows(skip_bad=True)
    try:
        if suffix in JSON:
            _, record = next(conversations(path, ledger), ("", None))
            return isinstance(record, Mapping) and bool(_json_fits(record))
        if suffix == ".txt":
            return is_whatsapp(path) or is_transcript(path)
        return {"role", "text"} <= set(columns_of(path, settings, ledger))
    except LeadlineError:
        return False


def _table(source: Path, settings: ImportConfig, ledger: RejectedRows) -> tuple[str, str]:
    try:
        columns = columns_of(source, settings, ledger)
    except LeadlineError:  # two columns of words may be the halves of exchanges
        if exchange_columns(table_header(source, ledger)) is None:
            raise
        return EXCHANGES
    if {"role", "text"} <= set(columns):
        return "table", "a table with a role and a text column"
    first = next(iter(table_batches(source, RejectedRows(skip_bad=True))), pl.DataFrame())
    column = None if "role" in columns else _dialogue_column(first, settings, source)
    if column is not None:
        return "cells", "a table whose cells hold whole dialogues"
    halves = exchange_columns(header_of(first))
    looked_at = first if halves is None else first.select(halves)
    if source.suffix.lower() in TEXT_TABLES and holds_messages(looked_at):
        in_cells = _in_cells(source)
        if in_cells is not None:
            return in_cells
    if halves is not None:
        return EXCHANGES
    if "text" in columns and "person" in columns:
        raise _without_speakers(columns, header_of(first), source)
    raise LeadlineError(
        "The table has no role and text column that Leadline knows.",
        remedy="If each row is a turn, give --format table with --column role=NAME and "
        "--column text=NAME; if each row is a person, give --mapping FILE.toml; if each row is a "
        "conversation in one cell, give --format cells. The table has: "
        f"{listed(header_of(first))}.",
        file=source,
        row=1,
    )


def _without_speakers(columns: Mapping[str, str], header: list[str], source: Path) -> LeadlineError:
    """The error for a table of somebody's texts that does not say who speaks: posts, a diary."""
    lines = [f"{kind} = {sayable(columns[kind], 'NAME')!r}"
             for kind in ("person", "time") if kind in columns]  # fmt: skip
    answer = f"answer = {sayable(columns['text'], 'NAME')!r}"
    return LeadlineError(
        "The table has people and texts, and no column that says who speaks.",
        remedy="If one does, give --column role=NAME. If all texts are the person's own (a diary, "
        f"posts), give --mapping FILE.toml with these lines: {'; '.join(lines)}; ignore = ['*']; "
        f"[[turns]]; {answer}. The table has: {listed(header)}.",
        file=source,
        row=1,
    )


def _in_cells(source: Path) -> tuple[str, str] | None:
    """The format of a table whose cells hold JSON, by what its rows are as objects."""
    _, record = next(conversations(source, RejectedRows(skip_bad=True)), ("", None))
    if not isinstance(record, Mapping):
        return None
    known_layout = platform_of(opened_event(record))
    if known_layout is not None:
        return known_layout
    fits = _json_fits(record)
    return (fits[0][0], f"a table whose cells hold JSON: {fits[0][1]}") if len(fits) == 1 else None


def _json(source: Path, settings: ImportConfig) -> tuple[str, str]:
    # With --skip-bad, bad lines are passed over; the reader will meet and count them again.
    ledger = RejectedRows(settings.skip_bad)
    records = list(islice(conversations(source, ledger, ANY_KEYS), LOOKED_AT))
    where, record = next(((w, r) for w, r in records if isinstance(r, Mapping)), ("", None))
    if record is None:
        raise unclear(source, "The first record is not a JSON object.")
    if "resourceType" in record:
        raise LeadlineError(
            "These are FHIR resources: labels, not conversations.",
            remedy="Give the conversations as the source and this file with --phq9.",
            file=source,
        )
    known_layout = platform_of(record)
    if known_layout is not None:
        return known_layout
    if settings.messages_key:
        return "chat", "the list of messages that --messages-key names"
    for entry in (entry for _, entry in records if isinstance(entry, Mapping)):
        stranger = stranger_record(entry, source, sure=True)
        if stranger is not None:
            raise stranger
    fits = _json_fits(record)
    if len(fits) > 1 and len(turn_keys(record)) == len(fits):
        raise _several_lists(record, source)
    if len(fits) > 1:
        evidence = " and ".join(sign for _, sign in fits)
        raise unclear(source, f"The first record ({where}) has {evidence}.")
    if fits:
        return fits[0]
    if not fits and exchange_columns(list(record)) is not None:
        return EXCHANGES
    if not fits and _holds_cells(source, settings):
        return "cells", "records whose texts hold whole dialogues"
    if not fits:
        stranger = stranger_record(record, source)
        if stranger is not None:
            raise stranger
    names = listed(record, what="key")
    problem = f"The first record ({where}) has nothing that Leadline knows. Its keys: {names}."
    error = unclear(source, problem)
    remedy = f"{error.remedy} {three_lines(read_of(source))}"
    raise LeadlineError(error.problem, remedy=remedy, file=source)


def _several_lists(record: Mapping[str, Any], source: Path) -> LeadlineError:
    """The error for a record that holds several conversations: answers to choose from, logs."""
    keys = listed(turn_keys(record), list(record), what="key")
    return LeadlineError(
        f"Each record has several lists of messages: {keys}.",
        remedy="Say which is the conversation with --format chat --messages-key KEY, such as "
        "conversation_a or chosen.",
        file=source,
    )


def header_of(frame: pl.DataFrame) -> list[str]:
    """The names of a table without the number of the row."""
    return [name for name in frame.columns if name != "__row"]


def _holds_cells(source: Path, settings: ImportConfig) -> bool:
    """Whether the texts of a JSON file hold whole dialogues."""
    try:
        frame = next(iter(table_batches(source, RejectedRows(skip_bad=True))), pl.DataFrame())
    except LeadlineError:
        return False
    return _dialogue_column(frame, settings, source) is not None


def _dialogue_column(frame: pl.DataFrame, settings: ImportConfig, source: Path) -> str | None:
    try:
        return dialogue_column(frame, settings.roles())
    except LeadlineError as error:
        raise LeadlineError(error.problem, remedy=error.remedy, file=source, row=1) from error


def platform_of(record: Mapping[str, Any]) -> tuple[str, str] | None:
    """The format of a record that bears the marks of one program, and what they are."""
    messages = record.get("messages")
    first = next((entry for entry in messages if isinstance(entry, Mapping)), {}) if isinstance(
        messages, list) else {}  # fmt: skip
    author = first.get("author")
    if ("guild" in record and "channel" in record) or (
        isinstance(author, Mapping) and "isBot" in author
    ):
        return "discord", "messages with authors and isBot, as DiscordChatExporter writes"
    if isinstance(record.get("chats"), Mapping) or "from_id" in first or "date_unixtime" in first:
        return "telegram", "messages with from_id, as Telegram Desktop exports"
    if "sender_name" in first and "timestamp_ms" in first:
        return "messenger", "messages with sender_name and timestamp_ms, as Facebook exports"
    events = record.get("events")
    if (isinstance(events, list) and "sender_id" in record) or (
        "event" in record and ("sender_id" in record or "parse_data" in record)
    ):
        return "rasa", "events of a sender, as Rasa's tracker has"
    if has_tree(record):
        return "chatgpt", "a mapping of messages, as ChatGPT exports"
    if isinstance(record.get("chat_messages"), list):
        return "claude", "chat_messages, as Claude exports"
    if is_call(record):
        return "traces", "calls of a model with an input and an output"
    return None


def _json_fits(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    fits: list[tuple[str, str]] = []
    if "conversation_parts" in record:
        fits.append(("intercom", "conversation_parts, as Intercom exports have"))
    for key in turn_keys(record):
        messages = [entry for entry in record[key] if isinstance(entry, Mapping)]
        if messages and all("from" in message and "value" in message for message in messages):
            fits.append(("sharegpt", f"{key} with from and value, as ShareGPT has"))
        else:
            fits.append(("chat", f"a list of messages under {key}"))
    if is_message(record):
        fits.append(("chat", "records that are messages"))
    return fits


def is_fhir(path: Path) -> bool:
    """Whether a label file holds FHIR resources: JSON that names a resourceType near its start."""
    if check_file(path).suffix.lower() not in JSON:
        return False
    with path.open("rb") as stream:
        return b"resourcetype" in stream.read(65_536).lower()
