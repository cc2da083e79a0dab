"""One way in: open a source, check it, write a cohort whole or not at all."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from leadline.artefact import sha256
from leadline.cohort.lock import carry_lock
from leadline.cohort.store import finish_cohort
from leadline.errors import LeadlineError
from leadline.importing.authors import refuse_placeholders, settle_authors
from leadline.importing.detect import detect_format, is_fhir
from leadline.importing.prepared import prepared
from leadline.importing.spool import Spool, clean, order, write_turns
from leadline.layouts.apps import read_discord, read_messenger, read_slack, read_telegram
from leadline.layouts.cells import read_cells
from leadline.layouts.chat import read_chat, read_claude, read_sharegpt
from leadline.layouts.convokit import read_convokit
from leadline.layouts.daic import daic_labels, read_daic
from leadline.layouts.exchanges import read_exchanges
from leadline.layouts.folder import read_folder
from leadline.layouts.intercom import read_intercom
from leadline.layouts.long_table import read_table
from leadline.layouts.rasa import read_rasa
from leadline.layouts.survey import read_survey
from leadline.layouts.traces import read_traces
from leadline.layouts.whatsapp import read_whatsapp
from leadline.output import check_name, new_directory
from leadline.questionnaires.fhir import fhir_labels
from leadline.questionnaires.labels import from_zero, label_table, table_labels
from leadline.sources.batch import RawTurnBatch
from leadline.sources.config import ImportConfig
from leadline.sources.identity import Identities
from leadline.sources.label import Label
from leadline.sources.rejects import RejectedRows
from leadline.sources.source import Source

READERS: dict[str, Callable[[Path, ImportConfig, RejectedRows], Source]] = {
    "table": read_table,
    "cells": read_cells,
    "exchanges": read_exchanges,
    "folder": read_folder,
    "survey": read_survey,
    "chat": read_chat,
    "sharegpt": read_sharegpt,
    "chatgpt": read_chat,
    "claude": read_claude,
    "discord": read_discord,
    "telegram": read_telegram,
    "slack": read_slack,
    "messenger": read_messenger,
    "whatsapp": read_whatsapp,
    "traces": read_traces,
    "rasa": read_rasa,
    "convokit": read_convokit,
    "daic": read_daic,
    "intercom": read_intercom,
}


def import_files(
    source: Path | str,
    settings: ImportConfig,
    out: Path | str,
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Read conversations and PHQ-9s into a cohort directory, whole or not at all.

    Args:
        source: a file or folder in any layout of docs/importing.md.
        settings: layout, columns, labels, what to do with bad rows.
        out: the cohort to write.
        overwrite: replace a cohort that is there; its locked test and its folds are taken over
            (`cohort.lock.carry_lock`).
        progress: called with the number of messages read so far.

    Returns:
        The manifest of the cohort; ``counts`` and ``import`` say what was read.

    Raises:
        LeadlineError: a layout that is not understood, bad rows, or an occupied output.

    >>> from pathlib import Path
    >>> from leadline import import_files
    >>> from leadline.sources.config import ImportConfig
    >>> config = ImportConfig(phq9=Path("phq9.csv"))
    >>> manifest = import_files("messages.csv", config, "imported")
    >>> manifest["counts"]
    {'people': 2, 'turns': 4, 'phq9': 2, 'locked': 0}
    """
    check_name(Path(source))
    source, out = _existing(Path(source)), Path(out)
    read = [source, *(v for v in vars(settings).values() if isinstance(v, Path))]
    with bounded(source), new_directory(out, "cohort", read, overwrite=overwrite) as scratch:
        ledger = RejectedRows(settings.skip_bad)
        layout, evidence = _layout_of(source, settings, ledger)
        parts = READERS[layout](source, settings, ledger)
        identities = Identities(settings.similar_ids)
        spool = _gather(parts, settings, ledger, identities, scratch / "spool", progress)
        _refuse_empty(spool, source, ledger)
        _settle_people(spool, parts, settings, identities, ledger, source)
        ordered = order(spool, ledger)
        ledger.account.check(ordered.height, source)
        write_turns(spool, ordered, scratch / "turns.parquet")
        shutil.rmtree(scratch / "spool")
        people = parts.people.table(spool.persons())
        phq9 = _labels(layout, settings, parts, ledger, set(people["person_id"]), identities)
        counts = {"turns": spool.undated, "phq9": phq9["time"].null_count()}
        facts = _facts((layout, evidence), ordered.height, counts, ledger)
        finish_cohort(
            scratch,
            phq9,
            people,
            command="import",
            settings=_plain(settings),
            inputs=_hashes(parts.inputs),
            **{"import": facts},
            roles=dict(parts.roles.counts),
            text_may_leave=settings.text_may_leave,
        )
        return carry_lock(out, scratch)


