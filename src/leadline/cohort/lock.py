"""The locked test: people set aside once, recorded in the cohort, refused by every training.

Whoever was drawn, or passed over, keeps their side for good: a cohort that is imported anew takes
the lock over, and only people whom it could not have drawn before are dealt to either side, by a
rule that knows nothing of them but their id (or, by time, the date of their first PHQ-9).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from leadline.artefact import MANIFEST, commit, pending_name, read_manifest, replacing, sha256
from leadline.cohort.config import WindowConfig, window_of
from leadline.cohort.folds import FOLDS_FILE
from leadline.cohort.lock_record import (
    HEAD,
    RECORD,
    LockHistory,
    append_event,
    read_history,
    side_facts,
)
from leadline.cohort.splits import choose_locked, falls_in_share, person_severity
from leadline.cohort.store import Cohort, check_cohort, read_cohort
from leadline.cohort.windows import label_readings
from leadline.errors import LeadlineError
from leadline.output import changing
from leadline.phq9.items import MODERATE

PEOPLE_FILE = "people.parquet"


def lock_cohort(
    path: Path,
    *,
    share: float,
    seed: int,
    by: str,
    window: WindowConfig | None = None,
    include_phq8: bool = False,
    preview: bool = False,
) -> dict[str, Any]:
    """Lock a share of the people of the cohort at `path` who can be evaluated, and record how.

    Those are the people with a PHQ-9 that has text in its window. People whose words are
    near-copies of one another (`Cohort.copy_groups`) are drawn, and locked, as one.

    Args:
        path: a finished cohort without locked people.
        share: of these people, between 0 and 1.
        seed: of the draw.
        by: ``severity`` or ``time``; see `splits.choose_locked`.
        window: which text counts for which PHQ-9.
        include_phq8: PHQ-8 totals count too.
        preview: write nothing.

    Returns:
        The record that the manifest keeps: share, seed, by, the settings of the window,
        include_phq8, people, eligible (people who can be evaluated), at_cut (locked people with
        a mean total of 10 or more) and, by time, the cutoff: no PHQ-9 of that moment or later
        trains (`Cohort.cutoff`). Its ``record`` names the file of `lock_record`.

    Raises:
        LeadlineError: people are locked already, or `choose_locked` cannot choose.
    """
    with changing(path):
        return _lock(path, read_cohort(path), (share, seed, by), window, include_phq8, preview)


def _lock(
    path: Path,
    cohort: Cohort,
    draw: tuple[float, int, str],
    window: WindowConfig | None,
    include_phq8: bool,
    preview: bool,
) -> dict[str, Any]:
    share, seed, by = draw
    _refuse_second(cohort.manifest["counts"]["locked"], path)
    window = window or WindowConfig()
    readings = _eligible(cohort, window, include_phq8=include_phq8)
    chosen = choose_locked(readings, share, seed, by=by, file=path, groups=cohort.copy_groups)
    eligible = set(readings["person_id"])
    record = {
        "share": share,
        "seed": seed,
        "by": by,
        "window": asdict(window),
        "include_phq8": include_phq8,
        "people": len(chosen),
        "eligible": len(eligible),
        "at_cut": _people_at_cut(readings, chosen),
        "record": RECORD,
    }
    if by == "time":
        first = readings.filter(pl.col("person_id").is_in(list(chosen)))["time"].min()
        assert isinstance(first, datetime)
        record["cutoff"] = first.isoformat()
    if preview:
        return record
    facts = {key: record[key] for key in ("share", "seed", "by")}
    append_event(path, "locked", **facts, **side_facts(chosen, eligible - chosen))
    _write_lock(path, cohort, chosen, record)
    return record


def drop_lock(path: Path, reason: str) -> dict[str, Any]:
    """Drop the locked test of a cohort; its record stays, with the reason.

    Returns:
        ``people`` who were locked, and what `LockHistory.summary` said of their test.

    Raises:
        LeadlineError: nobody is locked, or no reason is given.
    """
    with changing(path):
        cohort = read_cohort(path)
        if not cohort.locked_ids:
            raise LeadlineError(
                "Nobody is locked in this cohort.", remedy="There is no lock to drop.", file=path
            )
        if not reason.strip():
            raise LeadlineError(
                "A lock is dropped without a reason.",
                remedy='Say why, for whoever reads the record: --drop "...".',
                file=path,
            )
        history = read_history(path, cohort.manifest)
        dropped = bool(history.events) and history.events[-1]["event"] == "dropped"
        summary = (history if dropped else known_history(cohort)).summary()  # one was interrupted
        if not dropped:
            append_event(path, "dropped", reason=reason.strip(), people=len(cohort.locked_ids))
        _write_lock(path, cohort, frozenset(), None)
        return {"people": len(cohort.locked_ids), **summary}


def known_history(cohort: Cohort) -> LockHistory:
    """The record of a locked cohort, begun now where an earlier version kept none."""
    assert cohort.path is not None, "a lock lies on disk"
    history = read_history(cohort.path, cohort.manifest)
    if history.current():
        return history
    record = cohort.manifest.get("locked_test") or _unrecorded(cohort)
    window = window_of(record.get("window") or {}, _manifest(cohort))
    readings = _eligible(cohort, window, include_phq8=bool(record.get("include_phq8")))
    facts = side_facts(cohort.locked_ids, set(readings["person_id"]) - cohort.locked_ids)
    event = append_event(cohort.path, "locked", by_an_earlier_version=True, **facts)
    return LockHistory((*history.events, event))


def carry_lock(old: Path, scratch: Path) -> dict[str, Any]:
    """Take the lock, its record and the folds of `old` over to a cohort that will replace it.

    Whoever `old` had drawn stays locked, whoever it had passed over stays open. People who could
    not be drawn before (new ones, and those who had no PHQ-9 with text in its window) are dealt:
    a test drawn by severity takes those whose keyed place falls in its share
    (`splits.falls_in_share`), a test by time those whose first PHQ-9 is not before the cut-off,
    which stays.

    Args:
        old: what lies at the output; nothing is done where there is no cohort.
        scratch: the finished cohort in the making.

    Returns:
        The manifest of `scratch`, its counts and ``locked_test`` as they are now.

    Raises:
        LeadlineError: `old` is no cohort, or one of simulated people with a locked test, whose
            ids mean other people.
    """
    new_manifest = check_cohort(scratch)  # its rows are read only where somebody is dealt
    if not (old / MANIFEST).is_file():
        return new_manifest
    manifest = read_manifest(old, "cohort")
    simulated = [entry.get("simulated", False) for entry in (manifest, new_manifest)]
    if manifest["counts"].get("locked") and simulated[0] != simulated[1]:
        raise LeadlineError(
            "A cohort with a locked test lies here, of other people than these: simulated ones.",
            remedy="Choose another --out, or drop that test first: leadline lock COHORT --drop.",
            file=old,
        )
    history = _carried_history(old, manifest) if manifest["counts"].get("locked") else None
    for name in (RECORD, FOLDS_FILE):
        if (old / name).is_file():
            shutil.copyfile(old / name, scratch / name)
    if history is None:
        return new_manifest
    new = read_cohort(scratch)
    record = dict(manifest.get("locked_test") or _unrecorded(read_cohort(old)))
    inside, outside = history.sides()
    late, passed_over = _deal_newcomers(new, record, inside | outside)
    present = set(new.people["person_id"])
    facts = side_facts(late, passed_over)
    append_event(scratch, "carried", absent=sorted(inside - present), **facts)
    locked_people = frozenset((inside | late) & present)
    record |= {"people": len(locked_people), "carried": True, "record": RECORD}
    return _write_lock(scratch, new, locked_people, record)


def _carried_history(old: Path, manifest: dict[str, Any]) -> LockHistory:
    """The record of a cohort that is replaced; its tables are read only where it has none."""
    history = read_history(old, manifest)
    return history if history.current() else known_history(read_cohort(old))


def _manifest(cohort: Cohort) -> Path:
    assert cohort.path is not None, "a lock lies on disk"
    return cohort.path / MANIFEST


def _deal_newcomers(
    cohort: Cohort, record: Mapping[str, Any], decided: frozenset[str]
) -> tuple[set[str], set[str]]:
    """People whom a lock could not have drawn before: those who are locked now, and the rest."""
    window = window_of(record.get("window") or {}, _manifest(cohort))
    readings = _eligible(cohort, window, include_phq8=bool(record.get("include_phq8")))
    readings = readings.filter(~pl.col("person_id").is_in(list(decided)))
    if record.get("cutoff") is not None:
        cutoff = datetime.fromisoformat(record["cutoff"])
        first = readings.group_by("person_id").agg(pl.col("time").min())
        first = first.filter(pl.col("time").is_not_null())
        inside = set(first.filter(pl.col("time") >= cutoff)["person_id"])
        return inside, set(first["person_id"]) - inside
    people = set(readings["person_id"])
    share, seed = float(record["share"]), int(record["seed"])
    inside = {name for name in people if falls_in_share(name, share, seed)}
    return inside, people - inside


def _eligible(cohort: Cohort, window: WindowConfig, *, include_phq8: bool) -> pl.DataFrame:
    """Readings of the PHQ-9s that can be evaluated, whatever was locked before."""
    instruments = ["phq9", "phq8"] if include_phq8 else ["phq9"]
    open_manifest = {k: v for k, v in cohort.manifest.items() if k != "locked_test"}
    readings = label_readings(replace(cohort, manifest=open_manifest), window)
    return readings.filter(pl.col("instrument").is_in(instruments))


def _unrecorded(cohort: Cohort) -> dict[str, Any]:
    """The record of a lock that an earlier version's `simulate` made."""
    share = len(cohort.locked_ids) / max(cohort.people.height, 1)
    return {"share": share, "seed": 0, "by": "simulation"}


