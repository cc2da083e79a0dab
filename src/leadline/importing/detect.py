"""Which layout a source has. Says what it saw, or stops and says which --format to give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadline.artefact import MANIFEST
from leadline.errors import LeadlineError
from leadline.layouts.chat import conversations, is_message, turn_keys
from leadline.layouts.convokit import UTTERANCES
from leadline.layouts.daic import TRANSCRIPT, transcripts
from leadline.layouts.long_table import columns_of
from leadline.sources.config import FORMATS, ImportConfig
from leadline.sources.files import JSON_LINES, TEXT_TABLES, check_file
from leadline.sources.rejects import RejectedRows

JSON = (".json", *JSON_LINES)

TABLES = (*TEXT_TABLES, ".parquet", ".pq")


def detect_format(source: Path, settings: ImportConfig, ledger: RejectedRows) -> tuple[str, str]:
    """The format of a source and what was seen of it.

    Raises:
        LeadlineError: none fits, or more than one does.
    """
    if source.is_dir():
        return _folder(source)
    check_file(source)
    if settings.mapping is not None:
        return "survey", "a mapping file was given"
    suffix = source.suffix.lower()
    if TRANSCRIPT.match(source.name):
        return "daic", "a file named like a DAIC-WOZ transcript"
    if suffix in TABLES:
        return _table(source, settings, ledger)
    if suffix in JSON:
        return _json(source, settings)
    raise unclear(source, f"The ending {suffix or 'of the name'!r} is not known.")


def unclear(source: Path, problem: str) -> LeadlineError:
    """The error that asks for --format."""
    return LeadlineError(
        problem, remedy=f"Give --format: one of {', '.join(FORMATS[1:])}.", file=source
    )


def _folder(source: Path) -> tuple[str, str]:
    if (source / MANIFEST).is_file() and (source / "turns.parquet").is_file():
        raise LeadlineError(
            "This folder is a cohort already.",
            remedy="Use it as it is, for example with leadline inspect.",
            file=source,
        )
    convokit = (source / UTTERANCES).is_file()
    sessions = transcripts(source)
    if convokit and sessions:
        raise unclear(source, "The folder holds a ConvoKit corpus and DAIC-WOZ transcripts.")
    if convokit:
        return "convokit", f"a folder with {UTTERANCES}"
    if sessions:
        return "daic", f"a folder with {len(sessions)} files named like 300_TRANSCRIPT.csv"
    raise LeadlineError(
        "This folder holds neither a ConvoKit corpus nor DAIC-WOZ transcripts.",
        remedy="Give the file with the conversations itself.",
        file=source,
    )


def _table(source: Path, settings: ImportConfig, ledger: RejectedRows) -> tuple[str, str]:
    columns = columns_of(source, settings, ledger)
    if {"role", "text"} <= set(columns):
        return "table", "a table with a role and a text column"
    raise LeadlineError(
        "The table has no role and text column that Leadline knows.",
        remedy="If each row is a turn, give --format table with --column role=NAME and "
        "--column text=NAME; if each row is a person, give --mapping FILE.toml.",
        file=source,
        row=1,
    )


def _json(source: Path, settings: ImportConfig) -> tuple[str, str]:
    # With --skip-bad, bad lines are passed over; the reader will meet and count them again.
    ledger = RejectedRows(settings.skip_bad)
    where, record = next(conversations(source, ledger), ("", None))
    if not isinstance(record, Mapping):
        raise unclear(source, "The first record is not a JSON object.")
    if "resourceType" in record:
        raise LeadlineError(
            "These are FHIR resources: labels, not conversations.",
            remedy="Give the conversations as the source and this file with --phq9.",
            file=source,
        )
    fits = _json_fits(record)
    if len(fits) == 1:
        return fits[0]
    evidence = " and ".join(sign for _, sign in fits) or "nothing that Leadline knows"
    raise unclear(source, f"The first record ({where}) has {evidence}.")


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
    """Whether a label file is JSON, that is FHIR, by its name."""
    return check_file(path).suffix.lower() in JSON
