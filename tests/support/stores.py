"""Stores for tests, on SQLite and on PostgreSQL, and messages to put into them."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from tests.support import postgres

from leadline.store.database import Database
from leadline.store.estimates import FIGURES, EstimateRow, write_estimates
from leadline.store.messages import NewMessage, store_messages
from leadline.store.migrate import upgrade
from leadline.store.people import PersonChange, find_people, put_person
from leadline.store.phq9s import NewPhq9, store_phq9s
from leadline.store.store import Store, make_store
from leadline.store.times import DAY
from leadline.store.vault import KeyConfig

DATABASES = ("sqlite", "postgresql")
START = 1_760_000_000_000_000  # a moment in 2025
HOUR = DAY // 24


@lru_cache(maxsize=1)
def _template() -> str:
    """A database with the tables of a store, to be copied."""
    url = postgres.new_database()
    database = Database(url)
    upgrade(database)
    database.close()
    return str(database.url.database)


def address(kind: str, folder: Path) -> str:
    """Where a new store may be made; with the tables there already in PostgreSQL."""
    return str(folder / "store.sqlite") if kind == "sqlite" else postgres.new_database(_template())


def new_store(kind: str, folder: Path, **how) -> Store:
    """A store without anybody."""
    return make_store(address(kind, folder), KeyConfig(key_file=folder / "key"), **how)


def add_person(store: Store, external: str = "ada", *, at: int = START, **how) -> str:
    """A person who allows estimates; their id in the store."""
    change = PersonChange(external, **{"consent": {"estimate": True}, **how})
    store.database.write(lambda connection: put_person(connection, store.vault, change, at))
    return person_id(store, external)


def person_id(store: Store, external: str) -> str:
    return store.database.read(lambda c: find_people(c, store.vault, [external])[external].id)


def person_row(store: Store, external: str = "ada"):
    return store.database.read(lambda c: find_people(c, store.vault, [external])[external].row)


def said(name: str, text: str = "Hello.", *, person: str = "ada", hours: float = 0, **how):
    """A message of the person, some hours after the start."""
    fields = {"source": "app", "conversation": "c1", "role": "user", **how}
    return NewMessage(id=name, person=person, time=START + int(hours * HOUR), text=text, **fields)


def send(store: Store, *batch: NewMessage, at: int = START + 40 * DAY):
    """Store a batch; what became of each."""
    return store.database.write(
        lambda c: store_messages(c, store.vault, batch, at, keep_texts=store.keeps_texts)
    )


def statuses(outcomes) -> list[str]:
    return [outcome.status for outcome in outcomes]


def answered(name: str, total: float | None = 12, *, person: str = "ada", days: float = 0, **how):
    """A PHQ-9, some days after the start."""
    return NewPhq9("clinic", name, person, START + int(days * DAY), total, **how)


def send_phq9s(store: Store, *batch: NewPhq9, at: int = START + 40 * DAY, **how):
    """Store PHQ-9s; what became of each."""
    return store.database.write(lambda c: store_phq9s(c, store.vault, batch, at, **how))


def put_estimates(store, person, rows, model="m", revision=0, at=START + DAY):
    """Estimates of (number, mean, words), a day apart."""
    made = [
        EstimateRow(seq, START + seq * DAY, np.full(28, 1 / 28),
                    dict.fromkeys(FIGURES, 1.0) | {"mean": mean}, None, None, 1, words)
        for seq, mean, words in rows
    ]  # fmt: skip
    store.database.write(lambda c: write_estimates(c, person, model, revision, made, at))
