"""A folder with one file a dialogue: tables, JSON, transcripts in plain text, or WhatsApp chats.

The name of a file is the conversation. The person is a column or key of the file, or --person, or,
with --one-person-per-conversation, another in each file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from leadline.errors import LeadlineError
from leadline.layouts.cells import NO_DIALOGUE, label_pattern, split_dialogue, with_colons
from leadline.layouts.chat import ChatReader
from leadline.layouts.long_table import Fixed, TableReader
from leadline.layouts.whatsapp import is_whatsapp, read_whatsapp
from leadline.sources.batch import RawTurnBatch
from leadline.sources.config import ImportConfig
from leadline.sources.files import EXCEL, JSON, PARQUET, TEXT_TABLES, read_text
from leadline.sources.people import PeopleColumns
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import roles_of
from leadline.sources.source import Source

BESIDE = ("readme", "license", "licence", "changelog", "citation")  # files beside the dialogues

TRANSCRIPTS = (".txt", ".text")

TABLES = (*(suffix for suffix in TEXT_TABLES if suffix != ".txt"), *PARQUET, *EXCEL)


def dialogue_files(folder: Path) -> list[Path]:
    """Files of a folder that could each hold a dialogue, in the order of their names."""
    suffixes = (*TABLES, *JSON, *TRANSCRIPTS)
    files = [path for path in folder.iterdir()
             if path.is_file() and path.suffix.lower() in suffixes
             and not path.name.startswith(".") and path.stem.lower() not in BESIDE]  # fmt: skip
    return sorted(files, key=lambda path: (len(path.stem), path.name)
                  if path.stem.isdigit() else (0, path.name))  # fmt: skip


def is_transcript(path: Path, roles: Sequence[str] = ()) -> bool:
    """Whether a text file is a dialogue with a speaker before what each says.

    Args:
        path: the file.
        roles: further speakers that were named.
    """
    if path.suffix.lower() not in TRANSCRIPTS:
        return False
    try:
        with path.open(encoding="utf-8-sig") as stream:
            head = stream.read(20_000)
    except (OSError, UnicodeDecodeError):
        return False
    parts = split_dialogue(with_colons(head, roles), label_pattern(roles))
    return parts is not None and len(parts) > 1


def read_folder(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open a folder with one file a dialogue, or one such file."""
    files = dialogue_files(source) if source.is_dir() else [source]
    if not files:
        raise LeadlineError(
            "The folder holds no file that could be a dialogue.",
            remedy="Give tables (.csv, .tsv, .parquet), .json, .jsonl or .txt files.",
            file=source,
        )
    people = PeopleColumns(settings.people_column)
    batches = _batches(files, settings, people, ledger)
    return Source(batches, roles_of(settings), people, inputs=list(files))


def _batches(
    files: list[Path], settings: ImportConfig, people: PeopleColumns, ledger: RejectedRows
) -> Iterator[RawTurnBatch]:
    for path in files:
        suffix = path.suffix.lower()
        if suffix in JSON:
            yield from ChatReader(path, settings, ledger, people, settings.person_key,
                                  name=path.stem).batches()  # fmt: skip
        elif suffix in TABLES:
            yield from TableReader(path, settings, ledger, people, Fixed("", path.stem)).batches()
        elif is_whatsapp(path):
            yield from read_whatsapp(path, settings, ledger).batches
        else:
            yield _transcript(path, settings, ledger)


def _transcript(path: Path, settings: ImportConfig, ledger: RejectedRows) -> RawTurnBatch:
    """The turns of a transcript in plain text."""
    person = settings.person or (path.stem if settings.one_person_per_conversation else "")
    if not person:
        raise LeadlineError(
            "The transcript does not say who the person is.",
            remedy="Give --one-person-per-conversation if each file is another person, or "
            "--person ID if all are one.",
            file=path,
        )
    roles = list(settings.roles())
    parts = split_dialogue(with_colons(read_text(path), roles), label_pattern(roles))
    schema = {"row": pl.String, "person": pl.String, "conversation": pl.String,
              "speaker": pl.String, "text": pl.String}  # fmt: skip
    if parts is None:
        ledger.account.arrived += 1
        ledger.reject(path, None, *NO_DIALOGUE, 1)
        return RawTurnBatch(path, pl.DataFrame(schema=schema))
    spoken_parts = [(speaker, words) for speaker, words in parts if words]
    ledger.account.arrived += len(spoken_parts)
    rows = [(f"part {place}", person, path.stem, speaker, words)
            for place, (speaker, words) in enumerate(spoken_parts, 1)]  # fmt: skip
    return RawTurnBatch(path, pl.DataFrame(rows, schema=schema, orient="row"))
