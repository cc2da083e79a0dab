"""One way in: open a source, check it, write a cohort whole or not at all."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leadline.artefact import new_directory, sha256
from leadline.cohort.lock import carry_lock
from leadline.cohort.store import finish_cohort
from leadline.errors import LeadlineError
from leadline.importing.detect import detect_format, is_fhir
from leadline.importing.spool import Spool, clean, order, write_turns
from leadline.layouts.chat import read_chat, read_sharegpt
from leadline.layouts.convokit import read_convokit
from leadline.layouts.daic import daic_labels, read_daic
from leadline.layouts.intercom import read_intercom
from leadline.layouts.long_table import read_table
from leadline.layouts.survey import read_survey
from leadline.questionnaires.fhir import fhir_labels
from leadline.questionnaires.labels import label_table, table_labels
from leadline.sources.config import ImportConfig
from leadline.sources.label import Label
from leadline.sources.rejects import RejectedRows
from leadline.sources.source import Source

READERS: dict[str, Callable[[Path, ImportConfig, RejectedRows], Source]] = {
    "table": read_table,
    "survey": read_survey,
    "chat": read_chat,
    "sharegpt": read_sharegpt,
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
    source, out = Path(source), Path(out)
    if not source.exists():
        raise LeadlineError(
            "There is no such file or folder.", remedy="Check the path.", file=source
        )
    with new_directory(out, overwrite=overwrite) as scratch:
        ledger = RejectedRows(settings.skip_bad)
        layout, evidence = _layout_of(source, settings, ledger)
        parts = READERS[layout](source, settings, ledger)
        spool = _gather(parts, settings, ledger, scratch / "spool", progress)
        _refuse_empty(spool, source)
        parts.roles.check_complete(source)
        write_turns(spool, order(spool, ledger), scratch / "turns.parquet")
        shutil.rmtree(scratch / "spool")
        people = parts.people.table(spool.people)
        labels = [*parts.labels, *_separate_labels(layout, settings, parts, ledger)]
        phq9 = label_table(labels, settings, ledger, set(people["person_id"]))
        finish_cohort(
            scratch,
            phq9,
            people,
            command="import",
            settings=_plain(settings),
            inputs=_hashes(parts.inputs),
            **{"import": {"format": layout, "detected": evidence, **ledger.summary()}},
            roles=dict(parts.roles.counts),
            text_may_leave=settings.text_may_leave,
        )
        return carry_lock(out, scratch)


def _layout_of(source: Path, settings: ImportConfig, ledger: RejectedRows) -> tuple[str, str]:
    """The layout that is read, and what it was recognised by; no evidence where it was named."""
    if settings.format != "auto":
        return settings.format, ""
    return detect_format(source, settings, ledger)


def _refuse_empty(spool: Spool, source: Path) -> None:
    if not spool.height:
        raise LeadlineError(
            "The source holds no turn that can be used.",
            remedy="Check the file and --format.",
            file=source,
        )


def _gather(
    parts: Source,
    settings: ImportConfig,
    ledger: RejectedRows,
    directory: Path,
    progress: Callable[[int], None] | None,
) -> Spool:
    spool = Spool(directory)
    for batch in parts.batches:
        if batch.rows.height:
            spool.add(batch.file, clean(batch, parts.roles, settings, ledger))
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
