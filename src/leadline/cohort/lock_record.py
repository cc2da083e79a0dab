"""The record of a locked test: when it was locked, opened, carried over or dropped, and by what.

One JSON object a line in `locked-test.jsonl` of the cohort, only ever added to. It says which
people were drawn and which were passed over, so that both keep their side when the cohort is
imported anew, and which runs were held against the test, so that a report can say how often it
has been looked at.

Each event holds the SHA-256 of all that stood before it, and the manifest that of the whole record,
so that an event which was edited, taken out or cut off is noticed. A killed process may leave one
event more than the manifest knows of, never one less.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from leadline.artefact import MANIFEST, locked, replacing, write_json
from leadline.errors import LeadlineError

RECORD = "locked-test.jsonl"

HEAD, PREVIOUS = "locked_record", "previous"
"""Keys of the SHA-256 of the record in the manifest, and of what stands before it in an event."""

Event = Mapping[str, Any]


@dataclass(frozen=True)
class LockHistory:
    """What happened to the locked tests of a cohort, in order.

    Attributes:
        events: ``event`` and ``when`` of each, and what belongs to it. ``locked`` and ``carried``
            hold the people drawn (``locked``) and passed over (``open``), ``opened`` the ``run``
            and its ``model``, ``dropped`` the ``reason``, ``replaced`` the ``openings`` of a
            simulated cohort that was there before.
    """

    events: tuple[Event, ...]

    def current(self) -> tuple[Event, ...]:
        """The events of the test that holds now; none after it was dropped."""
        start = [
            at for at, event in enumerate(self.events) if event["event"] in ("locked", "dropped")
        ]
        if not start or self.events[start[-1]]["event"] == "dropped":
            return ()
        return self.events[start[-1] :]

    def sides(self) -> tuple[frozenset[str], frozenset[str]]:
        """Everyone who is in the test for good, and everyone who is outside for good."""
        inside, outside = (
            frozenset(name for event in self.current() for name in event.get(side, ()))
            for side in ("locked", "open")
        )
        return inside, outside

    def openings(self) -> list[dict[str, Any]]:
        """When the test that holds now was opened, and for which run: when, run, model."""
        return [
            {key: event[key] for key in ("when", "run", "model")}
            for event in self.current()
            if event["event"] == "opened"
        ]

    def dropped(self) -> int:
        """How many tests of this cohort were dropped before the one that holds now."""
        count, holds = 0, False
        for event in self.events:
            if event["event"] == "dropped":
                count, holds = count + int(holds), False
            holds = holds or event["event"] == "locked"
        return count

    def earlier_openings(self) -> int:
        """How often tests were opened that were dropped, or lay here before a simulation."""
        every = sum(1 for event in self.events if event["event"] == "opened")
        replaced = sum(
            int(event["openings"]) for event in self.events if event["event"] == "replaced"
        )
        return every + replaced - len(self.openings())

    def summary(self) -> dict[str, Any]:
        """What results and reports say of it."""
        return {
            "openings": self.openings(),
            "dropped_before": self.dropped(),
            "earlier_openings": self.earlier_openings(),
        }


def read_history(cohort: Path, manifest: Mapping[str, Any]) -> LockHistory:
    """The record of a cohort; empty where nothing was locked, or by a version without a record.

    Raises:
        LeadlineError: the manifest says that there is a record, and there is none, or it is not
            as it was written.
    """
    path = cohort / RECORD
    remedy = "Restore the file from a copy: without it nobody knows how often the test was opened."
    if not path.is_file():
        if (manifest.get("locked_test") or {}).get("record") or manifest.get(HEAD):
            raise LeadlineError("The record of the locked test is gone.", remedy=remedy, file=path)
        return LockHistory(())
    try:
        content = path.read_bytes()
        events = tuple(json.loads(line) for line in content.splitlines())
        assert all({"event", "when"} <= set(event) for event in events)
    except (OSError, ValueError, TypeError, RecursionError, AssertionError) as error:
        raise LeadlineError(
            "The record of the locked test cannot be read.", remedy=remedy, file=path
        ) from error
    if not _holds_together(content, events, manifest.get(HEAD)):
        raise LeadlineError(
            "The record of the locked test is not as it was written.", remedy=remedy, file=path
        )
    return LockHistory(events)


def _holds_together(content: bytes, events: Iterable[Event], head: str | None) -> bool:
    """Whether each event follows on what it was written after, and the manifest's hash is met.

    Events of earlier versions have no hash, and stand before all that have one.
    """
    digest, chained, met = hashlib.sha256(), False, head is None
    for line, event in zip(content.splitlines(keepends=True), events, strict=True):
        previous = event.get(PREVIOUS)
        if (previous is None and chained) or previous not in (None, digest.hexdigest()):
            return False
        chained = previous is not None
        digest.update(line)
        met = met or digest.hexdigest() == head
    return met


def append_event(cohort: Path, event: str, **facts: Any) -> Event:
    """Add an event to the record of a cohort, atomically, and return it."""
    path = cohort / RECORD
    entry = {"event": event, "when": datetime.now(UTC).isoformat(timespec="seconds"), **facts}
    try:
        with locked(cohort / f".{RECORD}.lock"):
            old = path.read_bytes() if path.is_file() else b""
            entry[PREVIOUS] = hashlib.sha256(old).hexdigest()
            line = json.dumps(entry, ensure_ascii=False, allow_nan=False)
            new = old + line.encode() + b"\n"
            with replacing(path) as scratch:
                scratch.write_bytes(new)
            _note_head(cohort, hashlib.sha256(new).hexdigest())
    except OSError as error:
        raise LeadlineError(
            f"The record of the locked test cannot be written ({error.strerror}).",
            remedy="Give a copy of the cohort in a folder that you may write to.",
            file=path,
        ) from error
    return entry


def _note_head(cohort: Path, head: str) -> None:
    """Let the manifest know the record; a cohort in the making has none yet."""
    file = cohort / MANIFEST
    if file.is_file():
        write_json(file, {**json.loads(file.read_text(encoding="utf-8")), HEAD: head})


def side_facts(inside: Iterable[str], outside: Iterable[str]) -> dict[str, list[str]]:
    """The people drawn and passed over, as an event holds them."""
    return {"locked": sorted(inside), "open": sorted(outside)}
