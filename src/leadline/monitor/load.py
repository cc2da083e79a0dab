"""A cohort into a store: people, messages and PHQ-9s, as if each had been sent; twice is once.

Every message must have a time, since months are what monitoring is about. The one who loads says
where the people's agreement is kept, since nothing of a person is stored without one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from leadline.cohort.store import Cohort, read_cohort
from leadline.errors import LeadlineError
from leadline.monitor.now import refresh_people
from leadline.phq9.items import ITEM_COLUMNS
from leadline.store import times
from leadline.store.messages import NewMessage, store_messages
from leadline.store.people import PersonChange, find_people, put_person
from leadline.store.phq9s import NewPhq9, store_phq9s
from leadline.store.store import Store

SOURCE = "cohort"
BATCH = 1000
STORED = ("phq9", "phq8")


@dataclass(frozen=True)
class LoadConfig:
    """How a cohort is loaded.

    Attributes:
        evidence: where the people's agreement is kept.
        team: who looks after them; None: nobody yet.
    """

    evidence: str
    team: str | None = None


def load_cohort(
    path: Path, store: Store, config: LoadConfig, progress: Callable[[str], None] | None = None
) -> dict[str, int]:
    """Load a cohort; what became of its rows, counted.

    Raises:
        LeadlineError: a message or a PHQ-9 has no time, or the agreement is not said.
    """
    if not config.evidence.strip():
        raise LeadlineError(
            "It is not said where the people's agreement to an estimate is kept.",
            remedy="Give --consent, such as --consent 'terms of 2026-03, in the app'.",
        )
    cohort = read_cohort(path)
    _check_times(cohort, path)
    counts: Counter[str] = Counter()
    people = _people(cohort)
    for part in _parts(people):
        counts.update(_put(store, part, config))
    for rows in _parts(_messages(cohort)):
        for outcome in store.database.write(
            partial(store_messages, vault=store.vault, batch=rows, now=times.now(),
                    keep_texts=store.keeps_texts)
        ):  # fmt: skip
            counts[f"messages {outcome.status}"] += 1
        if progress is not None:
            progress(f"{sum(n for name, n in counts.items() if name.startswith('messages')):,} "
                     f"of {cohort.turns.height:,} messages")  # fmt: skip
    for phq9s in _parts(_phq9s(cohort)):
        for outcome in store.database.write(
            partial(store_phq9s, vault=store.vault, batch=phq9s, now=times.now(),
                    of_the_past=True)
        ):  # fmt: skip
            counts[f"PHQ-9s {outcome.status}"] += 1
    _refresh(store, people)
    return dict(counts)


def _check_times(cohort: Cohort, path: Path) -> None:
    for name, table in (("turns", cohort.turns), ("phq9", cohort.phq9)):
        undated = table["time"].null_count()
        if undated:
            raise LeadlineError(
                f"{undated:,} of {table.height:,} rows have no time.",
                file=path / f"{name}.parquet",
                remedy="Load a cohort that was imported with its times; a course needs them.",
            )


def _people(cohort: Cohort) -> list[str]:
    names = pl.concat([cohort.turns["person_id"], cohort.phq9["person_id"]])
    return [str(name) for name in names.unique(maintain_order=True)]


def _put(store: Store, names: list[str], config: LoadConfig) -> Counter[str]:
    def work(connection: Any) -> Counter[str]:
        statuses: Counter[str] = Counter()
        for name in names:
            agreed = {"estimate": True}
            change = PersonChange(name, config.team, agreed, evidence=config.evidence)
            statuses[f"people {put_person(connection, store.vault, change, times.now())}"] += 1
        return statuses

    return store.database.write(work)


def _messages(cohort: Cohort) -> Iterator[NewMessage]:
    """In the order of the cohort, which is the order of speech."""
    for row in cohort.turns.iter_rows(named=True):
        name = f"{row['person_id']}\x1f{row['conversation_id']}\x1f{row['turn']}"
        yield NewMessage(
            source=SOURCE,
            id=name,
            person=row["person_id"],
            conversation=row["conversation_id"],
            role=row["role"],
            time=_microseconds(row["time"]),
            text=row["text"],
            turn=row["turn"],
        )


def _phq9s(cohort: Cohort) -> Iterator[NewPhq9]:
    """Those on the scale of estimates; several of one time are told apart by their order."""
    number: Counter[tuple[str, int]] = Counter()
    for row in cohort.phq9.iter_rows(named=True):
        if row["instrument"] not in STORED:
            continue
        time = _microseconds(row["time"])
        number[(row["person_id"], time)] += 1
        items = tuple(row[name] for name in ITEM_COLUMNS)
        has_items = any(answer is not None for answer in items)
        yield NewPhq9(
            source=SOURCE,
            id=f"{row['person_id']}\x1f{time}\x1f{number[(row['person_id'], time)]}",
            person=row["person_id"],
            time=time,
            total=None if has_items and row["prorated"] else row["total"],
            items=items if has_items else (),
            instrument=row["instrument"],
        )


def _microseconds(moment: datetime) -> int:
    return times.microseconds(moment)


def _parts(items: Any) -> Iterator[list[Any]]:
    part: list[Any] = []
    for item in items:
        part.append(item)
        if len(part) == BATCH:
            yield part
            part = []
    if part:
        yield part


def _refresh(store: Store, names: list[str]) -> None:
    for part in _parts(names):
        find = partial(find_people, vault=store.vault, external_ids=part)
        ids = [stored.id for stored in store.database.read(find).values()]
        refresh_people(store, ids, times.now())