def _people_at_cut(readings: pl.DataFrame, chosen: frozenset[str]) -> int:
    """How many of the chosen people have a mean total of 10 or more."""
    severity = person_severity(readings.filter(pl.col("person_id").is_in(list(chosen))))
    return int((severity["severity"] >= MODERATE).sum())


def _write_lock(
    path: Path, cohort: Cohort, chosen: frozenset[str], record: dict[str, Any] | None
) -> dict[str, Any]:
    """Lock exactly `chosen` in the tables, then say so in the manifest, and return that."""
    people = cohort.people.with_columns(pl.col("person_id").is_in(list(chosen)).alias("locked"))
    pending = path / pending_name(PEOPLE_FILE)
    with replacing(pending) as scratch:
        people.write_parquet(scratch, compression="zstd")
    manifest = cohort.manifest
    manifest.pop("locked_test", None)
    if record is not None:
        manifest["locked_test"] = record
    manifest["counts"] = {**manifest["counts"], "locked": len(chosen)}
    manifest["files"] = {**manifest["files"], PEOPLE_FILE: sha256(pending)}
    if (path / RECORD).is_file():
        manifest[HEAD] = sha256(path / RECORD)
    commit(path, manifest, [PEOPLE_FILE])
    return manifest


def _refuse_second(recorded: int, path: Path) -> None:
    """Refuse to draw a test again.

    Locked people whom the manifest does not count are those of a lock that was interrupted before
    it was recorded, so that nothing can have been tested on them: it is done anew.
    """
    if recorded:
        raise LeadlineError(
            f"{recorded} people are locked already.",
            remedy="Keep them: a test that is drawn twice is no test. To give it up for good, and "
            'on record, drop it: leadline lock COHORT --drop "REASON".',
            file=path,
        )
