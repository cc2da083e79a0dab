"""Estimates of a whole store by another run, beside those of the live one (its shadow).

The messages that count go out as a cohort into a folder that only its owner can open, `leadline
score` reads it (on Ray, if asked), and what it says comes back under the new run's id. The folder
goes as soon as that is done or failed. Nothing that is shown changes until the model is promoted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Connection, func, select, update

from leadline.cohort.store import write_cohort
from leadline.cohort.words import word_count
from leadline.monitor.scorer import estimate_row
from leadline.monitor.texts import SealedTexts, Texts
from leadline.output import scratch_folder
from leadline.scoring.config import ScoreConfig
from leadline.store import times
from leadline.store.estimates import EstimateRow, write_estimates
from leadline.store.models import register_model
from leadline.store.people import StoredPerson, external_id, people_by_id
from leadline.store.schema import estimate, message, person
from leadline.store.store import Store
from leadline.store.work import PLACE
from leadline.tables import PEOPLE, PHQ9, TURNS

AT_ONCE = 200


def rescore(
    store: Store,
    run: Path,
    config: ScoreConfig | None = None,
    *,
    texts: Texts | None = None,
    home: Path | None = None,
) -> dict[str, int]:
    """Estimate everything in the store by `run`, and keep it beside what is shown.

    Returns:
        People and estimates, counted.

    Raises:
        LeadlineError: the run cannot be loaded, or there is nothing to read.
    """
    from leadline.runs.checkpoint import check_run, run_identity, run_training
    from leadline.scoring.score import score_cohort

    check_run(run)
    model_id, begun = run_identity(run), times.now()
    window = run_training(run)[1].days
    store.database.write(
        lambda c: register_model(c, model_id, str(run.resolve()), times.now(), status="shadow")
    )
    with scratch_folder("rescore") as place:
        seqs = _write_cohort(store, texts or SealedTexts(), place / "cohort")
        out = place / "estimates.parquet"
        score_cohort(place / "cohort", run, out, config or ScoreConfig(cache=False), home=home)
        table = pl.read_parquet(out)
    count = 0
    for (name,), rows in table.group_by("person_id", maintain_order=True):
        count += _load(store, model_id, seqs[str(name)], rows, (begun, window))
    return {"people": len(seqs), "estimates": count}


Read = tuple[str, list[tuple[int, int, int]]]
"""A person's id in the store, and number, time and words of each of their own messages."""


def _write_cohort(store: Store, texts: Texts, path: Path) -> dict[str, Read]:
    """The messages that count, as a cohort without labels; who and what was written."""
    seqs: dict[str, Read] = {}
    tables = []
    for part in _people(store):
        rows: list[tuple[Any, ...]] = []
        for stored, messages in part:
            name = external_id(stored)
            contents = texts.read(stored, messages)
            rows += [
                (name, bytes(row["conversation_hash"]).hex(), at, row["role"], text,
                 times.moment(row["time"]))
                for at, (row, text) in enumerate(zip(messages, contents, strict=True))
            ]  # fmt: skip
            user_rows = [
                (int(row["seq"]), int(row["time"]), word_count(text))
                for row, text in zip(messages, contents, strict=True)
                if row["role"] == "user"
            ]
            seqs[name] = (stored.id, user_rows)
        tables.append(pl.DataFrame(rows, schema=TURNS, orient="row"))
    people = pl.DataFrame([(name, False) for name in seqs], schema=PEOPLE, orient="row")
    turns = pl.concat(tables) if tables else pl.DataFrame(schema=TURNS)
    write_cohort(path, turns, pl.DataFrame(schema=PHQ9), people,
                 command="leadline monitor rescore", settings={}, inputs={})  # fmt: skip
    return seqs


def _people(store: Store) -> Iterator[list[tuple[StoredPerson, list[Any]]]]:
    query = (
        select(person.c.id)
        .where(person.c.forgotten_at.is_(None), person.c.estimate_allowed, person.c.received > 0)
        .order_by(person.c.id)
    )
    ids = store.database.read(lambda connection: list(connection.execute(query).scalars()))
    for first in range(0, len(ids), AT_ONCE):
        read = partial(_messages, store=store, person_ids=ids[first : first + AT_ONCE])
        yield store.database.read(read)


def _messages(
    connection: Connection, store: Store, person_ids: Sequence[str]
) -> list[tuple[StoredPerson, list[Any]]]:
    people = people_by_id(connection, store.vault, person_ids)
    out = []
    for person_id, stored in people.items():
        live = (message.c.person_id == person_id) & message.c.superseded_at.is_(None)
        query = select(message).where(live).order_by(*PLACE)
        out.append((stored, list(connection.execute(query).mappings())))
    return out


def _load(
    store: Store, model_id: str, read: Read, rows: pl.DataFrame, when: tuple[int, float]
) -> int:
    """Put the estimates of one person down; how many."""
    person_id, user_rows = read
    begun, window = when
    estimates = [
        estimate_row(seq, row | _window(user_rows, at, window))
        for at, ((seq, _, _), row) in enumerate(
            zip(user_rows, rows.iter_rows(named=True), strict=True)
        )
    ]
    work = partial(_write, person_id=person_id, model_id=model_id, estimates=estimates, begun=begun)
    return store.database.write(work)


def _window(user_rows: list[tuple[int, int, int]], at: int, days: float) -> dict[str, int]:
    """The turns and words that the estimate after one's own message number `at` rests on."""
    since = user_rows[at][1] - int(days * times.DAY) if days else -1
    window = [words for _, time, words in user_rows[: at + 1] if time > since]
    return {"window_turns": len(window), "window_words": sum(window)}


def _write(
    connection: Connection,
    person_id: str,
    model_id: str,
    estimates: Sequence[EstimateRow],
    begun: int,
) -> int:
    """Put estimates in the place of what the model said before; how many.

    What stands behind a message that came, or was corrected or taken back, since the messages were
    read is left out: it is read again when the model is promoted.
    """
    now = times.now()
    bumped = update(person).where(person.c.id == person_id, person.c.forgotten_at.is_(None))
    new = bumped.values(revision=person.c.revision + 1).returning(person.c.revision)
    revision = connection.execute(new).scalar()
    if revision is None:
        return 0  # forgotten meanwhile
    changed = select(func.min(message.c.time)).where(
        message.c.person_id == person_id,
        (message.c.received_at >= begun) | (message.c.superseded_at >= begun),
    )
    limit = connection.execute(changed).scalar()
    rows = [row for row in estimates if limit is None or row.time < limit]
    ended = update(estimate).where(
        estimate.c.person_id == person_id,
        estimate.c.model_id == model_id,
        estimate.c.superseded_at.is_(None),
    )
    connection.execute(ended.values(superseded_at=now))
    write_estimates(connection, person_id, model_id, int(revision), rows, now)
    return len(rows)
