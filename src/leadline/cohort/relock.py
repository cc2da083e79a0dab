"""A cohort that was changed on purpose: hashed again, on record, with the locked test as it was.

Every verb refuses a table that is not the one in the manifest. Whoever corrects a cohort by hand
says so here; runs and labels made before are then of another cohort, and are refused beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from leadline.about import __version__
from leadline.artefact import MANIFEST, files_of, is_inside, read_manifest, sha256, write_json
from leadline.cohort.lock_record import read_history
from leadline.cohort.store import FILES, read_tables
from leadline.errors import LeadlineError
from leadline.output import changing

MEND = "Mend the table, or import the cohort again."


def relock_cohort(path: Path | str) -> dict[str, Any]:
    """Take the tables of a cohort as they are now into its manifest, and record the change.

    Args:
        path: a finished cohort, whose tables may have been changed by hand.

    Returns:
        ``when``, ``files`` (those that had changed, by name), ``counts`` as they are now. Nothing
        is written where no file had changed.

    Raises:
        LeadlineError: a table is malformed, names people who are not there, or the column
            ``locked`` is not as `lock` left it.
    """
    path = Path(path)
    with changing(path):
        manifest = read_manifest(path, "cohort")
        turns, phq9, people = read_tables(path)
        recorded = files_of(manifest)
        names = [*FILES, *(name for name in recorded if name not in FILES and is_inside(name))]
        digests = {name: sha256(path / name) for name in names if (path / name).is_file()}
        changed = [name for name in names if recorded.get(name) != digests.get(name)]
        _check_people(path, turns, phq9, people)
        _check_locked(path, manifest, people)
        counts = {
            **manifest["counts"],
            "people": people.height,
            "turns": turns.height,
            "phq9": phq9.height,
            "locked": int(people["locked"].sum()),
        }
        change = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": changed,
            "leadline": __version__,
        }
        if changed:
            manifest |= {"files": digests, "counts": counts}
            manifest["changed"] = [*manifest.get("changed", []), change]
            write_json(path / MANIFEST, manifest)
        return {**change, "counts": counts}


def _check_people(
    path: Path, turns: pl.DataFrame, phq9: pl.DataFrame, people: pl.DataFrame
) -> None:
    """Refuse people who stand twice in `people`, or elsewhere and not there."""
    if people["person_id"].is_duplicated().any() or people["person_id"].null_count():
        raise LeadlineError("A person stands twice here.", remedy=MEND, file=path / FILES[2])
    if people["locked"].null_count():
        raise LeadlineError(
            "Of somebody it does not say whether they are locked.",
            remedy=MEND,
            file=path / FILES[2],
        )
    for name, table in ((FILES[0], turns), (FILES[1], phq9)):
        strangers = table.join(people, on="person_id", how="anti").height
        if strangers:
            raise LeadlineError(
                f"{strangers} rows are of people who are not in {FILES[2]}.",
                remedy=MEND,
                file=path / name,
            )


def _check_locked(path: Path, manifest: Mapping[str, Any], people: pl.DataFrame) -> None:
    """Refuse a column ``locked`` that says other than the record of the locked test."""
    now = set(people.filter("locked")["person_id"])
    count = int(manifest["counts"].get("locked") or 0)
    history = read_history(path, manifest)
    if count and history.current():
        expected = history.sides()[0] & set(people["person_id"])
        if now == expected:
            return
    elif len(now) == count:
        return
    raise LeadlineError(
        "The column locked is not as leadline lock left it.",
        remedy="Put it back as it was. Only leadline lock sets people aside, and only leadline "
        "lock --drop gives them up.",
        file=path / FILES[2],
    )
