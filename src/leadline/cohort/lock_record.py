"""The record of a locked test: when it was locked, opened, carried over or dropped, and by what.

One JSON object a line in `locked-test.jsonl` of the cohort, only ever added to. It says which
people were drawn and which were passed over, so that both keep their side when the cohort is
imported anew, and which runs were held against the test, so that a report can say how often it
has been looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from leadline.artefact import locked, replacing
from leadline.errors import LeadlineError

RECORD = "locked-test.jsonl"

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
        if (manifest.get("locked_test") or {}).get("record"):
            raise LeadlineError("The record of the locked test is gone.", remedy=remedy, file=path)
        return LockHistory(())
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        events = tuple(json.loads(line) for line in lines)
        assert all({"event", "when"} <= set(event) for event in events)
    except (OSError, ValueError, TypeError, AssertionError) as error:
        raise LeadlineError(
            "The record of the locked test cannot be read.", remedy=remedy, file=path
        ) from error
    return LockHistory(events)


def append_event(cohort: Path, event: str, **facts: Any) -> Event:
    """Add an event to the record of a cohort, atomically, and return it."""
    path = cohort / RECORD
    entry = {"event": event, "when": datetime.now(UTC).isoformat(timespec="seconds"), **facts}
    try:
        with locked(cohort / f".{RECORD}.lock"), replacing(path) as scratch:
            old = path.read_bytes() if path.is_file() else b""
            line = json.dumps(entry, ensure_ascii=False, allow_nan=False)
            scratch.write_bytes(old + line.encode() + b"\n")
    except OSError as error:
        raise LeadlineError(
            f"The record of the locked test cannot be written ({error.strerror}).",
            remedy="Give a copy of the cohort in a folder that you may write to.",
            file=path,
        ) from error
    return entry


def side_facts(inside: Iterable[str], outside: Iterable[str]) -> dict[str, list[str]]:
    """The people drawn and passed over, as an event holds them."""
    return {"locked": sorted(inside), "open": sorted(outside)}