@contextmanager
def bounded(source: Path) -> Iterator[None]:
    """Refuse what is nested deeper than Python follows, is no text, or fills the memory."""
    try:
        yield
    except RecursionError as error:
        raise LeadlineError(
            "Something in these files is nested too deeply.",
            remedy="Export them again; no layout of conversations needs so many levels.",
            file=source,
        ) from error
    except UnicodeEncodeError as error:
        raise LeadlineError(
            "Something in these files, or their name, holds half a character (a lone surrogate).",
            remedy="Export them again as UTF-8, under names in UTF-8.",
            file=source,
        ) from error
    except MemoryError as error:
        raise LeadlineError(
            "These files need more memory than there is.",
            remedy="Give fewer or smaller files, or a machine with more memory.",
            file=source,
        ) from error


def _facts(
    layout: tuple[str, str], turns: int, undated: dict[str, int], ledger: RejectedRows
) -> dict[str, Any]:
    """What the manifest says of the import."""
    return {
        "format": layout[0],
        "detected": layout[1],
        "messages": ledger.account.summary(turns),
        "undated": undated,
        **ledger.summary(),
    }


def _existing(source: Path) -> Path:
    if not source.exists():
        raise LeadlineError(
            "There is no such file or folder.", remedy="Check the path.", file=source
        )
    return source


def _settle_people(
    spool: Spool,
    parts: Source,
    settings: ImportConfig,
    identities: Identities,
    ledger: RejectedRows,
    source: Path,
) -> None:
    """Who is whom: roles complete, authors joined to conversations, identifiers told apart."""
    parts.roles.check_complete(source)
    if parts.shared_conversations:
        settle_authors(spool, ledger, source)
    refuse_placeholders(spool, settings, source)
    identities.check(spool.people, source)
    ledger.note("identifiers that differ only in writing, joined", len(identities.joined))


def _labels(
    layout: str,
    settings: ImportConfig,
    parts: Source,
    ledger: RejectedRows,
    people: set[str],
    identities: Identities,
) -> pl.DataFrame:
    """The labels of the source and of --phq9, checked.

    Raises:
        LeadlineError: --phq9 was given and gives no label at all.
    """
    inner = from_zero(parts.labels, settings.item_coding, ledger) if layout == "survey" else None
    labels = [*(parts.labels if inner is None else inner),
              *_separate_labels(layout, settings, parts, ledger)]  # fmt: skip
    table = label_table(labels, settings, ledger, people, identities)
    if settings.phq9 is not None and not table.height:
        reasons = "; ".join(list(ledger.reasons)[:3])
        raise LeadlineError(
            f"No PHQ-9 of this file could be used. {reasons}",
            remedy="Correct the file, or leave --phq9 out to import conversations alone.",
            file=settings.phq9,
        )
    return table


def _layout_of(source: Path, settings: ImportConfig, ledger: RejectedRows) -> tuple[str, str]:
    """The layout that is read, and what it was recognised by; no evidence where it was named."""
    if settings.format != "auto":
        return settings.format, ""
    return detect_format(source, settings, ledger)


def _refuse_empty(spool: Spool, source: Path, ledger: RejectedRows) -> None:
    if not spool.height:
        reasons = [*ledger.reasons, *ledger.account.omitted][:3]
        raise LeadlineError(
            f"The source holds no turn that can be used. {'; '.join(reasons)}".strip(),
            remedy="Check the file and --format.",
            file=source,
        )


def _gather(
    parts: Source,
    settings: ImportConfig,
    ledger: RejectedRows,
    identities: Identities,
    directory: Path,
    progress: Callable[[int], None] | None,
) -> Spool:
    spool = Spool(directory)
    for batch in parts.batches:
        if batch.rows.height:
            rows = prepared(batch, parts, settings, ledger)
            turns = clean(RawTurnBatch(batch.file, rows), parts.roles, settings, ledger)
            if identities.mode == "join":
                turns = turns.with_columns(person=identities.column(turns["person"]))
            spool.add(batch.file, turns)
        if progress is not None:
            progress(spool.height)
    return spool


def _separate_labels(
    layout: str, settings: ImportConfig, parts: Source, ledger: RejectedRows
) -> list[Label]:
    """Labels of --phq9: a table or FHIR."""
    path = settings.phq9
    if path is None:
        return []
    parts.inputs.append(path)
    if is_fhir(path):
        ledger.uses.meet(path, ())
        return list(fhir_labels(path, ledger))
    if layout == "daic" and not settings.phq9_column:
        return list(daic_labels(path, ledger))
    return list(table_labels(path, settings, ledger))


def _plain(settings: ImportConfig) -> dict[str, Any]:
    """Settings as JSON values; of paths only the name, for a cohort may be passed on."""
    values = dataclasses.asdict(settings)
    return {
        name: value.name if isinstance(value, Path) else value for name, value in values.items()
    }


def _hashes(paths: list[Path]) -> dict[str, str]:
    """SHA-256 by file name; files of one name are told apart by their folder."""
    names = [path.name for path in paths]
    return {
        path.name if names.count(path.name) == 1 else f"{path.parent.name}/{path.name}": sha256(
            path
        )
        for path in paths
    }
